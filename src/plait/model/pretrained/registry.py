"""Which pretrained models can be read, by modality: an import and a line each, in plait itself only."""

from typing import Any

from plait.errors import CheckpointError
from plait.model.pretrained.audio import AUDIO, KINDS
from plait.model.pretrained.base import Family
from plait.model.pretrained.configure import config_of, tower_of
from plait.model.pretrained.efficientnet import EFFICIENTNET, NAME
from plait.model.pretrained.image import IMAGE
from plait.model.pretrained.text import TEXT
from plait.model.pretrained.video import MODELS, VIDEO

FAMILIES: dict[str, Family] = {
    "image": IMAGE,
    "text": TEXT,
    "audio": AUDIO,
    "video": VIDEO,
}
"""Modality → how its checkpoints of the Hugging Face kind are read."""

KNOWN: dict[str, tuple[str, ...]] = {"audio": tuple(KINDS), "video": MODELS}
"""Modality → the model types that are read; for others transformers says what a model takes."""

SPECIAL: dict[str, tuple[str, Family]] = {NAME: ("image", EFFICIENTNET)}
"""model_type → modality and reader, for models that transformers does not know."""


def family_of(modality: str, config: dict[str, Any], name: str) -> Family:
    """Who reads a checkpoint as an encoder of a modality.

    Args:
        config: the checkpoint's.
        name: what to call it in messages.

    Raises:
        CheckpointError: no pretrained model of that modality can be read, or this one is of another.
    """
    kind = str(config.get("model_type"))
    if kind in SPECIAL:
        own, family = SPECIAL[kind]
        if own != modality:
            raise CheckpointError(f"{name} encodes {own}, and is asked to encode {modality}.")
        return family
    if modality not in FAMILIES:
        raise CheckpointError(
            f"{name}: plait reads pretrained encoders for {', '.join(FAMILIES)}, not for {modality}."
        )
    if modality not in KNOWN:
        tower_of(config_of(config), modality)
    elif kind not in KNOWN[modality]:
        raise CheckpointError(
            f"{name} is a '{kind}' model, and the column is {modality}; take one of the kinds "
            f"{', '.join(KNOWN[modality])}."
        )
    return FAMILIES[modality]
