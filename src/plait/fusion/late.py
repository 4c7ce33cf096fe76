"""Late fusion: every stream predicts for itself, and the predictions are combined."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.blocks import masked_mean
from plait.fusion.base import Fusion, StreamVectors
from plait.tokens import Fused, Tokens


class Late(Fusion):
    """Each stream has its own perceptron; heads answer for each and average the *predictions*.

    ``p = mean over present m of p_m`` (the sum rule of Kittler et al. 1998, eq. 12). Robust to missing
    streams and blind to any effect that only two streams together show. ``votes`` carries the streams'
    vectors to the head; where all are missing, a learned vector votes alone.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(width, width),
            )
            for _ in widths
        )
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``vector`` is the mean of the votes, for embeddings."""
        vectors, present = self.vectors(tokens)
        voices = [tower(vectors[:, index]) for index, tower in enumerate(self.towers)]
        votes = torch.stack([*voices, self.nothing.expand_as(voices[0])], dim=1)
        mask = torch.cat([present, ~present.any(dim=1, keepdim=True)], dim=1)
        weights = present / present.sum(dim=1, keepdim=True).clamp(min=1)
        return Fused(masked_mean(votes, mask), votes=Tokens(votes, mask), weights=weights)
