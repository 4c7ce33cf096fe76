"""What each column holds, for the page on the data: missing cells, distribution, drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, UInt64

from plait.data.modalities.base import Settings, State
from plait.data.table.columns import example
from plait.data.table.schema import Schema
from plait.data.table.source import Table
from plait.insight.diagnose import drift
from plait.insight.diagnose.chance import adjusted
from plait.insight.diagnose.drift import Drift
from plait.insight.diagnose.fingerprints import NOTHING, Prints, prints

MAX_ROWS = 50_000
"""Rows of a table that are looked at: the first ones."""

CATEGORIES_SHOWN = 12
"""Categories shown; the rest are one."""

BINS = 20


@dataclass(frozen=True)
class Distribution:
    """How often what occurs, as two lists of shares to draw one over the other.

    Attributes:
        labels: categories, commonest first; empty for numbers. None stands for all the others.
        edges: of the bins of numbers, ``[bins + 1]``; empty for categories. Numbers beyond are in the
            outer bins.
        here: share of this table's cells in each.
        before: share of the training table's; None where there is none.
        what: the number drawn, of `plait.insight.diagnose.fingerprints`; None for categories.
    """

    labels: list[str | None]
    edges: list[float]
    here: list[float]
    before: list[float] | None
    what: str | None


@dataclass(frozen=True)
class Column:
    """One column of the page.

    Attributes:
        name, role, modality, reason: as the schema has them; ``reason`` is empty for a new column.
        rows: looked at.
        missing: share of missing cells here.
        missing_before: in the training table.
        unread: cells here that could not be read.
        distinct: different contents here.
        examples: a few cells in words.
        example_rows: the rows of those.
        distribution: None where there is nothing to draw.
        drift: what has moved, or might have.
    """

    name: str
    role: str
    modality: str | None
    reason: str
    rows: int
    missing: float
    missing_before: float | None
    unread: int
    distinct: int
    examples: list[str]
    example_rows: list[int]
    distribution: Distribution | None
    drift: list[Drift] = field(default_factory=list)


def read(
    table: Table,
    names: Sequence[str],
    modalities: Mapping[str, str],
    settings: Settings,
    states: Mapping[str, State] | None = None,
) -> dict[str, Prints]:
    """Every column's contents, of the first `MAX_ROWS` rows."""
    part = table.slice(0, MAX_ROWS)
    states = states or {}
    return {
        name: prints(part, name, modalities.get(name), settings, states.get(name))
        for name in names
        if name in table.columns
    }


def describe(
    table: Table,
    schema: Schema,
    here: Mapping[str, Prints],
    before: Mapping[str, Prints] | None = None,
    streams: Mapping[str, Drift | None] | None = None,
) -> list[Column]:
    """Every column of the schema and of the table, in the schema's order.

    Args:
        table: this table.
        schema: of the training table.
        here, before: contents of this table's and the training table's columns; None where the training
            table is gone.
        streams: column → what a classifier on its encoded cells says.

    The drift of all columns is adjusted together, so that noise is rarely shown as a finding.
    """
    plans = {plan.name: plan for plan in schema.columns}
    columns = []
    for name in [*plans, *(name for name in here if name not in plans)]:
        if name not in here:
            continue
        plan = plans.get(name)
        own, old = here[name], (before or {}).get(name)
        rows = len(own.hashes)
        quality = plan.quality.get("missing") if plan else None
        where = np.flatnonzero(own.hashes != NOTHING)
        spread = (
            where[np.unique(np.linspace(0, len(where) - 1, 4).astype(int))] if len(where) else []
        )
        columns.append(
            Column(
                name=name,
                role=plan.role if plan else "new",
                modality=plan.modality if plan else None,
                reason=plan.reason if plan else "",
                rows=rows,
                missing=own.missing / rows if rows else float("nan"),
                missing_before=old.missing / len(old.hashes) if old is not None else quality,
                unread=own.unread,
                distinct=len(np.unique(own.hashes[own.hashes != NOTHING])),
                examples=[example(cell) for cell in table.cells(name, np.asarray(spread, int))],
                example_rows=[int(row) for row in spread],
                distribution=_distribution(table, name, own, old),
                drift=[]
                if plan and plan.role == "group"  # whose values are meant to be new
                else _drift(own, old, (streams or {}).get(name)),
            )
        )
    return _adjusted(columns)


