"""Fusion by drawing each number of the fused vector from one stream (EmbraceNet)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plait.model.blocks import attendable
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.parts import StreamLinear, perceptron
from plait.model.tokens import Fused, Tokens


class Embrace(Fusion):
    """EmbraceNet (Choi & Lee 2019): docking, then a draw of the stream that gives each number.

    Docking (eq. 1-2): ``d_m = ReLU(W_m v_m + b_m)``. Embracement (eq. 3-6): for each number i of each
    row, ``r_i ~ Multinomial(1, p)`` over the present streams with equal chances p, and
    ``e_i = Σ_m r_{m,i} d_{m,i}``. A terminal network g answers: ``z = g(e)``.

    The draw acts in training, where it keeps numbers from relying on what other streams give beside
    them. In use its expectation ``e = Σ_m p_m d_m`` takes its place, so that answers are deterministic;
    the paper draws there too. A missing stream has chance zero; where all are missing the absent vectors
    are drawn from. Chances are equal by construction, so no weights are given.

    Cost: one linear map of ``width`` to ``width`` a stream.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.dock = StreamLinear(len(widths), width, width)
        self.out = perceptron(width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        return Fused(self.out(self.embrace(self.dock(vectors).relu(), present)))

    def embrace(
        self, docked: Float[Tensor, "batch streams width"], present: Bool[Tensor, "batch streams"]
    ) -> Float[Tensor, "batch width"]:
        """One vector a row: drawn from the present streams in training, their mean in use."""
        # multinomial refuses a row of zeros.
        chances = attendable(present).to(docked.dtype)
        chances = chances / chances.sum(dim=1, keepdim=True)
        if not self.training:
            return torch.einsum("bm,bmw->bw", chances, docked)
        drawn = torch.multinomial(chances, docked.shape[2], replacement=True)
        return docked.gather(1, drawn.unsqueeze(1)).squeeze(1)
