"""Fusion by a non-local gate: every token takes what it needs from the other streams' tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import AttentionPool, attendable, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import StreamMaps, perceptron
from plait.model.tokens import Fused, Tokens


class NlGate(Fusion):
    """``X_m ← X_m + W softmax(θ(X_m) φ(X_{≠m})ᵀ / sqrt(d)) g(X_{≠m})``, then pooling and a perceptron.

    The embedded-Gaussian non-local block (Wang et al. 2018, eq. 6 and section 3.2) with queries from
    one stream and keys and values from another: the NL-gate of Wang et al. 2020 ("What makes training
    multi-modal classification networks hard?", appendix), as in MultiBench (Liang et al. 2021). Those
    are for two streams and query from the first alone. Here every stream queries in turn, and its keys
    X_{≠m} are the tokens of all the others together. θ, φ and g are linear maps to d numbers, shared by
    the streams, which have a linear map of their own before; the scores are divided by sqrt(d) to start
    soft, which the papers do not. ``z`` is a perceptron on the mean over present streams of their
    attention-pooled tokens.

    Missing streams have no keys and leave the mean; a stream alone stays as it is; where all are missing
    the learned absent tokens answer.

    Cost: quadratic in the tokens, between streams only.

    Args:
        inner: d as a share of ``width``: ``width // inner`` (the paper halves).
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1, inner: int = 2
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, inner=inner)
        depth = max(1, width // inner)
        self.maps = StreamMaps(widths, width=width)
        self.embed = nn.Linear(width, 3 * depth)
        self.back = nn.Linear(depth, width, bias=False)
        self.pool = nn.ModuleList(AttentionPool(width=width) for _ in widths)
        self.out = perceptron(width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        maps, present = self.maps(tokens)
        real = [tokens[name].mask for name in self.streams]
        pooled = [
            pool(stream).squeeze(1)
            for pool, stream in zip(self.pool, self._gated(maps, real), strict=True)
        ]
        mean = masked_mean(torch.stack(pooled, dim=1), attendable(present))
        return Fused(self.out(mean))

    def _gated(self, maps: list[Tokens], real: list[Tensor]) -> list[Tokens]:
        """Each stream's tokens with what they took from the other streams' real ones."""
        if len(maps) == 1:
            return maps
        embedded = [self.embed(stream.values).chunk(3, dim=-1) for stream in maps]
        gated = []
        for index, (values, mask) in enumerate(maps):
            others = [other for other in range(len(maps)) if other != index]
            key, value = (
                torch.cat([embedded[other][part] for other in others], dim=1) for part in (1, 2)
            )
            seen = torch.cat([real[other] for other in others], dim=1)
            # With an axis of one head: ONNX has no attention without one.
            taken = functional.scaled_dot_product_attention(
                embedded[index][0].unsqueeze(1),
                key.unsqueeze(1),
                value.unsqueeze(1),
                attn_mask=attendable(seen)[:, None, None, :],
            ).squeeze(1)
            attended = seen.any(dim=1)[:, None, None].to(taken.dtype)
            gated.append(Tokens(values + self.back(taken * attended), mask))
        return gated
