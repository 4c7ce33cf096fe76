"""The pretrained encoders of a fit: which columns have one, what is read from it, what is remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from plait.config import Config
from plait.data.modalities import registry
from plait.data.modalities.base import Settings, State
from plait.data.table.source import Table
from plait.display.progress import Reporter
from plait.errors import ConfigError
from plait.model.encoders.base import Encoder, learnt_state
from plait.model.encoders.pretrained import Adapter, Tuned
from plait.model.frozen import Frozen, FrozenEncoder
from plait.model.pretrained.base import Backbone
from plait.model.pretrained.best import CHOICES, best_encoder
from plait.model.pretrained.record import Record, open_backbone, revive
from plait.model.pretrained.registry import family_of
from plait.model.pretrained.source import Checkpoint, find_checkpoint, is_reference
from plait.model.pretrained.tuning import FROZEN, fit_problems, kind, tune


@dataclass(frozen=True)
class Chosen:
    """The checkpoints of a table's columns.

    Attributes:
        checkpoints: column → checkpoint.
        states: column → the preprocessing that the checkpoint wants.
    """

    checkpoints: dict[str, Checkpoint]
    states: dict[str, State]


def encoder_name(config: Config, column: str, modality: str) -> str | None:
    """What the user wants for a column: by its own name, else by its modality; None: the default."""
    return config.encoders.get(column, config.encoders.get(modality))


def choose(
    config: Config,
    modalities: Mapping[str, str],
    table: Table,
    rows: np.ndarray,
    settings: Settings,
    reporter: Reporter,
) -> Chosen:
    """Find, and fetch where needed, the checkpoint of every column that has one.

    Args:
        rows: training rows, whose texts say how many are longer than a model can read.

    Raises:
        CheckpointError, MissingExtra: there is none, or it cannot be read.
    """
    known: dict[str, Checkpoint] = {}
    chosen = Chosen({}, {})
    for column, modality in modalities.items():
        name = encoder_name(config, column, modality)
        if name is None and config.preset == "best" and modality in CHOICES:
            cells = (cell for chunk in table.chunks(column, rows) for cell in chunk)
            name, why = best_encoder(modality, cells, settings)
            choice = name or "plait's own encoder"
            reporter.note(f"{column}: preset best takes {choice}: {why}")
        if name is None or not is_reference(name):
            continue
        if name not in known:
            known[name] = find_checkpoint(name, note=reporter.note)
        checkpoint = known[name]
        family = family_of(modality, checkpoint.config, checkpoint.reference)
        cells = (cell for chunk in table.chunks(column, rows) for cell in chunk)
        state = registry.get(modality).adapt(family.state(checkpoint.folder), cells, settings)
        chosen.checkpoints[column] = checkpoint
        chosen.states[column] = state
    return chosen


def open_all(
    config: Config, modalities: Mapping[str, str], chosen: Chosen
) -> tuple[dict[str, Record], dict[str, Backbone]]:
    """What the model remembers of each column's pretrained encoder, and the encoders with their weights.

    Frozen columns of one checkpoint share one encoder.

    Raises:
        CheckpointError: a checkpoint cannot be an encoder of that modality.
        ConfigError: one cannot be tuned as asked.
    """
    records: dict[str, Record] = {}
    backbones: dict[str, Backbone] = {}
    problems: list[str] = []
    for column, checkpoint in chosen.checkpoints.items():
        modality, state = modalities[column], chosen.states[column]
        how = config.tune.get(column, config.tune.get(modality, FROZEN))
        twin = _twin(column, how, chosen, records)
        if twin is not None:
            backbones[column] = backbones[twin]
        else:
            backbones[column] = open_backbone(modality, checkpoint, state)
        record = Record(
            reference=checkpoint.reference,
            revision=checkpoint.revision,
            licence=checkpoint.licence,
            digest=checkpoint.digest,
            config=checkpoint.config,
            modality=modality,
            hidden=backbones[column].hidden,
            how=how,
            most=config.frozen_tokens,
            views=config.views if how == FROZEN else 1,
            rank=config.lora_rank,
            checkpointing=config.gradient_checkpointing and how != FROZEN,
            unfreeze=config.unfreeze == "gradual" and how != FROZEN,
            embedded=config.embed_weights or how == "full",
        )
        records[column] = record
        if not record.frozen:
            problems += fit_problems(backbones[column], how, record.checkpointing)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return records, backbones


def _twin(column: str, how: str, chosen: Chosen, records: Mapping[str, Record]) -> str | None:
    """An earlier frozen column that has the same encoder and preprocessing."""
    if how != FROZEN:
        return None
    for other, record in records.items():
        same = chosen.checkpoints[other] == chosen.checkpoints[column]
        if same and record.frozen and chosen.states[other] == chosen.states[column]:
            return other
    return None


def encoder_of(
    record: Record,
    backbone: Backbone | None,
    state: State,
    *,
    width: int,
    dropout: float,
    empty: bool,
) -> Encoder:
    """The part of a pretrained encoder that lies in the model.

    Args:
        backbone: with its weights, where it is at hand; a frozen one is not needed here.
        empty: fresh weights will do where the bundle holds all, since they are about to be filled in.
    """
    if record.frozen:
        return Adapter(hidden=record.hidden, width=width, dropout=dropout)
    if backbone is None:
        backbone = revive(record, state, empty=empty and record.embedded)
    tune(backbone, record.how, rank=record.rank, checkpointing=record.checkpointing)
    return Tuned(
        backbone, width=width, kind=kind(record.how), dropout=dropout, unfreeze=record.unfreeze
    )


def revive_frozen(
    records: Mapping[str, Record], states: Mapping[str, State], embedded: Mapping[str, Tensor]
) -> dict[str, Backbone]:
    """The frozen encoders of a loaded model, by column: from the bundle or from their checkpoints.

    Args:
        embedded: the bundle's weights, which may hold theirs.

    Raises:
        CheckpointError: a checkpoint is not there, or is not the one it was.
    """
    backbones: dict[str, Backbone] = {}
    for column, record in records.items():
        for other, backbone in backbones.items():
            if records[other] == record and states[other] == states[column]:
                backbones[column] = backbone
                break
        else:
            prefix = frozen_prefix(column)
            own = {k.removeprefix(prefix): v for k, v in embedded.items() if k.startswith(prefix)}
            backbones[column] = revive(record, states[column], empty=bool(own))
            if own:
                backbones[column].load_state_dict(own)
    return backbones


def frozen_prefix(column: str) -> str:
    """What the names of a frozen encoder's weights begin with in a bundle that holds them."""
    return f"frozen/{column}/"


