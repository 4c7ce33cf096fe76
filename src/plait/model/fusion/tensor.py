"""Fusion by the outer product of all streams, whole or with a weight tensor of low rank."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.errors import counted
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.bounds import at_least
from plait.model.tokens import Fused, Tokens

MAX_NUMBERS = 65_536
"""Most numbers in an outer product."""
CHOSEN_NUMBERS = 4_096
"""Most numbers in one whose size was not given."""


class TensorFusion(Fusion):
    """``z = MLP([1; v_1] ⊗ [1; v_2] ⊗ ... ⊗ [1; v_M])`` over all streams at once.

    The tensor fusion network (Zadeh et al. 2017, section 4.2): with the ones, the outer product holds
    every stream by itself and the products of any of them, up to all M. The perceptron has one hidden
    layer of ReLU, where the paper has two. A missing stream takes its learned absent vector.

    Cost: the product has ``(size + 1)^M`` numbers and the perceptron as many times ``width`` weights.
    That is why streams are pooled to ``size`` numbers only: by default as many as keep the product
    within 4096 numbers, 32 at most (2 streams: 32, 3: 15, 4: 7, 5: 4, 12: 1). A product of more than
    65536 numbers is refused; with ``size`` 1 that is the case from 17 streams on.

    Args:
        size: numbers a stream enters the product with; 0 has it chosen.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, size: int = 0, dropout: float = 0.1
    ) -> None:
        super().__init__(widths, width=width)
        self.size = _size(len(widths), size)
        self.vectors = StreamVectors(widths, width=self.size)
        self.mix = nn.Sequential(
            nn.Linear((self.size + 1) ** len(widths), width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, _ = self.vectors(tokens)
        first, *others = nn.functional.pad(vectors, (1, 0), value=1.0).unbind(dim=1)
        product = first
        for other in others:
            product = (product.unsqueeze(2) * other.unsqueeze(1)).flatten(1)
        return Fused(self.mix(product))


def _size(streams: int, asked: int) -> int:
    """Numbers a stream: what was asked, or what keeps the outer product small."""
    if asked < 0:
        raise ValueError(f"size must be at least 1, or 0 to have it chosen, got {asked}")
    size = asked or max(
        (size for size in range(1, 33) if (size + 1) ** streams <= CHOSEN_NUMBERS), default=1
    )
    numbers = (size + 1) ** streams
    if numbers > MAX_NUMBERS:
        raise ValueError(
            f"size {size} over {counted(streams, 'stream')} makes an outer product of {numbers} "
            f"numbers, more than {MAX_NUMBERS}; give a smaller size, or use lowrank, whose cost is "
            "linear in the streams"
        )
    return size


class LowRank(Fusion):
    """``z = Σ_r Π_m (W_m^{(r)} [1; v_m]) + b``, the product taken number by number.

    Low-rank multimodal fusion (Liu et al. 2018, eq. 5-6): a linear map of the outer product
    ``[1; v_1] ⊗ ... ⊗ [1; v_M]`` whose weight tensor is the sum of ``rank`` outer products of one
    factor a stream, ``W = Σ_r W_1^{(r)} ⊗ ... ⊗ W_M^{(r)}``; neither tensor is ever built. Factors
    start with ones in the row of the constant, so that five streams multiply to numbers of sensible
    size and each is heard by itself from the start. A missing stream takes its learned absent vector.

    Cost: ``M·rank·width²``, linear in the streams.

    Args:
        rank: how many products are summed.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, rank: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, rank=rank)
        self.vectors = StreamVectors(widths, width=width)
        self.dropout = nn.Dropout(dropout)
        self.rank = rank
        factors = torch.randn(len(widths), 1 + width, rank * width) / width**0.5
        # Not in the paper: small random constants would multiply to almost nothing.
        factors[:, 0] = 1.0
        self.factors = nn.Parameter(factors)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, _ = self.vectors(tokens)
        rows = self.dropout(vectors).transpose(0, 1)
        first, *others = torch.baddbmm(self.factors[:, :1], rows, self.factors[:, 1:]).unbind(dim=0)
        product: Tensor = first
        for other in others:
            product = product * other
        return Fused(product.unflatten(1, (self.rank, -1)).sum(dim=1) + self.bias)
