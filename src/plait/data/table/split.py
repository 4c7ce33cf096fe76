"""Rows into training and validation: seeded, balanced by class, whole groups on one side."""

from collections.abc import Sequence

import numpy as np

from plait.errors import TableError, counted

_QUANTILE_BINS = 10  # of numbers: tenths are balanced as classes are
_SWEEPS = 4  # over the groups at most; swaps stop paying sooner


def split(
    target_values: np.ndarray,
    present: np.ndarray,
    *,
    share: float,
    seed: int,
    groups: Sequence[object] | np.ndarray | None = None,
    stratify: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows to validate on. The same arguments give the same rows.

    Rows whose target is missing are on neither side: they can neither teach nor test. The caller tells
    how many they are.

    Args:
        target_values: of every row: class numbers ``[rows]``, 0/1 labels ``[rows, classes]``, or
            numbers ``[rows]``, which are balanced by tenths.
        present: ``[rows]``, True where there is a target.
        share: of the rows that goes to validation, between 0 and 1.
        seed: of the generator.
        groups: of every row; rows of one group stay together. A missing group (None, NaN) is a
            group of its own.
        stratify: keep the share of each class the same on both sides, as near as whole rows or whole
            groups allow; a class with two rows or more is then on both sides where possible.

    Returns:
        The rows to train on and the rows to validate on, both sorted, int64.

    Raises:
        TableError: when fewer than four rows have a target, or all of them are in one group.
    """
    rows = np.flatnonzero(np.asarray(present, dtype=bool)).astype(np.int64)
    if len(rows) < 4:
        raise TableError(
            f"{counted(len(rows), 'row has', 'rows have')} a target, and a split into training and "
            "validation needs at least 4, two for each side. Add rows, or check that the target "
            "column is filled in."
        )
    values = np.asarray(target_values)[rows]
    strata = _strata(values) if stratify else np.zeros(len(rows), dtype=np.int64)
    generator = np.random.default_rng(seed)
    if groups is None:
        chosen = _choose_rows(strata, share, generator)
    else:
        owner = _group_numbers([groups[row] for row in rows.tolist()])
        if owner.max() == 0:
            raise TableError(
                f"all {len(rows)} rows with a target are in one group, "
                f"{groups[int(rows[0])]!r}, and a group stays on one side of the split. "
                "Choose a group column with several values, or none."
            )
        chosen = _choose_groups(strata, owner, share, generator)
    return rows[~chosen], rows[chosen]


def _strata(values: np.ndarray) -> np.ndarray:
    """The stratum of each row: its class, its rarest label, or its tenth of the numbers."""
    if values.ndim == 2:
        counts = values.sum(axis=0)
        rarity = np.where(values > 0, counts[None, :], np.inf)
        rarest = rarity.argmin(axis=1)
        # Rows without any label are a stratum of their own.
        keys = np.where(np.isfinite(rarity.min(axis=1)), rarest, values.shape[1])
    elif np.issubdtype(values.dtype, np.floating):
        edges = np.quantile(
            # At least four rows per bin, or bins would be too small for both sides.
            values,
            np.linspace(0, 1, min(_QUANTILE_BINS, max(1, len(values) // 4)) + 1)[1:-1],
        )
        keys = np.searchsorted(np.unique(edges), values, side="right")
    else:
        keys = values
    return np.unique(keys, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _quotas(sizes: np.ndarray, share: float) -> np.ndarray:
    """How many rows of each stratum to validate on: the share, rounded so that the sum fits.

    Both sides get at least two rows, and at least one of each stratum that has two, unless so many
    strata are that small that the validation side would grow past its share.
    """
    total = int(sizes.sum())
    wanted = min(max(round(share * total), 2), total - 2)
    exact = sizes * (wanted / total)
    low = (sizes >= 2).astype(np.int64)
    # More small strata than places: no stratum can be promised one.
    if low.sum() > wanted:
        low = np.zeros_like(low)
    high = np.maximum(sizes - 1, 0)
    quotas = np.clip(np.floor(exact).astype(np.int64), low, high)
    while quotas.sum() != wanted:
        short = quotas.sum() < wanted
        able = quotas < high if short else quotas > low
        if not able.any():
            break
        gap = np.where(able, exact - quotas if short else quotas - exact, -np.inf)
        quotas[int(gap.argmax())] += 1 if short else -1
    if quotas.sum() < 2:  # hardly a stratum has two rows: take those that have one
        spare = np.flatnonzero(quotas < sizes)
        spare = spare[np.argsort(sizes[spare], kind="stable")]
        quotas[spare[: 2 - int(quotas.sum())]] += 1
    return quotas


def _choose_rows(strata: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A mask over rows: a random part of each stratum."""
    sizes = np.bincount(strata)
    quotas = _quotas(sizes, share)
    # One shuffle, then a stable sort: rows of a stratum lie together in random order.
    order = generator.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.arange(len(strata)) - np.repeat(starts, sizes)
    chosen = np.zeros(len(strata), dtype=bool)
    chosen[order[place < np.repeat(quotas, sizes)]] = True
    return chosen


def _group_numbers(groups: list[object]) -> np.ndarray:
    """Groups numbered in the order they appear; each missing one gets a number of its own."""
    numbers: dict[object, int] = {}
    out = np.empty(len(groups), dtype=np.int64)
    for position, group in enumerate(groups):
        missing = group is None or group != group or (isinstance(group, str) and not group.strip())
        key: object = ("missing", position) if missing else ("group", group)
        out[position] = numbers.setdefault(key, len(numbers))
    return out


def _choose_groups(
    strata: np.ndarray, owner: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """A mask over rows: whole groups, added and taken back while the sides come closer to the share.

    The distance is the sum over strata of (validation rows - share of rows)^2 / rows, plus the same of
    all rows together.
    """
    count = int(owner.max()) + 1
    classes = int(strata.max()) + 1
    table = np.zeros((count, classes + 1))
    np.add.at(table, (owner, strata), 1.0)
    table[:, -1] = table.sum(axis=1)  # the whole, as one more stratum
    sizes = table.sum(axis=0)
    gap = -share * sizes  # validation rows minus wanted rows
    chosen = np.zeros(count, dtype=bool)
    order = generator.permutation(count)
    # Large groups first: the small ones then fill what is left.
    order = order[np.argsort(-table[order, -1], kind="stable")]
    for _ in range(_SWEEPS):
        moved = False
        for group in order.tolist():
            step = -table[group] if chosen[group] else table[group]
            # (gap + step)² - gap² is (2 gap + step) step; the margin ends swaps that are rounding.
            if float(((2 * gap + step) * step / sizes).sum()) < -1e-12:
                gap += step
                chosen[group] = ~chosen[group]
                moved = True
        if not moved:
            break
    if not chosen.any():  # every group is too large: the smallest comes closest
        chosen[order[-1]] = True
    if chosen.all():
        chosen[order[-1]] = False
    mask: np.ndarray = chosen[owner]
    return mask
