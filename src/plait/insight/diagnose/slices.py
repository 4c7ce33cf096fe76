"""Parts of a table on which a model does worse than on the rest, beyond chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from plait.data.modalities import registry
from plait.data.table.columns import MAX_COUNTED_ROWS, count, example
from plait.data.table.source import Table
from plait.data.targets.cells import as_number
from plait.insight.diagnose.chance import LEVEL, adjusted, larger, too_many

MIN_ROWS = 10
"""Rows in a slice at least, and in the rest."""

CATEGORIES = 50
"""Values of a column that are looked at, the commonest ones."""

QUARTERS = 4

How = Literal["value", "range", "missing"]


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common.

    Attributes:
        column: what they have in common is in this column.
        how: a value, a range of numbers, or that the cell is missing.
        value: of the column, for a value.
        low, high: ends of a range; both belong to it but ``low``, which belongs to the one before.
        rows: how many there are.
        error: the mean error of these rows: the share that is wrong, or the mean absolute error.
        rest: the mean error of all others.
        p: the probability of so much error by chance.
        q: the same, adjusted for the number of slices looked at.
    """

    column: str
    how: How
    rows: int
    error: float
    rest: float
    p: float
    q: float = float("nan")
    value: str = ""
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Slices:
    """The slices found, the surest first, and how many were looked at."""

    found: list[Slice]
    looked_at: int
    overall: float


def slices(
    table: Table,
    error: Float[np.ndarray, " rows"],
    known: Bool[np.ndarray, " rows"],
    *,
    leave_out: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    level: float = LEVEL,
) -> Slices:
    """The slices of single columns that do worse than the rest, false findings held to ``level``.

    Categories are sliced by value, numbers with many values by quarter, and every column by whether its
    cell is missing. Media and free text are sliced by missing cells only. Ignored columns count too: a
    shop or an artist that does worse is news although the model does not see it.

    Where a row is right or wrong the test is Fisher's exact test, one-sided: under chance the mistakes
    in a slice are hypergeometric, which unlike a binomial takes into account that the overall rate comes
    from the same rows. Other errors are ranked (Mann & Whitney 1947, one-sided, with ties corrected).
    Slices that overlap tell the same twice; combinations of columns are not looked at.

    Args:
        error: each row's error: 1 and 0 for wrong and right, or any measure of how wrong.
        known: which rows have a known answer; the others are left out.
        leave_out: columns not to slice by, the targets say.
        kinds: modality by column, where it is known.
    """
    if table.rows > MAX_COUNTED_ROWS:  # the first ones: a slice needs no more to show itself
        table, error, known = (
            table.slice(0, MAX_COUNTED_ROWS),
            error[:MAX_COUNTED_ROWS],
            known[:MAX_COUNTED_ROWS],
        )
    rows = int(known.sum())
    overall = float(error[known].mean()) if rows else float("nan")
    if rows < 2 * MIN_ROWS or np.ptp(error[known]) == 0:
        return Slices([], 0, overall)
    tested = []
    for name in table.columns:
        if name not in leave_out:
            for slice_, inside in _of_column(table, name, (kinds or {}).get(name)):
                inside = inside & known
                if MIN_ROWS <= inside.sum() <= rows - MIN_ROWS:
                    tested.append(_tested(slice_, error, inside, known & ~inside))
    q = adjusted(np.array([slice_.p for slice_ in tested]))
    whole = [replace(slice_, q=float(each)) for slice_, each in zip(tested, q, strict=True)]
    significant = [slice_ for slice_ in whole if slice_.q <= level and slice_.error > slice_.rest]
    return Slices(sorted(significant, key=lambda slice_: slice_.p), len(tested), overall)


def _tested(
    slice_: Slice,
    error: np.ndarray,
    inside: Bool[np.ndarray, " rows"],
    rest: Bool[np.ndarray, " rows"],
) -> Slice:
    here, there = error[inside], error[rest]
    if np.isin(error, (0.0, 1.0)).all():
        p = too_many(int(here.sum()), len(here), int(there.sum()), len(there))
    else:
        p = larger(here, there)
    return replace(slice_, rows=len(here), error=float(here.mean()), rest=float(there.mean()), p=p)


def _of_column(
    table: Table, name: str, kind: str | None
) -> Iterator[tuple[Slice, Bool[np.ndarray, " rows"]]]:
    """A column's slices and their rows."""
    facts = count(table, name)
    blank = Slice(name, "missing", 0, 0.0, 0.0, 1.0)
    if facts.missing:
        yield blank, ~facts.present
    codes = facts.codes
    if codes is None or not facts.keys:
        return
    numbers = [as_number(key) for key in facts.keys]
    known = [float(number) for number in numbers if number is not None]
    many = len(known) == len(numbers) > QUARTERS
    nominal = kind is not None and registry.get(kind).nominal
    if many and not nominal:
        values = np.array([*known, np.nan])[codes]  # a missing cell has the code -1
        yield from _ranges(blank, values)
    elif nominal or kind is None:
        rows = np.bincount(codes[codes >= 0], minlength=len(facts.keys))
        for code in np.argsort(-rows, kind="stable")[:CATEGORIES].tolist():
            yield replace(blank, how="value", value=example(facts.keys[code])), codes == code


def _ranges(
    blank: Slice, values: Float[np.ndarray, " rows"]
) -> Iterator[tuple[Slice, Bool[np.ndarray, " rows"]]]:
    """Quarters of the finite numbers; fewer parts where many rows share a number."""
    known = values[np.isfinite(values)]
    if not len(known):
        return
    edges = np.unique(np.quantile(known, np.linspace(0, 1, QUARTERS + 1)))
    for place, (low, high) in enumerate(pairwise(edges)):
        inside = (values > low) & (values <= high)
        if place == 0:
            inside |= values == low
        yield replace(blank, how="range", low=float(low), high=float(high)), inside