def _drift(own: Prints, old: Prints | None, stream: Drift | None) -> list[Drift]:
    tests = [stream]
    if old is not None:
        counts = old.missing, len(old.hashes), own.missing, len(own.hashes)
        tests.append(drift.missing(*counts))
        if own.what is not None and old.what is not None:
            tests.append(drift.numbers(old.size, own.size))
        elif own.what is None and _repeats(own) and _repeats(old):
            tests.append(drift.categories(*drift.counted(old.hashes, own.hashes)))
    return [test for test in tests if test is not None]


def _repeats(prints: Prints) -> bool:
    """Whether values come back, as categories do; names that every row has of its own do not."""
    there = prints.hashes[prints.hashes != NOTHING]
    # Each value twice on average; below that, frequencies are chance.
    return len(there) > 0 and 2 * len(np.unique(there)) <= len(there)


def _adjusted(columns: list[Column]) -> list[Column]:
    """With q-values over everything that was tested."""
    tests = [test for column in columns for test in column.drift]
    q = iter(adjusted(np.array([test.p for test in tests])).tolist())
    return [
        replace(column, drift=[replace(test, q=next(q)) for test in column.drift])
        for column in columns
    ]


def _distribution(table: Table, name: str, own: Prints, old: Prints | None) -> Distribution | None:
    if own.what is not None:
        return _histogram(own, old)
    there = own.hashes[own.hashes != NOTHING]
    if not len(there) or not _repeats(own):
        return None
    values, first, counts = np.unique(own.hashes, return_index=True, return_counts=True)
    order = [place for place in np.argsort(-counts, kind="stable") if values[place] != NOTHING]
    top = order[:CATEGORIES_SHOWN]
    cells = table.cells(name, first[top])
    labels: list[str | None] = [example(cell) for cell in cells]
    here = [float(counts[place] / len(there)) for place in top]
    before = None if old is None else _shares(values[top], old.hashes)
    if len(order) > CATEGORIES_SHOWN:
        labels.append(None)
        here.append(1 - sum(here))
        if before is not None:
            before.append(max(0.0, 1 - sum(before)))
    return Distribution(labels, [], here, before, None)


def _shares(
    values: UInt64[np.ndarray, " values"], hashes: UInt64[np.ndarray, " rows"]
) -> list[float]:
    there = hashes[hashes != NOTHING]
    return [float((there == value).mean()) if len(there) else 0.0 for value in values]


def _histogram(own: Prints, old: Prints | None) -> Distribution | None:
    """Bins between the hundredths of both tables, so that one far number does not flatten the rest."""
    here = own.size[np.isfinite(own.size)]
    there = old.size[np.isfinite(old.size)] if old is not None else np.zeros(0)
    if not len(here):
        return None
    both = np.concatenate([here, there])
    low, high = np.percentile(both, (1, 99))
    if low == high:
        low, high = float(both.min()), float(both.max())
    if low == high:  # the same everywhere: nothing to draw
        return None
    edges = np.linspace(low, high, BINS + 1)
    before = _binned(there, edges) if len(there) else None
    return Distribution([], edges.tolist(), _binned(here, edges), before, own.what)


def _binned(
    values: Float[np.ndarray, " values"], edges: Float[np.ndarray, " edges"]
) -> list[float]:
    # Clipped: what lies beyond is counted in the outer bins, so that shares sum to 1.
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return [float(share) for share in counts / len(values)]
