"""Every modality plait knows, by the word users write. Add one: import it, and add a line."""

from plait.data.modalities.audio import AudioModality
from plait.data.modalities.base import Modality
from plait.data.modalities.categorical import CategoricalModality
from plait.data.modalities.datetime import DatetimeModality
from plait.data.modalities.image import ImageModality
from plait.data.modalities.numeric import NumericModality
from plait.data.modalities.signal import SignalModality
from plait.data.modalities.text import TextModality
from plait.data.modalities.video import VideoModality
from plait.errors import SchemaError, unknown

MODALITIES: dict[str, Modality] = {
    "image": ImageModality(),
    "audio": AudioModality(),
    "video": VideoModality(),
    "signal": SignalModality(),
    "text": TextModality(),
    "numeric": NumericModality(),
    "categorical": CategoricalModality(),
    "datetime": DatetimeModality(),
}


def get(name: str) -> Modality:
    """A modality by name.

    Raises:
        SchemaError: when there is none of that name, listing those there are.
    """
    if name not in MODALITIES:
        raise SchemaError(unknown("modality", name, MODALITIES))
    return MODALITIES[name]