def bundle_weights(
    model: nn.Module, records: Mapping[str, Record], streams: Sequence[str], frozen: Frozen
) -> dict[str, Tensor]:
    """The weights that a bundle holds: all that was learnt, and those it is told to embed.

    Args:
        records: stream → its pretrained encoder.
        streams: of the model, in order.
    """
    weights = learnt_state(model)
    whole = model.state_dict()
    for number, stream in enumerate(streams):
        if stream in records and records[stream].embedded:
            prefix = f"encoders.{number}."
            weights |= {name: value for name, value in whole.items() if name.startswith(prefix)}
    for column, encoder in frozen.encoders.items():
        if encoder.embedded:
            prefix = frozen_prefix(column)
            own = encoder.backbone.weights()
            weights |= {prefix + name: value for name, value in own.items()}
    return weights


def frozen_encoders(
    records: Mapping[str, Record],
    states: Mapping[str, State],
    backbones: Mapping[str, Backbone],
    *,
    keep_cells: bool,
) -> Frozen:
    """The encoders that run once a cell.

    Args:
        records: column → record, of frozen encoders only.
        backbones: column → backbone; columns of one checkpoint may share one.
        keep_cells: decoders will want the cells themselves.
    """
    return Frozen(
        {
            column: FrozenEncoder(
                backbone=backbones[column],
                modality=record.modality,
                state=states[column],
                embedded=record.embedded,
                recipe={"digest": record.digest, "config": record.config, "most": record.most},
                most=record.most,
                views=record.views,
            )
            for column, record in records.items()
        },
        keep_cells=keep_cells,
    )
