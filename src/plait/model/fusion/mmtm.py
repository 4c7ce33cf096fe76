"""Fusion by squeeze and excitation between the streams' towers (MMTM)."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.blocks import AttentionPool, FeedForward, attendable, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import StreamMaps
from plait.model.tokens import Fused, Tokens


class Mmtm(Fusion):
    """The multimodal transfer module (Joze et al. 2020, section 3.1) after each layer of the towers.

    Squeeze: ``s_m = mean over real tokens of X_m``. Joint: ``Z = ReLU(W [s_1; ...; s_M] + b)`` with
    ``M·width / reduction`` numbers (the paper takes a quarter; the ReLU is in the authors' code).
    Excitation: ``E_m = W_m Z + b_m``. Gates: ``X_m ← 2 σ(E_m) ⊙ X_m``, the same for every token. A
    tower's layer is ``X_m ← X_m + F_m(norm(X_m))`` with F_m a perceptron on each token. ``z`` is the
    mean over present streams of their attention-pooled maps: as in the paper, the streams stay apart but
    for the gates. The joint squeeze takes any number of streams as it is.

    A missing stream shows a learned absent token to the others and leaves the mean; where all are
    missing the absent tokens answer.

    Cost: linear in the tokens (the towers), and ``2·M²·width² / reduction`` a layer for the gates.

    Args:
        layers: layers of every tower, each with its gates.
        reduction: how many times smaller Z is than the squeezes together.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        layers: int = 2,
        reduction: int = 4,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, layers=layers)
        channels = len(widths) * width
        at_least(1, reduction=reduction)
        joint = max(1, channels // reduction)
        self.maps = StreamMaps(widths, width=width)
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.LayerNorm(width) for _ in widths) for _ in range(layers)
        )
        self.feeds = nn.ModuleList(
            nn.ModuleList(FeedForward(width=width, dropout=dropout) for _ in widths)
            for _ in range(layers)
        )
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, joint), nn.ReLU(), nn.Linear(joint, channels))
            for _ in range(layers)
        )
        self.pool = nn.ModuleList(AttentionPool(width=width) for _ in widths)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        maps, present = self.maps(tokens)
        for norms, feeds, gate in zip(self.norms, self.feeds, self.gates, strict=True):
            assert isinstance(norms, nn.ModuleList) and isinstance(feeds, nn.ModuleList)
            maps = [
                Tokens(values + feed(norm(values)), mask)
                for (values, mask), norm, feed in zip(maps, norms, feeds, strict=True)
            ]
            squeezed = torch.cat([masked_mean(*stream) for stream in maps], dim=1)
            open_ = 2 * gate(squeezed).sigmoid().unflatten(1, (-1, 1, self.width))
            maps = [
                Tokens(values * open_[:, index], mask) for index, (values, mask) in enumerate(maps)
            ]
        pooled = [pool(stream).squeeze(1) for pool, stream in zip(self.pool, maps, strict=True)]
        return Fused(masked_mean(torch.stack(pooled, dim=1), attendable(present)))
