"""Checkpoints of sound: which there are, and how one becomes a backbone."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plait.data.modalities.base import State
from plait.errors import CheckpointError, MissingExtra, error_line
from plait.model.pretrained.audio_models import AudioBackbone, Clap, Patches, Wave, Whisper
from plait.model.pretrained.audio_settings import audio_state
from plait.model.pretrained.base import Family
from plait.model.pretrained.configure import config_of, silence


@dataclass(frozen=True)
class _Kind:
    """How one model type is built.

    Attributes:
        model: the class in transformers.
        backbone: what wraps it.
        changes: set in the checkpoint's config.
        renames: patterns of names of weights, where the model is a part of what was saved.
        shape: the mel bands and frames that the model takes; None for waves.
    """

    model: str
    backbone: Callable[[nn.Module, State], AudioBackbone]
    changes: Mapping[str, Any] = field(default_factory=dict)
    renames: Mapping[str, str] | None = None
    shape: Callable[[Any], tuple[int, int]] | None = None


# SpecAugment inside the model would hide steps from an encoder that is being tuned.
_PLAIN = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
_CLAP = _Kind(
    "ClapAudioModel",
    Clap,
    changes={"enable_fusion": False},
    renames={r"^audio_model\.": ""},
    shape=lambda config: (config.num_mel_bins, config.spec_size**2 // config.num_mel_bins),
)

KINDS: dict[str, _Kind] = {
    "whisper": _Kind(
        "WhisperEncoder",
        Whisper,
        changes={"encoder_layerdrop": 0.0},
        renames={r"^(model\.)?encoder\.": ""},
        shape=lambda config: (config.num_mel_bins, 2 * config.max_source_positions),
    ),
    "wav2vec2": _Kind("Wav2Vec2Model", Wave, changes=_PLAIN),
    "hubert": _Kind("HubertModel", Wave, changes=_PLAIN),
    "wavlm": _Kind("WavLMModel", Wave, changes=_PLAIN),
    "audio-spectrogram-transformer": _Kind(
        "ASTModel", Patches, shape=lambda config: (config.num_mel_bins, config.max_length)
    ),
    "clap": _CLAP,
    "clap_audio_model": _CLAP,
}
"""Model type, as ``config.json`` has it → how it is built."""


def make(config: dict[str, Any], state: State, folder: Path | None) -> AudioBackbone:
    """The backbone of a checkpoint, in float32.

    Args:
        config: the checkpoint's ``config.json``.
        state: what `audio_state` gave for it.
        folder: whose safetensors to load; None leaves fresh weights.

    Raises:
        CheckpointError: it is no model of sound, asks for code of its own, does not fit its processor
            settings, or its weights are not all there.
        MissingExtra: transformers is not installed.
    """
    name = str(config.get("model_type"))
    where = f"the checkpoint at {folder}" if folder else "the checkpoint"
    if name not in KINDS:
        raise CheckpointError(
            f"{where} is of model type '{name}'; expected a model of sound, one of {', '.join(KINDS)}. "
            "Choose an audio checkpoint, or a column of another modality."
        )
    kind = KINDS[name]
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise MissingExtra("a pretrained encoder", "pretrained", "transformers") from None
    built = _config(config, kind)
    _check_shape(built, kind, state, where)
    with silence():
        model = _model(_class(kind), built, kind, folder, where)
    backbone = kind.backbone(model.to(torch.float32), state)
    return backbone.eval()


def _config(config: dict[str, Any], kind: _Kind) -> Any:
    """A transformers config of what is built, with no code of the checkpoint's own."""
    values = deepcopy(config)
    if config["model_type"] == "clap":
        values = deepcopy(config.get("audio_config") or {}) | {"model_type": "clap_audio_model"}
    return config_of(values | dict(kind.changes))


def _check_shape(config: Any, kind: _Kind, state: State, where: str) -> None:
    """Whether the settings prepare what the model takes."""
    waves = state.get("features") == "wave"
    if waves == (kind.shape is None):
        if kind.shape is None:
            return
        bands, frames = kind.shape(config)
        recipe = state["recipe"]
        fits = recipe["frames"] <= frames if kind is _CLAP else recipe["frames"] == frames
        if recipe["bands"] == bands and fits:
            return
        wanted = f"{bands} bands and {frames} frames"
        given = f"{recipe['bands']} bands and {recipe['frames']} frames"
    else:
        wanted = "the waveform" if kind.shape is None else "log-mel frames"
        given = "the waveform" if waves else "log-mel frames"
    raise CheckpointError(
        f"the processor settings of {where} prepare {given}, but its model takes {wanted}. They are not "
        "of one checkpoint; fetch it again."
    )


def _class(kind: _Kind) -> Any:
    """The model's class; transformers does not show Whisper's encoder at its top."""
    import transformers
    from transformers.models.whisper import modeling_whisper

    return getattr(transformers, kind.model, None) or getattr(modeling_whisper, kind.model)


def _model(cls: Any, config: Any, kind: _Kind, folder: Path | None, where: str) -> nn.Module:
    """The model itself, with fresh weights or the folder's."""
    try:
        if folder is None:
            return cls(config)
        model, loading = cls.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            key_mapping=dict(kind.renames) if kind.renames else None,
            ignore_mismatched_sizes=True,  # they are told, and refused below
            output_loading_info=True,
        )
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError and others
        raise CheckpointError(
            f"{where} cannot be loaded: {error_line(error)}. Expected a {kind.model} in safetensors."
        ) from None
    lacking = sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    if lacking:
        raise CheckpointError(
            f"{where} lacks {len(lacking)} weights of a {kind.model} or has them in other shapes, for "
            f"instance {lacking[0]}. Fetch it again, or choose another one."
        )
    return model


AUDIO = Family(audio_state, make)
"""How checkpoints of sound are read."""
