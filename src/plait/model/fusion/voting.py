"""What all late fusions share: a vote for every stream, and one for "nothing is there"."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.tokens import Tokens


class Voting(Fusion):
    """A pooled vector and a perceptron a stream; a learned vector votes where all are missing."""

    voting = True

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

    def voices(self, tokens: dict[str, Tokens]) -> Tokens:
        """The streams' votes, then the one for "nothing is there", real only where all are missing."""
        vectors, present = self.vectors(tokens)
        voices = [tower(vectors[:, index]) for index, tower in enumerate(self.towers)]
        values = torch.stack([*voices, self.nothing.expand_as(voices[0])], dim=1)
        mask = torch.cat([present, ~present.any(dim=1, keepdim=True)], dim=1)
        return Tokens(values, mask)
