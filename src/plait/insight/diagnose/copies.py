"""Rows that come twice: within a table, and in the table a model learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt64

from plait.insight.diagnose.fingerprints import NOTHING, Prints

NEAR_RATIO = 0.05
"""A row is a near copy when it is so many times nearer to a training row than half of them are to their
own nearest one."""

MIN_DISTINCT_SHARE = 0.95
"""A column tells copies apart only if so many of its training cells are different."""

MAX_ROWS = 5000
"""Rows that are compared with each other by their vectors at most."""


@dataclass(frozen=True)
class Copies:
    """Rows of a table whose content is also elsewhere.

    Attributes:
        rows: which.
        twins: for each, the first row elsewhere that holds the same.
    """

    rows: Int64[np.ndarray, " copies"]
    twins: Int64[np.ndarray, " copies"]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Near:
    """Rows that a model can hardly tell from a training row, nearest first.

    Attributes:
        rows: which.
        twins: the training row each is nearest to.
        distance: between the two.
        usual: the median distance of a training row to the nearest other one.
    """

    rows: Int64[np.ndarray, " near"]
    twins: Int64[np.ndarray, " near"]
    distance: Float[np.ndarray, " near"]
    usual: float


def repeats(hashes: UInt64[np.ndarray, " rows"]) -> Copies:
    """Rows that repeat an earlier row of the same table."""
    _, first, where = np.unique(hashes, return_index=True, return_inverse=True)
    twins = first[where]
    rows = np.flatnonzero((twins != np.arange(len(hashes))) & (hashes != NOTHING))
    return Copies(rows, twins[rows].astype(np.int64))


def shared(hashes: UInt64[np.ndarray, " rows"], others: UInt64[np.ndarray, " others"]) -> Copies:
    """Rows that are in another table, too."""
    values, first = np.unique(others, return_index=True)
    if not len(values):
        return Copies(np.zeros(0, np.int64), np.zeros(0, np.int64))
    place = np.minimum(np.searchsorted(values, hashes), len(values) - 1)
    rows = np.flatnonzero((values[place] == hashes) & (hashes != NOTHING))
    return Copies(rows, first[place[rows]].astype(np.int64))


def telling(column: Prints) -> bool:
    """Whether a column's cells are mostly different, so that the same cell twice means a copy."""
    there = column.hashes[column.hashes != NOTHING]
    return len(there) > 1 and len(np.unique(there)) >= MIN_DISTINCT_SHARE * len(there)


def disagreeing(copies: Copies, own: Sequence[object], others: Sequence[object]) -> list[int]:
    """Places in the copies whose answer is not that of their twin; a missing answer agrees with any."""
    pairs = zip(copies.rows.tolist(), copies.twins.tolist(), strict=True)
    return [
        place
        for place, (row, twin) in enumerate(pairs)
        if own[row] is not None and others[twin] is not None and str(own[row]) != str(others[twin])
    ]


def near(
    vectors: Float[np.ndarray, "rows width"], others: Float[np.ndarray, "others width"]
) -> Near | None:
    """Rows far nearer to a row of the other table than those are to each other; None for too few.

    Euclidean distance after scaling each dimension by its deviation among the others. A distance
    counts as near below ``NEAR_RATIO`` times the median distance of the others to their own nearest
    neighbour, leaving out exact copies among them. Vectors that a model has squeezed together by class
    make neighbours of rows that are only alike: look at them, do not delete them unseen.

    Cost: ``rows · others · width`` products; `MAX_ROWS` of each at most, evenly spaced.
    """
    own, bank = _some(len(vectors)), _some(len(others))
    if len(bank) < 3 or not len(own):
        return None
    scale = others[bank].std(axis=0)
    # A constant dimension tells nothing apart, and would divide by zero.
    alive = scale > 1e-9
    if not alive.any():
        return None
    here, there = (
        (vectors[own][:, alive] / scale[alive]).astype(np.float32),
        (others[bank][:, alive] / scale[alive]).astype(np.float32),
    )
    apart, _ = _nearest(there, there, itself=True)
    # Exact copies among them would pull the median to zero.
    apart = apart[apart > 1e-4 * apart.max(initial=0)]
    if not len(apart):
        return None
    usual = float(np.median(apart))
    distance, twin = _nearest(here, there)
    close = np.flatnonzero(distance <= NEAR_RATIO * usual)
    close = close[np.argsort(distance[close], kind="stable")]
    return Near(own[close], bank[twin[close]], distance[close], usual)


def _some(rows: int) -> Int64[np.ndarray, " some"]:
    if not rows:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, rows - 1, MAX_ROWS).astype(np.int64))


def _nearest(
    here: Float[np.ndarray, "rows width"],
    there: Float[np.ndarray, "others width"],
    itself: bool = False,
) -> tuple[Float[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Distance to, and number of, the nearest other row; ``itself``: both are one table."""
    squares = (there**2).sum(axis=1)
    which = np.zeros(len(here), np.int64)
    for start in range(0, len(here), 1000):
        part = here[start : start + 1000]
        gaps = squares - 2 * part @ there.T
        if itself:
            gaps[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        which[start : start + 1000] = gaps.argmin(axis=1)
    # The difference itself: that of the squares has no digits left for rows that are the same.
    return np.linalg.norm((here - there[which]).astype(np.float64), axis=1), which
