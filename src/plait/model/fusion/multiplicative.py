"""Fusion by multiplicative interactions, one stream after another."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.bounds import at_least
from plait.model.tokens import Fused, Tokens


class Interaction(nn.Module):
    """``f(x, y) = yᵀ 𝕎 x + U y + V x + b`` (Jayakumar et al. 2020, eq. 1), 𝕎 a whole 3-way tensor."""

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.product = nn.Linear(size * size, size, bias=False)
        self.own = nn.Linear(2 * size, size)

    def forward(
        self, x: Float[Tensor, "batch size"], y: Float[Tensor, "batch size"]
    ) -> Float[Tensor, "batch size"]:
        """Both inputs' own terms and their product."""
        products = (y.unsqueeze(2) * x.unsqueeze(1)).flatten(1)
        return self.product(products) + self.own(torch.cat([y, x], dim=1))


class Multiplicative(Fusion):
    """``h_1 = v_1``, ``h_m = norm(f_m(h_{m-1}, v_m))``, ``z = W h_M + c``.

    With ``f(x, y) = yᵀ 𝕎 x + U y + V x + b``, the multiplicative interaction of Jayakumar et al. (2020,
    eq. 1), whose 3-way tensor 𝕎 is learned whole. The paper's f takes two inputs; more streams are
    taken in one after another, in the order of ``widths``, each step with an f of its own, so that
    products of any of them can be formed. The layer norm is ours: it keeps a chain of many products in
    range. A missing stream takes its learned absent vector, which makes its step a learned affine map.

    Cost: ``(M - 1)·size³``.

    Args:
        size: numbers in v and h.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, size: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, size=size)
        self.vectors = StreamVectors(widths, width=size)
        self.steps = nn.ModuleList(Interaction(size=size) for _ in range(len(widths) - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in self.steps)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(size, width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, _ = self.vectors(tokens)
        state, *others = vectors.unbind(dim=1)
        for step, norm, other in zip(self.steps, self.norms, others, strict=True):
            state = norm(step(state, other))
        return Fused(self.out(self.dropout(state)))
