"""Fusion in a common space that every stream is mapped into."""

from collections.abc import Mapping as Map

import torch
from torch import nn

from plait.model.blocks import masked_mean
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.parts import perceptron
from plait.model.tokens import Fused, Tokens


class Mapping(Fusion):
    """``z = mean over present m of g(P_m v_m)``: own linear map P_m, then one shared map g.

    A joint representation by projection into a shared space (Baltrušaitis et al. 2019, section 3.1),
    with g a residual perceptron on unit-scaled vectors, so streams meet on one footing. A missing
    stream just leaves the mean. Cost: linear in the streams.
    """

    def __init__(self, widths: Map[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.norm = nn.LayerNorm(width)
        self.shared = perceptron(width, width, dropout)
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        common = self.norm(vectors)
        common = common + self.shared(common)
        mean = masked_mean(common, present)
        return Fused(torch.where(present.any(dim=1, keepdim=True), mean, self.nothing))
