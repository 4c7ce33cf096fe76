"""Rebuilding videos: all frames painted at once, as the channels of one picture."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plait.data.modalities.base import Prepared
from plait.data.store import PreparedColumn
from plait.model.decoders.base import Decoder, State, sampled, whole
from plait.model.decoders.image import ImageDecoder
from plait.model.tokens import ColumnBatch, fold_frames, unfold_frames

SURVEYED = 64
"""Clips looked at to learn the usual brightness; each has many frames."""


class VideoDecoder(ImageDecoder):
    """One vector to ``[batch, frames x channels, height, width]``: an `ImageDecoder` of many channels.

    The frames share every map but the last, as they share the scene; the last convolution tells them
    apart. The loss and the figures are those of images, over all frames.
    Cost: that of one image, and the last convolution ``frames`` times.
    """

    modality: ClassVar[str] = "video"

    frames: int

    @classmethod
    def survey(cls, column: PreparedColumn, rows: np.ndarray) -> dict[str, float]:
        """Mean and deviation of the pixels of some training clips, from 0 to 1."""
        clips = sampled(column, rows)
        return super().survey(column, clips[:: max(1, len(clips) // SURVEYED)])

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
        """Sized by the state's frames, side and channels."""
        made = cls(
            width=width,
            size=int(state["size"]),
            channels=int(state["frames"]) * int(state["channels"]),
            base=size["base"],
            dropout=dropout,
            **typical,
        )
        made.frames = int(state["frames"])
        return made

    def loss(
        self, output: Float[Tensor, "batch channels height width_px"], column: ColumnBatch
    ) -> Float[Tensor, " batch"]:
        """Mean squared error of the standardised pixels of all frames."""
        return super().loss(output, _flat(column))

    def cell(self, output: Float[Tensor, "batch channels height width_px"]) -> Prepared:
        """``uint8 [batch, frames, height, width, channels]``."""
        flat = torch.from_numpy(super().cell(output).values)
        return whole(unfold_frames(flat, self.frames).contiguous().numpy())

    def figures(
        self, output: Float[Tensor, "batch channels height width_px"], column: ColumnBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Mean squared error of pixels from 0 to 1, and the peak signal-to-noise ratio in dB."""
        return super().figures(output, _flat(column))


def _flat(column: ColumnBatch) -> ColumnBatch:
    return ColumnBatch(fold_frames(column.values), column.mask)
