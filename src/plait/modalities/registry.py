"""Every modality plait knows, by the word users write. Add one: import it, and add a line."""

from plait.errors import SchemaError, unknown
from plait.modalities.audio import AudioModality
from plait.modalities.base import Modality
from plait.modalities.categorical import CategoricalModality
from plait.modalities.image import ImageModality
from plait.modalities.moment import DatetimeModality
from plait.modalities.numeric import NumericModality
from plait.modalities.signal import SignalModality
from plait.modalities.text import TextModality
from plait.modalities.video import VideoModality

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
