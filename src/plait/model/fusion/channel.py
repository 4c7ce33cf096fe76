"""Fusion by channel attention over all streams' channels together."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.model.blocks import AttentionPool, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import StreamMaps, perceptron
from plait.model.tokens import Fused, Tokens

STYLES = ("se", "eca")


class Channel(Fusion):
    """``X_m ← a_m ⊙ X_m`` with channel gates a from all streams, then pooling and a perceptron.

    Squeeze: ``s_m = mean over real tokens of X_m``. Gates, by ``style``:

    * ``se``: ``a = σ(W_2 ReLU(W_1 [s_1; ...; s_M]))`` (Hu et al. 2018, squeeze-and-excitation, eq. 3),
      over the concatenated channels; the inner size is ``M·width / reduction``.
    * ``eca``: ``a_m[c] = σ(Σ_n Σ_j w_{mnj} s_n[c + j])``: a convolution along the channels with
      ``kernel`` taps and no reduction (Wang et al. 2020, ECA-Net, eq. 9), whose input and output
      channels are the streams, so that channel c of a stream sees its like in the others.

    ``z = MLP([p_1; ...; p_M])`` with p_m the attention-pooled gated tokens. Unlike `Concat` it turns
    channels of one stream up and down by what the others show; unlike `Mmtm` only once.

    A missing stream's tokens are a learned absent token. Gates are no shares; no weights are given.

    Cost: linear in the tokens; ``2·M²·width² / reduction`` for the gates of ``se``, ``M²·kernel`` taps
    for ``eca``; and the perceptron of `Concat`.

    Args:
        style: ``se`` or ``eca``.
        reduction: how many times smaller the inner layer of ``se`` is.
        kernel: taps of ``eca``, an odd number.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        style: str = "se",
        reduction: int = 4,
        kernel: int = 5,
    ) -> None:
        super().__init__(widths, width=width)
        if style not in STYLES:
            raise ValueError(f"style must be {' or '.join(STYLES)}, got {style!r}")
        at_least(1, reduction=reduction)
        at_least(1, kernel=kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        count = len(widths)
        channels = count * width
        inner = max(1, channels // reduction)
        self.maps = StreamMaps(widths, width=width)
        self.gate: nn.Module = (
            nn.Conv1d(count, count, kernel, padding=kernel // 2, bias=False)
            if style == "eca"
            else nn.Sequential(
                nn.Flatten(),
                nn.Linear(channels, inner, bias=False),
                nn.ReLU(),
                nn.Linear(inner, channels, bias=False),
                nn.Unflatten(1, (count, width)),
            )
        )
        self.pool = nn.ModuleList(AttentionPool(width=width) for _ in widths)
        self.out = perceptron(channels, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        maps, _ = self.maps(tokens)
        gates = self.gates(torch.stack([masked_mean(*stream) for stream in maps], dim=1))
        pooled = [
            pool(Tokens(values * gates[:, index, None], mask)).squeeze(1)
            for index, (pool, (values, mask)) in enumerate(zip(self.pool, maps, strict=True))
        ]
        return Fused(self.out(torch.cat(pooled, dim=1)))

    def gates(
        self, squeezed: Float[Tensor, "batch streams width"]
    ) -> Float[Tensor, "batch streams width"]:
        """How far each channel of each stream is turned up, between 0 and 1."""
        return self.gate(squeezed).sigmoid()
