"""Fusion by learned weights, one a stream and sample, that can be read out."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.blocks import attendable
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.tokens import Fused, Tokens


class Weighted(Fusion):
    """``z = Σ_m w_m v_m``, ``w = softmax_m(u · tanh(W v_m + b_m))`` over the present streams.

    Attention over modalities as in Bahdanau-style scoring (Hori et al. 2017, "Attention-based
    multimodal fusion for video description", eq. 8-10). Missing streams get weight zero; where all are
    missing the weights are equal and the absent vectors answer. Cost: linear in the streams.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.hidden = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(len(widths), width))
        self.score = nn.Linear(width, 1)
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout)
        )

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``weights`` holds each stream's share."""
        vectors, present = self.vectors(tokens)
        scores = self.score(torch.tanh(self.hidden(vectors) + self.bias)).squeeze(-1)
        weights = scores.masked_fill(~attendable(present), float("-inf")).softmax(dim=1)
        mixed = (weights.unsqueeze(-1) * vectors).sum(dim=1)
        return Fused(self.out(mixed), weights=weights * present)
