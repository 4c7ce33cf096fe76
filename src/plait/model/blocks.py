"""The few torch parts that encoders and fusions share: masked attention, pooling, normalisation."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.tokens import Tokens

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Every kind of batch normalisation: what keeps statistics of its batches."""


def masked_mean(
    values: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
) -> Float[Tensor, "batch width"]:
    """The mean over real tokens; zeros where a row has none."""
    real = mask.unsqueeze(-1).to(values.dtype)
    return (values * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def attendable(mask: Bool[Tensor, "batch tokens"]) -> Bool[Tensor, "batch tokens"]:
    """The mask, with rows that have no real token opened whole, so that no softmax is 0/0.

    What such a row attends to is thrown away by whoever owns the mask.
    """
    return mask | ~mask.any(dim=1, keepdim=True)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, eq. 1).

    ``softmax(Q Kᵀ / sqrt(d)) V`` with Q from ``queries`` and K, V from ``keys``; masked keys get no
    weight. A row without any real key gives zeros plus the output bias, never NaN.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.dropout = dropout
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)

    def forward(
        self,
        queries: Float[Tensor, "batch queries width"],
        keys: Float[Tensor, "batch keys width"],
        mask: Bool[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """Attend from every query to the real keys; without a mask, all are."""
        query = self._split(self.to_query(queries))
        key, value = (self._split(part) for part in self.to_key_value(keys).chunk(2, dim=-1))
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else attendable(mask)[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
        )
        mixed = attended.transpose(1, 2).flatten(2)
        if mask is not None:
            # `attendable` let such a row attend to padding, only to keep the softmax finite.
            mixed = mixed * mask.any(dim=1)[:, None, None].to(mixed.dtype)
        return self.to_out(mixed)

    def weights(
        self,
        queries: Float[Tensor, "batch queries width"],
        keys: Float[Tensor, "batch keys width"],
        mask: Bool[Tensor, "batch keys"],
    ) -> Float[Tensor, "batch queries keys"]:
        """The attention shares, averaged over heads: what `forward` used, for reading out."""
        query = self._split(self.to_query(queries))
        # Queries are fewer than keys, so they go through the keys' map, not the keys. Its bias adds the
        # same to all keys of a query, which a softmax does not see.
        to_key = self.to_key_value.weight[: self.to_query.out_features].unflatten(
            0, (self.heads, -1)
        )
        scores = (query @ to_key) @ keys.transpose(1, 2).unsqueeze(1) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(~attendable(mask)[:, None, None, :], float("-inf"))
        return scores.softmax(dim=-1).mean(dim=1)

    def _split(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear maps with GELU between, ``factor`` times as wide inside."""

    def __init__(self, *, width: int, factor: int = 2, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, factor * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(factor * width, width),
            nn.Dropout(dropout),
        )


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward with residuals (Xiong et al. 2020)."""

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0, factor: int = 2) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, dropout=dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width=width, factor=factor, dropout=dropout)

    def forward(
        self,
        values: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Refine every token by the real ones; without a mask, all are."""
        normed = self.attention_norm(values)
        values = values + self.attention(normed, normed, mask)
        return values + self.feed(self.feed_norm(values))


class AttentionPool(nn.Module):
    """A few vectors from a token stream: learned scores a token, softmax over the real ones.

    ``v_k = Σ_t softmax_t(u_k · tanh(W x_t)) x_t`` (Ilse et al. 2018, eq. 8; several u_k as in the
    structured self-attention of Lin et al. 2017, eq. 6). A row without tokens gives zeros; whoever
    pools puts a learned "absent" there.

    Args:
        count: how many vectors.
    """

    def __init__(self, *, width: int, count: int = 1) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, count))

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch count width"]:
        """Pool the real tokens of each sample."""
        scores = self.score(tokens.values)
        scores = scores.masked_fill(~attendable(tokens.mask).unsqueeze(-1), float("-inf"))
        # Zeroes rows without tokens, which `attendable` opened; elsewhere padding has 0 already.
        shares = scores.softmax(dim=1) * tokens.mask.unsqueeze(-1)
        return shares.transpose(1, 2) @ tokens.values


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) over real positions only; the others come out as zero.

    Padding and missing samples would pull the mean to zero by an amount that changes with the batch,
    and whatever they became would leak into their neighbours through the next convolution.

    Input is ``[batch, channels, ...]``. The mask is ``[batch, 1, ...]`` with ones for the axes it does
    not depend on, which must be the last.
    """

    def __init__(self, *, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(
        self, values: Float[Tensor, "batch channels *space"], mask: Bool[Tensor, "batch 1 *ones"]
    ) -> Float[Tensor, "batch channels *space"]:
        """Normalise; training mode also updates the running statistics."""
        # Running statistics need no mask, and a graph for ONNX has no branch on values.
        if not self.training:
            return self._normalise(values, training=False) * mask
        if bool(mask.all()) and values.numel() > values.shape[1]:  # one position has no variance
            return self._normalise(values, training=True)
        return self._normalise_real(values, mask)

    def _normalise(self, values: Tensor, *, training: bool) -> Tensor:
        return functional.batch_norm(
            values,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training,
            self.momentum,
            self.eps,
        )

    def _normalise_real(self, values: Tensor, mask: Tensor) -> Tensor:
        """Gather the real positions, normalise them together, put them back among zeros."""
        where = mask[:, 0]
        # Positions are chosen by the axes the mask depends on; the others come along whole.
        while where.ndim > 1 and where.shape[-1] == 1:
            where = where.squeeze(-1)
        last = values.movedim(1, -1)
        real = last[where]
        positions = real.flatten(0, -2)
        out = torch.zeros_like(last)
        if len(positions):
            # As plain rows, which is also quickest. As a [1, channels, positions, 1] image torch 2.13
            # takes the incoming gradient for channels-last when it is not, and returns a wrong one.
            # A single position has no variance, and torch refuses to normalise it.
            normed = self._normalise(positions, training=len(positions) > 1)
            out[where] = normed.reshape(real.shape).to(out.dtype)
        return out.movedim(-1, 1)
