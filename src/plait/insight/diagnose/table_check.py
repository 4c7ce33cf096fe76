"""A table beside the one a model learnt from: columns, copies, leaks, drift."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, UInt64

from plait.data.features import Features, settings_for
from plait.data.modalities import registry
from plait.data.origin import Gone, Origin
from plait.data.store import Store
from plait.data.table.source import Table
from plait.insight.diagnose import copies, drift
from plait.insight.diagnose.columns import MAX_ROWS, Column, describe, read
from plait.insight.diagnose.copies import Copies, Near
from plait.insight.diagnose.drift import Drift
from plait.insight.diagnose.fingerprints import NOTHING, Prints, row_hashes
from plait.insight.diagnose.vectors import Vectors, vectors
from plait.insight.fitted import Fitted
from plait.model.blueprint import Blueprint

MAX_COMPARED_ROWS = 2000
"""Training rows whose vectors are compared at most, by default."""

ITSELF = 0.9
"""A table so much of which is the held-out rows is taken for those."""


@dataclass(frozen=True)
class Leaks:
    """What a table has in common with the rows a model learnt from.

    Attributes:
        rows: with the same content in every input column.
        disagree: places in those whose answer differs from that of the training row.
        cells: column → rows whose cell is in the training rows; of media, and of texts that are mostly
            different.
        near: rows nearly the same, as the model sees them; None for too few rows.
        compared: training rows whose vectors were compared.
        learnt: training rows in all.
        unread: column → training cells that could not be read, by which no leak can be told; columns
            without any are not named.
    """

    rows: Copies
    disagree: list[int]
    cells: dict[str, Copies]
    near: Near | None
    compared: int
    learnt: int
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TableCheck:
    """What there is to say of a table.

    Attributes:
        columns: each of them.
        repeats: rows that repeat an earlier one in every input column.
        disagree: places in those whose answer differs.
        leaks: None where the training table is gone.
        gone: why it is.
        held_out: whether this table is the validation rows themselves.
        looked_at: rows, the first ones.
    """

    columns: list[Column]
    repeats: Copies
    disagree: list[int]
    leaks: Leaks | None
    gone: Gone | None
    held_out: bool
    looked_at: int
    streams: dict[str, Drift | None] = field(default_factory=dict)


def compare_tables(
    model: Fitted,
    table: Table,
    seen: Vectors,
    origin: Origin | Gone,
    compared: int = MAX_COMPARED_ROWS,
) -> TableCheck:
    """All of it.

    Args:
        seen: this table's rows as the model sees them.
        origin: the training table. Its media are read, and the vectors of up to ``compared`` rows are
            made from the store that the fit filled; where that was cleared they are prepared anew.
        compared: training rows whose vectors are compared at most, half of them held-out ones.
    """
    features = model.features
    own = _read(model, table)
    inputs = [name for name in features.modalities if name in own]
    whole = _whole(own, inputs)
    repeats = copies.repeats(whole)
    goals = _goals(model, table)
    disagree = copies.disagreeing(repeats, goals, goals)
    if isinstance(origin, Gone):
        columns = describe(table, model.schema, own)
        return TableCheck(columns, repeats, disagree, None, origin, False, len(whole))
    before = _read(model, origin.table)
    learnt, held = _sides(origin)
    both = [name for name in inputs if name in before]
    here, there = (_whole(side, both) for side in (own, before))
    itself = len(copies.shared(here, there[held])) > ITSELF * len(here) if len(held) else False
    kept = {name: _of(prints, learnt) for name, prints in before.items()}
    streams, near, count = _by_vectors(model, origin, seen, learnt, held, itself, compared)
    shared = copies.shared(here, there[learnt])
    leaks = Leaks(
        Copies(shared.rows, learnt[shared.twins]),
        copies.disagreeing(
            Copies(shared.rows, learnt[shared.twins]), goals, _goals(model, origin.table)
        ),
        _cells(features, own, kept, learnt),
        near if near is None else _without(near, shared.rows),
        count,
        len(learnt),
        {name: before[name].unread for name in both if before[name].unread},
    )
    columns = describe(table, model.schema, own, kept, _by_column(model.blueprint, streams))
    return TableCheck(columns, repeats, disagree, leaks, None, itself, len(whole), streams)


def _read(model: Fitted, table: Table) -> dict[str, Prints]:
    features = model.features
    settings = settings_for(table, model.config)
    return read(table, table.columns, features.modalities, settings, features.states)


def _whole(side: Mapping[str, Prints], names: list[str]) -> UInt64[np.ndarray, " rows"]:
    """Each row's hash over some columns; that of nothing where there is none of them."""
    if names:
        return row_hashes({name: side[name] for name in names})
    return np.full(len(next(iter(side.values())).hashes), NOTHING, np.uint64)


