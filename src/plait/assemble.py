"""From a configuration to a model: which streams, encoders, fusion and heads, and why."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from plait.config import Config
from plait.encoders.base import Encoder
from plait.encoders.registry import (
    ENCODERS,
    SIZES,
    TABULAR,
    TABULAR_MODALITIES,
    build_encoder,
    build_tabular,
    default_encoder,
)
from plait.errors import ConfigError, suggest, unknown
from plait.features import Features
from plait.fusion.registry import FUSIONS, build_fusion, option_problems
from plait.heads.decoders import build_decoder, decoder_class
from plait.heads.reconstruct import Decoder
from plait.heads.registry import build_head
from plait.model import Model
from plait.store import PreparedColumn
from plait.table.target import Target


@dataclass(frozen=True)
class Blueprint:
    """Everything needed to build the same architecture again; saved in the bundle.

    Attributes:
        streams: stream → its columns, in order. Media columns are streams of their own; all numeric,
            categorical and datetime columns form one.
        encoders: stream → the encoder's name.
        shared: stream → the stream whose encoder it uses, itself when it has its own.
        fusion: the fusion's name.
        width: numbers in a token.
        reconstruct: weight of rebuilding every column while training.
        decoders: column → what is typical of its cells, for columns that have a decoder.
    """

    streams: dict[str, list[str]]
    encoders: dict[str, str]
    shared: dict[str, str]
    fusion: str
    width: int
    preset: str
    dropout: float
    modality_dropout: float
    alone: float
    fusion_options: dict[str, Any] = field(default_factory=dict)
    reconstruct: float = 0.0
    decoders: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Blueprint":
        """What `to_json` gave."""
        return cls(**data)


def check_choices(config: Config, modalities: Mapping[str, str]) -> None:
    """Check names that only the registries know.

    Raises:
        ConfigError: listing every unknown fusion, encoder, column or modality.
    """
    problems = []
    if config.fusion not in FUSIONS:
        problems.append(f"fusion: {unknown('fusion', config.fusion, FUSIONS)}")
    else:
        problems += option_problems(config.fusion, config.fusion_options)
    for key, name in config.encoders.items():
        modality = modalities.get(key, key)
        if modality in TABULAR_MODALITIES:
            problems.append(
                f"encoders: {key} is {modality}; tabular columns have one encoder only."
            )
        elif modality not in ENCODERS:
            known = [*modalities, *ENCODERS]
            problems.append(
                f"encoders: there is no column or modality '{key}'.{suggest(key, known)}"
            )
        elif name not in ENCODERS[modality]:
            problems.append(f"encoders: {unknown(f'{modality} encoder', name, ENCODERS[modality])}")
    for name in config.share:
        if name not in ENCODERS:
            problems.append(f"share: {unknown('modality', name, ENCODERS)}")
    if problems:
        raise ConfigError(problems)


def draw(config: Config, features: Features) -> Blueprint:
    """Decide the architecture for these columns."""
    check_choices(config, features.modalities)
    streams: dict[str, list[str]] = {}
    encoders: dict[str, str] = {}
    shared: dict[str, str] = {}
    first: dict[str, str] = {}
    for column, modality in features.modalities.items():
        if modality in TABULAR_MODALITIES:
            streams.setdefault(TABULAR, []).append(column)
            continue
        # A media column may itself be called "tabular"; its stream then needs another name.
        stream = column if column != TABULAR else f"{column} ({modality})"
        streams[stream] = [column]
        by_modality = config.encoders.get(modality, default_encoder(modality))
        encoders[stream] = config.encoders.get(column, by_modality)
        shared[stream] = stream
        if modality in config.share:
            shared[stream] = first.setdefault(modality, stream)
    if TABULAR in streams:
        encoders[TABULAR], shared[TABULAR] = "tokens", TABULAR
    return Blueprint(
        streams=streams,
        encoders=encoders,
        shared=shared,
        fusion=config.fusion,
        width=config.width or SIZES[config.preset]["width"],
        preset=config.preset,
        dropout=config.dropout,
        modality_dropout=config.modality_dropout if len(streams) > 1 else 0.0,
        alone=config.alone,
        fusion_options=dict(config.fusion_options),
    )


def with_decoders(
    plan: Blueprint,
    config: Config,
    features: Features,
    columns: Mapping[str, PreparedColumn],
    rows: np.ndarray,
) -> Blueprint:
    """The blueprint with a decoder for every column, where the options ask for any.

    Args:
        columns: the prepared columns.
        rows: the training rows, which say what is typical of a column.
    """
    if config.pretrain == "none" and not config.reconstruct:
        return plan
    decoders = {
        name: decoder_class(modality).survey(columns[name], rows)
        for name, modality in features.modalities.items()
    }
    return replace(plan, decoders=decoders, reconstruct=config.reconstruct)


def build(
    plan: Blueprint,
    features: Features,
    targets: list[Target],
    *,
    config: Config | None = None,
    encoded: Mapping[str, np.ndarray] | None = None,
) -> Model:
    """The model of a blueprint, with fresh weights from torch's global generator.

    Args:
        config: the losses' options; None for a model that only answers.
        encoded: training targets, for class weights.
    """
    encoders: dict[str, Encoder] = {}
    width, preset, dropout = plan.width, plan.preset, plan.dropout
    for stream, columns in plan.streams.items():
        owner = plan.shared[stream]
        if owner in encoders:
            encoders[stream] = encoders[owner]
            continue
        if stream == TABULAR:
            parts = [(features.modalities[name], features.states[name]) for name in columns]
            encoders[stream] = build_tabular(parts, width=width, preset=preset, dropout=dropout)
        else:
            modality, state = features.modalities[columns[0]], features.states[columns[0]]
            encoders[stream] = build_encoder(
                modality, plan.encoders[stream], state, width=width, preset=preset, dropout=dropout
            )
    fusion = build_fusion(
        plan.fusion,
        dict.fromkeys(plan.streams, plan.width),
        width=plan.width,
        dropout=plan.dropout,
        options=plan.fusion_options,
    )
    heads = {
        target.name: build_head(
            target.kind,
            width=plan.width,
            outputs=max(1, len(target.classes)),
            dropout=plan.dropout,
            weights=_class_weights(target, config, encoded),
            smoothing=config.label_smoothing if config else 0.0,
            regression_loss=config.regression_loss if config else "huber",
        )
        for target in targets
    }
    model = Model(
        streams=plan.streams,
        encoders=encoders,
        fusion=fusion,
        heads=heads,
        modality_dropout=plan.modality_dropout,
        alone=plan.alone,
        decoders=_decoders(plan, features),
        reconstruct=plan.reconstruct,
    )
    # Convolutions on a processor are quickest with channels last.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _decoders(plan: Blueprint, features: Features) -> dict[str, Decoder]:
    return {
        name: build_decoder(
            features.modalities[name],
            features.states[name],
            typical,
            width=plan.width,
            size=SIZES[plan.preset],
            dropout=plan.dropout,
        )
        for name, typical in plan.decoders.items()
    }


def _class_weights(
    target: Target, config: Config | None, encoded: Mapping[str, np.ndarray] | None
) -> torch.Tensor | None:
    """Loss weights by class frequency, mean 1 over rows; None when classes weigh alike."""
    if config is None or encoded is None or target.kind == "regression":
        return None
    many = target.kind == "multilabel"
    choice = {"auto": "none" if many else "sqrt"}.get(config.class_weights, config.class_weights)
    if choice == "none":
        return None
    values = encoded[target.name]
    power = 0.5 if choice == "sqrt" else 1.0
    if many:
        share = np.nanmean(values, axis=0).clip(1e-3, 1 - 1e-3)
        weight = ((1 - share) / share) ** power
    else:
        count = np.bincount(values[values >= 0], minlength=len(target.classes)).clip(min=1)
        weight = (1 / count) ** power
        weight *= count.sum() / (count * weight).sum()
    return torch.tensor(weight, dtype=torch.float32)
