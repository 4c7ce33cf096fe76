"""Fusion by a central tower that listens to every stream's tower at each layer (CentralNet)."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import StreamLinear
from plait.model.tokens import Fused, Tokens


class CentralNet(Fusion):
    """CentralNet (Vielzeuf et al. 2018, eq. 1): a weighted sum of all towers at every layer.

    Towers ``h_m^{l+1} = f(W_m^l h_m^l + b_m^l)`` from ``h_m^0 = v_m``, the pooled vector of stream m or
    its absent vector. The central tower starts as ``c^0 = Σ_m α_m^0 h_m^0`` and goes on as
    ``c^{l+1} = Σ_m α_m^{l+1} h_m^{l+1} + α_c^{l+1} f(W_c^l c^l + b_c^l)``; ``z = c^L``. f is GELU. The α
    are learned, one a stream and layer, and start equal.

    The paper also trains each tower to answer by itself. plait's ``unimodal_loss``
    (`plait.model.model.Model`) does that for any fusion: each stream's encoder answers alone. It has
    its own pooling and map, so it reaches the encoders and not these towers.

    Cost: ``layers`` maps of ``width`` to ``width`` a stream, and as many for the centre.

    Args:
        layers: layers of every tower.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1, layers: int = 2
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, layers=layers)
        count = len(widths)
        self.vectors = StreamVectors(widths, width=width)
        self.towers = nn.ModuleList(StreamLinear(count, width, width) for _ in range(layers))
        self.central = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.start = nn.Parameter(torch.full((count,), 1 / count))
        self.alpha = nn.Parameter(torch.full((layers, count + 1), 1 / (count + 1)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        hidden, _ = self.vectors(tokens)
        centre = torch.einsum("m,bmw->bw", self.start, hidden)
        for tower, central, alpha in zip(self.towers, self.central, self.alpha, strict=True):
            hidden = self.dropout(functional.gelu(tower(hidden)))
            own = self.dropout(functional.gelu(central(centre)))
            centre = torch.einsum("m,bmw->bw", alpha[:-1], hidden) + alpha[-1] * own
        return Fused(centre)
