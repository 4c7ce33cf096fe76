"""What is fitted to training rows once, before training: encoders that hold a fitted projection."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int64, Shaped

from plait.data.store import PreparedColumn
from plait.errors import AlignError, ConfigError
from plait.model.encoders.base import ClosedForm
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import ColumnBatch

MAX_ROWS = 2048
"""Rows an encoder is fitted to at most, drawn at random from the training rows: 32 for each of
the 64 components that a projection keeps, and all of them lie in memory."""

_CHUNK = 64
"""Rows collated at a time, as in training."""


def fit_encoders(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    goal: Shaped[np.ndarray, "..."],
    *,
    seed: int,
) -> list[str]:
    """Fit every encoder that has a part to fit, to the cells it will read of some training rows.

    Args:
        columns: prepared, of the whole table.
        rows: to fit to: the training rows.
        goal: the first target of the whole table; -1 where a class is missing.

    Returns:
        a note on each, for the user.

    Raises:
        ConfigError: a column has too few cells to fit to.
    """
    readers: dict[int, tuple[ClosedForm, list[str]]] = {}
    for read, encoder in zip(model.streams.values(), model.encoders, strict=True):
        for part in encoder.modules():  # it may lie inside an aligner
            if isinstance(part, ClosedForm):
                # Streams may share an encoder: it is fitted once, to the cells of all of them.
                readers.setdefault(id(part), (part, []))[1].append(read[0])
    notes, problems = [], []
    for part, names in readers.values():
        generator = np.random.default_rng(seed)
        chosen = {
            name: _choose(columns[name], rows, goal, part, MAX_ROWS // len(names), generator)
            for name in names
        }
        rows_used = np.concatenate(list(chosen.values()))
        named = " and ".join(names)
        if len(rows_used) < 2:
            problems.append(
                f"encoders: {named} has {len(rows_used)} readable training cells with a target; a "
                "projection needs 2 at least. Choose another encoder or ignore the column."
            )
            continue
        try:
            summary = part.fit_rows(
                _batches(columns, chosen), goal[rows_used] if part.needs_classes else None
            )
            notes.append(f"{named}: {summary}")
        except AlignError as error:
            problems.append(f"encoders: {named} cannot be fitted: {error}")
    if problems:
        raise ConfigError(problems)
    return notes


def _choose(
    column: PreparedColumn,
    rows: np.ndarray,
    goal: np.ndarray,
    part: ClosedForm,
    most: int,
    generator: np.random.Generator,
) -> Int64[np.ndarray, " chosen"]:
    """Rows that hold a cell (and a class, where one is needed), in order, ``most`` of them."""
    able = rows[column.rows_present[rows]]
    if part.needs_classes:
        able = able[goal[able] >= 0]
    if len(able) > most:
        # Drawn, not the first: a table may be sorted.
        able = generator.choice(able, most, replace=False)
    return np.sort(able)


def _batches(
    columns: Mapping[str, PreparedColumn], chosen: Mapping[str, np.ndarray]
) -> Iterator[tuple[ColumnBatch, ...]]:
    for name, rows in chosen.items():
        for start in range(0, len(rows), _CHUNK):
            yield (collate({name: columns[name]}, rows[start : start + _CHUNK])[name],)
