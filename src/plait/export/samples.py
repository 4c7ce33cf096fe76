"""Random prepared columns, to trace a model with and to check it on."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from plait.config import Config
from plait.data.features import Features
from plait.data.media import Limits, Media
from plait.data.modalities import registry
from plait.data.modalities.base import Settings
from plait.data.store import PreparedColumn
from plait.model.blueprint import Blueprint
from plait.model.frozen import Frozen
from plait.model.model import Model

MAX_STEPS = 33
"""Steps of a random ragged cell at most, unless its column has shorter ones only."""


def random_columns(
    features: Features,
    ids: Mapping[str, int],
    config: Config,
    *,
    rows: int,
    seed: int,
    missing: float = 0.0,
) -> dict[str, PreparedColumn]:
    """Columns of the types and shapes that the modalities give, with random content.

    Args:
        ids: column → how many whole numbers it may hold, for columns of ids.
        missing: chance that a cell is missing.
    """
    generator = np.random.default_rng(seed)
    settings = Settings(media=Media(None, Limits.from_config(config)), preset=config.preset)
    columns = {}
    for name, kind in features.modalities.items():
        state = features.states[name]
        empty = registry.get(kind).prepare([], state, settings)
        present = generator.random(rows) >= missing
        count, offsets = rows, None
        if empty.lengths is not None:
            longest = min(MAX_STEPS, int(state.get("max_tokens", MAX_STEPS)))
            lengths = generator.integers(1, longest, size=rows, endpoint=True) * present
            if present.any():  # so that the batch is as long as it can be
                lengths[np.flatnonzero(present)[0]] = longest
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            count = int(lengths.sum())
        values = _random(
            generator, (count, *empty.values.shape[1:]), empty.values.dtype, ids.get(name)
        )
        if offsets is None:
            values[~present] = 0
        columns[name] = PreparedColumn(values, offsets, present)
    return columns


def _random(
    generator: np.random.Generator, shape: tuple[int, ...], kind: np.dtype, ids: int | None
) -> np.ndarray:
    if ids is not None:
        return generator.integers(ids, size=shape).astype(kind)
    if np.issubdtype(kind, np.integer):
        return generator.integers(256, size=shape).astype(kind)
    return generator.standard_normal(shape).astype(kind)


def id_counts(model: Model, plan: Blueprint, frozen: Frozen) -> dict[str, int]:
    """Column → the ids that its encoder has vectors for, of columns that are ids."""
    counts = {}
    for columns, encoder in zip(plan.streams.values(), model.encoders, strict=True):
        for name, part in encoder.column_parts(columns).items():  # type: ignore[operator]
            first = frozen.encoder(name)
            part = part if first is None else first.backbone
            tables = [m.num_embeddings for m in part.modules() if isinstance(m, nn.Embedding)]
            if tables:
                counts[name] = min(tables)
    return counts
