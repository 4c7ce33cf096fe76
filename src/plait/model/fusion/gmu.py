"""Fusion by gates that look at every stream (the gated multimodal unit)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import attendable
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.parts import StreamLinear
from plait.model.tokens import Fused, Tokens


class Gmu(Fusion):
    """The gated multimodal unit of Arevalo et al. 2017, section 3.1.

    Two streams (the bimodal unit): ``h_m = tanh(W_m v_m)``, ``g = σ(W_z [v_1; v_2])``,
    ``z = g ⊙ h_1 + (1 - g) ⊙ h_2``. Any other number (the multimodal unit, figure 2a): a gate a stream,
    ``g_m = σ(W_{z,m} [v_1; ...; v_M])``, ``z = Σ_m g_m ⊙ h_m``. v_m is the pooled vector of stream m;
    no biases, as in the paper.

    A missing stream shows its absent vector to the gates, and its own gate is shut: of two streams the
    other one is then taken whole. Where all are missing the absent vectors answer. ``weights`` are the
    gates averaged over the vector for two streams; with more, gates are no shares and none are given.

    Cost: the gates' map of ``M·width`` to ``M·width`` (to ``width`` for two streams).
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        count = len(widths)
        self.pair = count == 2
        self.vectors = StreamVectors(widths, width=width)
        self.hidden = StreamLinear(count, width, width, bias=False)
        self.gate = nn.Linear(count * width, (1 if self.pair else count) * width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        gates = self._gates(vectors, attendable(present))
        mixed = (gates * torch.tanh(self.hidden(vectors))).sum(dim=1)
        weights = gates.mean(dim=2) * present if self.pair else None
        return Fused(self.dropout(mixed), weights=weights)

    def _gates(
        self, vectors: Float[Tensor, "batch streams width"], seen: Bool[Tensor, "batch streams"]
    ) -> Float[Tensor, "batch streams width"]:
        scores = self.gate(vectors.flatten(1)).unflatten(1, (-1, self.width))
        if not self.pair:
            return scores.sigmoid() * seen.unsqueeze(-1)
        # σ(a) and 1 - σ(a) are the softmax of a and 0, which can be masked.
        both = torch.cat([scores, torch.zeros_like(scores)], dim=1)
        return both.masked_fill(~seen.unsqueeze(-1), float("-inf")).softmax(dim=1)
