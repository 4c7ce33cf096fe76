"""The visible dictionary of decoders, by modality."""

from collections.abc import Mapping
from typing import Any

from plait.errors import ConfigError, unknown
from plait.model.decoders.base import Decoder
from plait.model.decoders.image import ImageDecoder
from plait.model.decoders.mel import MelDecoder
from plait.model.decoders.signal import SignalDecoder
from plait.model.decoders.tabular import CategoryDecoder, MomentDecoder, NumberDecoder
from plait.model.decoders.text import TextDecoder
from plait.model.decoders.video import VideoDecoder

DECODERS: dict[str, type[Decoder]] = {
    "image": ImageDecoder,
    "video": VideoDecoder,
    "audio": MelDecoder,
    "text": TextDecoder,
    "signal": SignalDecoder,
    "numeric": NumberDecoder,
    "categorical": CategoryDecoder,
    "datetime": MomentDecoder,
}
"""Modality → what rebuilds its cells."""


def decoder_class(modality: str) -> type[Decoder]:
    """The decoder of a modality.

    Raises:
        ConfigError: no decoder is registered for it.
    """
    if modality not in DECODERS:
        raise ConfigError([f"reconstruct: {unknown('decoder', modality, DECODERS)}"])
    return DECODERS[modality]


def build_decoder(
    modality: str,
    state: dict[str, Any],
    typical: Mapping[str, float],
    *,
    width: int,
    size: Mapping[str, int],
    dropout: float,
) -> Decoder:
    """The decoder for one column, sized by the preset and by what is typical of the column."""
    kind = decoder_class(modality)
    return kind.fitted(state, typical, width=width, size=size, dropout=dropout)
