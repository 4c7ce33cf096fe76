"""The architecture of a model as plain values: which streams, encoders, fusion and decoders, and why."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from plait.config import Config, current_names
from plait.data.features import Features
from plait.data.modalities.registry import TABULAR_MODALITIES
from plait.data.store import PreparedColumn
from plait.model.decoders.registry import decoder_class
from plait.model.encoders.registry import (
    SIZES,
    TABULAR,
    default_encoder,
)
from plait.model.pretrained.record import Record


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
        align: stream → the aligner before its encoder, for streams that have one.
        tokens_per_stream: tokens that streams of several are resampled to; None: as they come.
        reconstruct: weight of rebuilding every column while training.
        decoders: column → what is typical of its cells, for columns that have a decoder.
        pretrained: stream → its pretrained encoder (`plait.model.pretrained.record.Record`), for
        streams that
            have one.
        scale: of the preset's channels and heads, below 1 for a compressed model.
    """

    streams: dict[str, list[str]]
    encoders: dict[str, str]
    shared: dict[str, str]
    fusion: str
    width: int
    preset: str
    dropout: float
    modality_dropout: float
    unimodal_loss: float
    fusion_options: dict[str, Any] = field(default_factory=dict)
    align: dict[str, str] = field(default_factory=dict)
    tokens_per_stream: int | None = None
    reconstruct: float = 0.0
    decoders: dict[str, dict[str, float]] = field(default_factory=dict)
    pretrained: dict[str, dict[str, Any]] = field(default_factory=dict)
    scale: float = 1.0

    @property
    def records(self) -> dict[str, Record]:
        """Stream → its pretrained encoder."""
        return {stream: Record.from_json(data) for stream, data in self.pretrained.items()}

    @property
    def frozen(self) -> dict[str, Record]:
        """Column → its pretrained encoder, of those that run once a cell."""
        return {
            self.streams[stream][0]: record
            for stream, record in self.records.items()
            if record.frozen and stream in self.streams
        }

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Blueprint":
        """What `to_json` gave."""
        return cls(**current_names(data))


def plan_model(
    config: Config, features: Features, records: Mapping[str, Record] | None = None
) -> Blueprint:
    """Decide the architecture for these columns.

    Args:
        records: column → its pretrained encoder, for columns that have one.
    """
    streams: dict[str, list[str]] = {}
    encoders: dict[str, str] = {}
    shared: dict[str, str] = {}
    align: dict[str, str] = {}
    first: dict[str, str] = {}
    pretrained: dict[str, dict[str, Any]] = {}
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
        if records and column in records:
            pretrained[stream] = records[column].to_json()
            encoders[stream] = records[column].reference
        aligner = config.align.get(column, config.align.get(modality))
        if aligner is not None:
            align[stream] = aligner
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
        unimodal_loss=config.unimodal_loss,
        fusion_options=dict(config.fusion_options),
        align=align,
        tokens_per_stream=config.tokens_per_stream,
        pretrained=pretrained,
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
