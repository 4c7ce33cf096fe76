"""Early fusion: features side by side, and everything that learns comes after."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.blocks import FeedForward, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.tokens import Fused, Tokens


class Early(Fusion):
    """``h_0 = W [x_1; ...; x_M] + b``, ``h_l = h_{l-1} + F_l(norm(h_{l-1}))``, ``z = norm(h_L)``.

    Unimodal features are integrated before anything is learned from them (Snoek et al. 2005, "Early
    versus late fusion in semantic video analysis", definition 1): x_m is the mean of stream m's real
    tokens at its own width, normalised so that streams meet on one footing, or its learned absent
    features. A deep encoder shared by all streams follows, with F_l residual perceptrons.

    `Concat` differs in three ways: there each stream is summed up by attention it learns, is mapped to
    ``width`` by itself, and a single shallow perceptron mixes them. Here no stream has a part of its
    own, so effects of several streams are there from the first layer, and the mean keeps no order.

    Cost: one linear map of the summed widths to ``width``, then ``layers`` perceptrons, however many
    streams there are.

    Args:
        layers: perceptrons in the shared encoder.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1, layers: int = 3
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, layers=layers)
        self.scale = nn.ModuleList(nn.LayerNorm(size) for size in widths.values())
        self.absent = nn.Parameter(torch.randn(sum(widths.values())) * 0.02)
        self.enter = nn.Linear(sum(widths.values()), width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.feeds = nn.ModuleList(FeedForward(width=width, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        features = []
        absent = self.absent.split(list(self.widths.values()))
        for name, scale, instead in zip(self.streams, self.scale, absent, strict=True):
            stream = tokens[name]
            mean = scale(masked_mean(stream.values, stream.mask))
            features.append(torch.where(stream.present[:, None], mean, instead))
        hidden = self.enter(torch.cat(features, dim=1))
        for norm, feed in zip(self.norms, self.feeds, strict=True):
            hidden = hidden + feed(norm(hidden))
        return Fused(self.norm(hidden))