def _sides(origin: Origin) -> tuple[Int64[np.ndarray, " learnt"], Int64[np.ndarray, " held"]]:
    """The rows looked at that weights learnt from, and those held out."""
    rows = np.arange(min(origin.table.rows, MAX_ROWS))
    held = origin.validation[origin.validation < MAX_ROWS]
    return np.setdiff1d(rows, held), held


def _of(prints: Prints, rows: Int64[np.ndarray, " some"]) -> Prints:
    hashes, size = prints.hashes[rows], prints.size[rows]
    share = len(rows) / max(1, len(prints.hashes))
    return Prints(
        hashes, size, prints.what, round(prints.missing * share), round(prints.unread * share)
    )


def _goals(model: Fitted, table: Table) -> list[object]:
    """Each row's answers as one thing to compare; None where the first is not known."""
    name = model.targets[0].name
    if name not in table.columns:
        return [None] * table.rows
    return table.cells(name)


def _cells(
    features: Features,
    own: Mapping[str, Prints],
    before: Mapping[str, Prints],
    learnt: Int64[np.ndarray, " learnt"],
) -> dict[str, Copies]:
    """Media and texts that are in the training rows too, column by column."""
    repeated = {}
    for name, kind in features.modalities.items():
        if name not in own or name not in before:
            continue
        part = registry.get(kind)
        if part.media or (part.words and copies.telling(before[name])):
            same = copies.shared(own[name].hashes, before[name].hashes)
            repeated[name] = Copies(same.rows, learnt[same.twins])
    return repeated


def _by_vectors(
    model: Fitted,
    origin: Origin,
    seen: Vectors,
    learnt: Int64[np.ndarray, " learnt"],
    held: Int64[np.ndarray, " held"],
    itself: bool,
    most: int,
) -> tuple[dict[str, Drift | None], Near | None, int]:
    """Drift of each stream against the held-out rows, and near copies of training rows."""
    room = most - min(len(held), most // 2)
    spread = learnt[np.unique(np.linspace(0, len(learnt) - 1, room).astype(np.int64))]
    apart = held[: most // 2]
    settings = settings_for(origin.table, model.config)
    prepared = model.features.prepare(origin.table, settings, store=Store())
    prepared = model.frozen.encode(prepared, store=Store())
    known = vectors(model.model, prepared.columns, spread)
    near = copies.near(seen.all_streams, known.all_streams)
    if near is not None:
        near = Near(near.rows, spread[near.twins], near.distance, near.usual)
    streams: dict[str, Drift | None] = {}
    # Against held-out rows: encoders know training rows by heart, and any table would differ.
    if len(apart) and not itself:
        unseen = vectors(model.model, prepared.columns, apart)
        for name in seen.streams:
            streams[name] = drift.vectors(
                unseen.streams[name][unseen.present[name]], seen.streams[name][seen.present[name]]
            )
    return streams, near, len(spread)


def _without(near: Near, rows: Int64[np.ndarray, " copies"]) -> Near:
    """Near copies that are no exact ones."""
    kept = ~np.isin(near.rows, rows)
    return Near(near.rows[kept], near.twins[kept], near.distance[kept], near.usual)


def _by_column(plan: Blueprint, streams: Mapping[str, Drift | None]) -> dict[str, Drift | None]:
    """A stream's drift for its column; that of several columns together belongs to none of them."""
    return {
        plan.streams[stream][0]: drift
        for stream, drift in streams.items()
        if len(plan.streams[stream]) == 1
    }
