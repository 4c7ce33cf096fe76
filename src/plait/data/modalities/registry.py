"""Every modality plait knows, by the word users write.

To add one outside plait: `plait.register`, or an entry point of ``plait.modalities``, and an encoder
for it. To add one to plait: a file here with its class, an import and a line below; then a line in each
torch-side registry that it needs: `plait.model.encoders.registry` for an encoder, and, if they apply,
`plait.model.decoders.registry`, `plait.model.masking`, `plait.model.augment`,
`plait.model.pretrained.registry`, `plait.insight.explain.degrade` and `plait.serve.page_inputs`.
"""

from plait.data.modalities.audio import AudioModality
from plait.data.modalities.base import Modality
from plait.data.modalities.categorical import CategoricalModality
from plait.data.modalities.datetime import DatetimeModality
from plait.data.modalities.image import ImageModality
from plait.data.modalities.numeric import NumericModality
from plait.data.modalities.signal import SignalModality
from plait.data.modalities.text import TextModality
from plait.data.modalities.video import VideoModality
from plait.data.registry import Registry, instance_of
from plait.errors import SchemaError, unknown

_OWN: dict[str, Modality] = {
    "image": ImageModality(),
    "audio": AudioModality(),
    "video": VideoModality(),
    "signal": SignalModality(),
    "text": TextModality(),
    "numeric": NumericModality(),
    "categorical": CategoricalModality(),
    "datetime": DatetimeModality(),
}


def _problem(part: object) -> str:
    if isinstance(part, Modality) and part.tabular:
        return "is tabular, and the encoder of the tabular columns knows plait's own only"
    return instance_of(Modality)(part)


MODALITIES: Registry[Modality] = Registry(
    "modality", _OWN, group="plait.modalities", problem=_problem
)
"""Word → modality. Where two see equal evidence in a column, the first is proposed."""

TABULAR_MODALITIES = tuple(name for name, modality in _OWN.items() if modality.tabular)
"""The modalities whose columns form one stream together."""


def get(name: str) -> Modality:
    """A modality by name.

    Raises:
        SchemaError: when there is none of that name, listing those there are.
    """
    if name not in MODALITIES:
        raise SchemaError(unknown("modality", name, MODALITIES))
    return MODALITIES[name]
