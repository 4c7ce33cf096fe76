"""Prepared columns made worse by degrees, as broken sensors and careless people make them."""

from collections.abc import Callable

import numpy as np

from plait.data.modalities import registry
from plait.data.store import PreparedColumn

Cell = np.ndarray
Worsen = Callable[[Cell, float, float, np.random.Generator], Cell]
"""A cell, the level, the column's deviation, a generator → the cell, worse; no steps: missing."""

MISSING, SWAP = "missing", "swap"


def _noise(cell: Cell, level: float, deviation: float, generator: np.random.Generator) -> Cell:
    """Gaussian noise, at level 1 with the column's own deviation."""
    noisy = cell.astype(np.float32) + level * deviation * generator.normal(size=cell.shape)
    if cell.dtype == np.uint8:
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return noisy.astype(cell.dtype)


def _blur(cell: Cell, level: float, deviation: float, generator: np.random.Generator) -> Cell:
    """A Gaussian blur, at level 1 an eighth of the image wide."""
    from scipy.ndimage import gaussian_filter

    width = level * max(cell.shape[:2]) / 8
    blurred = gaussian_filter(cell.astype(np.float32), (width, width, 0))
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)


def _crop(cell: Cell, level: float, deviation: float, generator: np.random.Generator) -> Cell:
    """The middle ``1 - level`` of either side, one pixel at least, enlarged to the old size."""
    places = []
    for size in cell.shape[:2]:
        kept = max(1, round((1 - level) * size))
        places.append((size - kept) // 2 + np.arange(size) * kept // size)
    return cell[np.ix_(*places)]


def _cut(cell: Cell, level: float, deviation: float, generator: np.random.Generator) -> Cell:
    """A run of ``1 - level`` of the steps, from anywhere."""
    kept = round((1 - level) * len(cell))
    start = int(generator.integers(len(cell) - kept + 1))
    return cell[start : start + kept]


def _drop(cell: Cell, level: float, deviation: float, generator: np.random.Generator) -> Cell:
    """Each step (a subword, a token) left out with chance ``level``."""
    return cell[generator.random(len(cell)) >= level]


FLAT: dict[str, dict[str, Worsen]] = {
    "image": {"noise": _noise, "blur": _blur, "crop": _crop},
    "numeric": {"noise": _noise},
}
"""Modality → its degradations, where cells have one shape."""

RAGGED: dict[str, dict[str, Worsen]] = {
    "audio": {"noise": _noise, "cut": _cut},
    "signal": {"noise": _noise, "cut": _cut},
    "text": {"drop": _drop},
}
"""The same where cells differ in length."""


def degradations(modality: str, column: PreparedColumn) -> list[str]:
    """What can be done to a column; ``missing`` to any."""
    swap = [] if registry.get(modality).perturbable else [SWAP]
    return [*_known(modality, column), *swap, MISSING]


def degrade(
    column: PreparedColumn, modality: str, how: str, level: float, *, seed: int = 0
) -> PreparedColumn:
    """A prepared column, made worse.

    ``missing``: each cell is gone with chance ``level``. ``swap``: each cell is another row's with that
    chance (modalities that are not ``perturbable``). The rest as the functions above say; steps of a
    frozen encoder's tokens are dropped.

    Args:
        how: one of `degradations`.
        level: 0 leaves the column as it is; 1 is the worst.
    """
    generator = np.random.default_rng([seed, round(1000 * level)])
    rows = len(column)
    cells = [_cell(column, row) for row in range(rows)]
    if how == SWAP:
        others, which = generator.permutation(rows), generator.random(rows) < level
        cells = [cells[others[row]] if which[row] else cells[row] for row in range(rows)]
    elif how == MISSING:
        gone = generator.random(rows) < level
        cells = [None if gone[row] else cell for row, cell in enumerate(cells)]
    elif level:
        worsen = _known(modality, column)[how]
        numbers = column.values[:100_000].astype(np.float32)
        deviation = float(numbers.std()) if how == "noise" and numbers.size else 0.0
        cells = [
            None if cell is None else worsen(cell, level, deviation, generator) for cell in cells
        ]
    return _column(cells, column)


def _known(modality: str, column: PreparedColumn) -> dict[str, Worsen]:
    if column.offsets is None:
        return FLAT.get(modality, {})
    known = RAGGED.get(modality, {"drop": _drop})
    # A text or image column of numbers holds a frozen encoder's tokens, which can be dropped.
    return known


def _cell(column: PreparedColumn, row: int) -> Cell | None:
    place = row if column.index is None else int(column.index[row])
    if not column.present[place]:
        return None
    if column.offsets is None:
        return np.asarray(column.values[place])
    return np.asarray(column.values[column.offsets[place] : column.offsets[place + 1]])


def _column(cells: list[Cell | None], like: PreparedColumn) -> PreparedColumn:
    """A column of these cells; a cell without steps is missing."""
    present = np.array([cell is not None and cell.shape[:1] != (0,) for cell in cells], dtype=bool)
    inner = like.values.shape[1:]
    if like.offsets is None:
        values = np.zeros((len(cells), *inner), like.values.dtype)
        for row, cell in enumerate(cells):
            if cell is not None:
                values[row] = cell
        return PreparedColumn(values, None, present)
    lengths = [0 if cell is None else len(cell) for cell in cells]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    parts = [cell for cell in cells if cell is not None]
    empty = np.zeros((0, *inner), like.values.dtype)
    return PreparedColumn(np.concatenate([empty, *parts]), offsets, present)
