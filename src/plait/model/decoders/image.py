"""Rebuilding images: a convolutional decoder from one vector to the prepared size."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.data.modalities.base import Prepared
from plait.data.store import PreparedColumn
from plait.model.decoders.base import Decoder, State, sampled, whole
from plait.model.tokens import ColumnBatch, Fused

GRID = 4
"""The coarsest map is at least so many cells a side."""


class _Grow(nn.Module):
    """Twice the resolution: a 3x3 convolution to four times the channels, dealt out to 2x2 pixels.

    The sub-pixel convolution of Shi et al. (2016, eq. 4). Group normalisation (Wu & He 2018), since
    a row must not depend on its neighbours.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
        self.norm = nn.GroupNorm(1, outputs)

    def forward(self, values: Tensor) -> Tensor:
        grown = nn.functional.pixel_shuffle(self.conv(values), 2)
        return nn.functional.gelu(self.norm(grown))


class ImageDecoder(Decoder):
    """One vector to ``[batch, channels, height, width]``, a linear map and doubling convolutions.

    ``loss = mean((y - (x / 255 - mean) / std)²)`` over pixels and channels, with the mean and
    deviation of the column's training pixels; at zero the output is the mean brightness.
    Cost: one to two times that of the residual encoder, linear in the pixels.
    """

    modality: ClassVar[str] = "image"

    def __init__(
        self,
        *,
        width: int,
        size: int,
        channels: int,
        base: int = 24,
        mean: float = 0.5,
        std: float = 0.25,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.mean, self.std = size, mean, std
        doublings, side = 0, size
        while (side + 1) // 2 >= GRID:
            doublings, side = doublings + 1, (side + 1) // 2
        wide = [min(4 * base, base * 2**n) for n in range(doublings, 0, -1)] or [base]
        self.grid, self.last = side, 2 if doublings else 1
        self.start = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, wide[0] * side * side)
        )
        self.grow = nn.Sequential(
            *(_Grow(wide[n], wide[n + 1]) for n in range(len(wide) - 1)),
        )
        # The last doubling goes to the pixels at once: maps of full size would cost most of all.
        self.paint = nn.Conv2d(wide[-1], channels * self.last**2, 3, padding=1)

    @classmethod
    def survey(cls, column: PreparedColumn, rows: np.ndarray) -> dict[str, float]:
        """Mean and deviation of the training pixels, from 0 to 1."""
        values, _ = column.batch(sampled(column, rows))
        if not len(values):
            return {}
        pixels = values.astype(np.float32) / 255
        return {
            "mean": round(float(pixels.mean()), 6),
            "std": round(max(float(pixels.std()), 0.02), 6),
        }

    @classmethod
    def fitted(
        cls,
        state: State,
        typical: Mapping[str, float],
        *,
        width: int,
        size: Mapping[str, int],
        dropout: float,
    ) -> "Decoder":
        """Sized by the state's side and channels."""
        side, channels = int(state["size"]), int(state["channels"])
        base = size["base"]
        return cls(width=width, size=side, channels=channels, base=base, dropout=dropout, **typical)

    def forward(self, fused: Fused) -> Float[Tensor, "batch channels height width_px"]:
        """Standardised pixels, channels first."""
        values = self.start(fused.vector).unflatten(1, (-1, self.grid, self.grid))
        painted = nn.functional.pixel_shuffle(self.paint(self.grow(values)), self.last)
        return painted[:, :, : self.size, : self.size]

    def loss(
        self, output: Float[Tensor, "batch channels height width_px"], column: ColumnBatch
    ) -> Float[Tensor, " batch"]:
        """Mean squared error of the standardised pixels."""
        return self._squared(output, column) * column.present

    def cell(self, output: Float[Tensor, "batch channels height width_px"]) -> Prepared:
        """``uint8 [batch, height, width, channels]``."""
        pixels = (output.detach().float() * self.std + self.mean).clamp(0, 1) * 255
        return whole(pixels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())

    def figures(
        self, output: Float[Tensor, "batch channels height width_px"], column: ColumnBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Mean squared error of pixels from 0 to 1, and the peak signal-to-noise ratio in dB."""
        error = self._squared(output, column) * self.std**2
        return {"mse": error, "psnr": -10 * error.clamp(min=1e-10).log10()}

    def _squared(self, output: Tensor, column: ColumnBatch) -> Float[Tensor, " batch"]:
        pixels = column.values.permute(0, 3, 1, 2).to(torch.float32) / 255
        goal = (pixels - self.mean) / self.std
        return (output.float() - goal).square().mean(dim=(1, 2, 3))
