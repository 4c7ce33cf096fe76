"""Aligning token streams in torch: a common number of tokens, and cross-attention to another's clock."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.errors import AlignError
from plait.model.blocks import Attention
from plait.model.tokens import Tokens, check_stream


def shares(mask: Bool[Tensor, "batch steps"], count: int) -> Float[Tensor, "batch count steps"]:
    """How much each step overlaps each of ``count`` equal parts of a row's real steps.

    The real steps of a row are laid end to end, one unit long each, and their whole length is cut into
    ``count`` parts; a row of the answer sums to the length of a part, masked steps get nothing.
    """
    real = mask.to(torch.float32)
    begin = (real.cumsum(dim=1) - real).unsqueeze(1)
    part = real.sum(dim=1)[:, None, None] / count
    low = torch.arange(count, device=mask.device).unsqueeze(1) * part
    overlap = (begin + 1).minimum(low + part) - begin.maximum(low)
    return overlap.clamp(min=0) * real.unsqueeze(1)


def part_means(
    values: Float[Tensor, "batch steps channels"], mask: Bool[Tensor, "batch steps"], count: int
) -> Float[Tensor, "batch count channels"]:
    """The mean in each of ``count`` equal parts of a row's real steps; zeros for a row without any."""
    weight = shares(mask, count)
    weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-6)
    return weight.to(values.dtype) @ torch.where(mask.unsqueeze(-1), values, 0.0)


def resample_tokens(tokens: Tokens, count: int) -> Tokens:
    """A stream's real tokens as ``count`` tokens, each the mean over an equal part of their sequence.

    Fewer tokens than ``count`` are repeated and blended where parts meet. A sample with one token keeps
    that one, a sample with none has none. ``O(batch · count · tokens · width)``.
    """
    if tokens.values.shape[1] == 1:
        return tokens
    values = part_means(tokens.values, tokens.mask, count)
    many = tokens.mask.sum(dim=1, keepdim=True)
    place = torch.arange(count, device=values.device)
    return Tokens(values, (many > 1) | ((many == 1) & (place == 0)))


class Clock(nn.Module):
    """`resample_tokens` over all streams, so that token t of each is the same part of a sample."""

    def __init__(self, *, count: int) -> None:
        super().__init__()
        if count < 1:
            raise AlignError(f"count={count}; choose a whole number of tokens, 1 or more.")
        self.count = count

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """All streams on one clock."""
        return {name: resample_tokens(stream, self.count) for name, stream in tokens.items()}


class CrossAlign(nn.Module):
    """One stream read on another's clock by cross-attention (Vaswani et al. 2017, section 3.2).

    ``out_t = Σ_s softmax_s(q_t · k_s / √d) v_s``: queries from the target stream's tokens, keys and
    values from the source's, as in the directional transformer of Tsai et al. (2019) but without its
    layers. Both carry their place in the sequence, from 0 to 1, as sines and cosines, so the alignment
    can follow time as well as content. ``O(tokens of source · tokens of target · width)``.

    Args:
        source: numbers in a token of the stream to align.
        target: numbers in a token of the stream whose clock is kept.
        width: numbers in a token that comes out, a multiple of ``heads`` and even.
    """

    def __init__(
        self, *, source: int, target: int, width: int, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if width < 2 or width % heads or width % 2:
            raise AlignError(
                f"width={width} with heads={heads}; choose an even multiple of the heads."
            )
        self.width = width
        self.widths = (source, target)
        self.from_source = nn.Sequential(nn.LayerNorm(source), nn.Linear(source, width))
        self.from_target = nn.Sequential(nn.LayerNorm(target), nn.Linear(target, width))
        self.attention = Attention(width=width, heads=heads, dropout=dropout)

    def forward(self, source: Tokens, target: Tokens) -> Tokens:
        """The source's content, one token for each of the target's.

        A token is real where the target's is and the sample has any source at all.
        """
        queries, keys = self._both(source, target)
        values = self.attention(queries, keys, source.mask)
        return Tokens(values, target.mask & source.present.unsqueeze(1))

    def weights(self, source: Tokens, target: Tokens) -> Float[Tensor, "batch target source"]:
        """The alignment itself: what share of each source token is in each target token."""
        queries, keys = self._both(source, target)
        return self.attention.weights(queries, keys, source.mask)

    def _both(self, source: Tokens, target: Tokens) -> tuple[Tensor, Tensor]:
        check_stream("source", source, self.widths[0])
        check_stream("target", target, self.widths[1])
        rows = source.mask.shape[0], target.mask.shape[0]
        if rows[0] != rows[1]:
            raise AlignError(
                f"source has {rows[0]} rows and target has {rows[1]}; row i of both must belong to one "
                "sample."
            )
        # What a masked token holds may be anything; a layer norm of infinity is NaN.
        keys = self.from_source(torch.where(source.mask.unsqueeze(-1), source.values, 0.0))
        queries = self.from_target(torch.where(target.mask.unsqueeze(-1), target.values, 0.0))
        return queries + places(target.mask, self.width), keys + places(source.mask, self.width)


def places(mask: Bool[Tensor, "batch steps"], width: int) -> Float[Tensor, "batch steps width"]:
    """Sines and cosines of each real step's place between 0 and 1, at 1 to 32 half-turns."""
    real = mask.to(torch.float32)
    place = (real.cumsum(dim=1) - 0.5) / real.sum(dim=1, keepdim=True).clamp(min=1)
    turns = torch.exp(torch.linspace(0, math.log(32), width // 2, device=mask.device)) * math.pi
    angle = place.unsqueeze(-1) * turns
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
