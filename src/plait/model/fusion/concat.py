"""Fusion by concatenation (Ngiam et al. 2011; the usual baseline)."""

from collections.abc import Mapping

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.parts import perceptron
from plait.model.tokens import Fused, Tokens


class Concat(Fusion):
    """``z = MLP([v_1; ...; v_M])`` with v_m the pooled vector of stream m, or its absent vector.

    Cost: one linear map of ``M·width`` to ``2·width``. The classifier after it can learn any joint
    effect, and leans on whichever stream is easiest; modality dropout is what keeps the others alive.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.mix = perceptron(len(widths) * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, _ = self.vectors(tokens)
        return Fused(self.mix(vectors.flatten(1)))
