"""Rebuilding sounds: log-mel frames, which `plait.data.modalities.griffin_lim` turns into samples."""

from collections.abc import Mapping
from typing import ClassVar

from plait.model.decoders.base import Decoder, State
from plait.model.decoders.signal import StepsDecoder


class MelDecoder(StepsDecoder):
    """Log-mel frames ``[batch, steps, mels]``: the bands are the channels of 1-D convolutions over time.

    The loss is the squared error of the log power, which follows how loud a difference sounds.
    """

    modality: ClassVar[str] = "audio"

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
        """As many channels as bands."""
        wider = {**size, "base": 2 * size["base"]}
        return cls._sized(int(state["mels"]), typical, width, wider, dropout)
