"""A checkpoint's ``config.json`` to transformers' own configuration, and to the class that reads it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from plait.errors import CheckpointError

PAIRED = {
    "clip": {"image": "CLIPVisionModel", "text": "CLIPTextModel"},
    "siglip": {"image": "SiglipVisionModel", "text": "SiglipTextModel"},
    "siglip2": {"image": "Siglip2VisionModel", "text": "Siglip2TextModel"},
}
"""Two towers in one checkpoint: the class of each, by the checkpoint's ``model_type``."""

ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Encoder-decoders whose encoder stands on its own."""

_ALONE = {"siglip_text_model": "SiglipTextModel", "siglip2_text_model": "Siglip2TextModel"}
"""Towers saved by themselves that AutoModel does not know."""

_SECTION = {"image": "vision_config", "text": "text_config"}
_INPUT = {"image": "pixel_values", "text": "input_ids"}
_REFUSED = {
    "siglip2": "image",
    "siglip2_vision_model": "image",
    "vit_mae": "image",
}
_WHY = {
    "siglip2": "reads pictures in their own sizes (NaFlex); take a SigLIP 2 checkpoint of a fixed "
    "resolution, such as google/siglip2-base-patch16-224 (model_type 'siglip')",
    "vit_mae": "hides three quarters of each picture at random; take a ViT or DINOv2 checkpoint",
}
_WHY["siglip2_vision_model"] = _WHY["siglip2"]


def config_of(described: dict[str, Any]) -> Any:
    """The configuration object that transformers builds from a ``config.json``. No weights are opened.

    Raises:
        CheckpointError: it names code of its own, or a kind of model that transformers does not have,
            or is damaged.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = _kind(described)
    if "auto_map" in described:
        raise CheckpointError(
            f"the checkpoint (model_type '{kind}') brings code of its own, named by auto_map in its "
            "config.json, and plait never runs code from a checkpoint. Use a checkpoint of a kind "
            "that transformers has built in, or convert this one to such a kind."
        )
    if kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"the checkpoint's model_type is '{kind}', which the installed transformers does not "
            "have. Update it with: pip install -U transformers"
        )
    if kind == "timm_wrapper":
        _needs_timm()
    try:
        with silence():
            return CONFIG_MAPPING[kind].from_dict(described)
    except (AttributeError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"the checkpoint's config.json does not describe a '{kind}' model: {reason}"
        ) from None


def tower_of(config: Any, modality: str) -> tuple[type, Any]:
    """The class that encodes a modality, and its own configuration: of a pair, that tower's.

    Raises:
        CheckpointError: the model is of another modality, or has no encoder that stands on its own.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    kind = config.model_type
    if _REFUSED.get(kind) == modality:
        raise CheckpointError(f"the checkpoint is a '{kind}' model, which {_WHY[kind]}.")
    if kind in PAIRED:
        return getattr(transformers, PAIRED[kind][modality]), getattr(config, _SECTION[modality])
    named = ENCODERS.get(kind) or _ALONE.get(kind)
    if named is not None:
        return _checked(getattr(transformers, named), config, modality)
    cls: Any = MODEL_MAPPING.get(type(config), None)
    if not isinstance(cls, type):
        raise CheckpointError(
            f"the checkpoint is a '{kind}' model, of which transformers makes no plain encoder; "
            f"an encoder of {modality} was expected."
        )
    if getattr(config, "is_encoder_decoder", False):
        raise CheckpointError(
            f"the checkpoint is a '{kind}' model, an encoder with a decoder; plait runs such an "
            f"encoder alone for {', '.join(ENCODERS)} only."
        )
    return _checked(cls, config, modality)


def _checked(cls: type, config: Any, modality: str) -> tuple[type, Any]:
    takes = getattr(cls, "input_modalities", "text")
    takes = (takes,) if isinstance(takes, str) else tuple(takes)
    entry = getattr(cls, "main_input_name", "input_ids")
    if takes != (modality,) or entry != _INPUT[modality]:
        raise CheckpointError(
            f"the checkpoint is a '{config.model_type}' model, which takes {' and '.join(takes)} "
            f"({entry}); the column is {modality}, so a model that takes {modality} alone "
            f"({_INPUT[modality]}) was expected."
        )
    return cls, config


def _kind(described: dict[str, Any]) -> str:
    kind = described.get("model_type")
    if kind is None and "architecture" in described:
        return "timm_wrapper"  # timm's own files name an architecture and no model_type
    if not isinstance(kind, str) or not kind:
        raise CheckpointError(
            "the checkpoint's config.json has no model_type, so it is not a transformers model"
        )
    return kind


def _needs_timm() -> None:
    for name in ("torchvision", "timm"):  # timm needs torchvision, and fails without saying so
        try:
            import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            absent = isinstance(error, ModuleNotFoundError)
            why = "is not installed" if absent else f"cannot be imported ({error})"
            raise CheckpointError(
                f"the checkpoint is a timm model, and {name} {why}. "
                "Install both with: pip install timm torchvision"
            ) from None


@contextmanager
def silence() -> Iterator[None]:
    """No warnings, log lines or progress bars from transformers, and all as before afterwards."""
    from transformers.utils import logging

    settings: Any = logging

    level, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity(settings.CRITICAL)
    settings.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.set_verbosity(level)
        if bars:
            settings.enable_progress_bar()
