"""What every cell holds, as a short hash of its content and a number to draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64

from plait.data.modalities import registry
from plait.data.modalities.base import Settings, State, is_missing
from plait.data.modalities.datetime import EPOCH
from plait.data.modalities.signal import is_inline
from plait.data.table.source import Table
from plait.data.targets.cells import as_number
from plait.errors import CellError

BUDGET_BYTES = 2 * 2**30
"""Bytes of media read at most for one table."""

MAX_CELL_BYTES = 256 * 2**20
"""A media cell of more bytes is not read."""

NOTHING = 0
"""The hash of a missing cell, and of one that cannot be read."""

VALUE, TIME, LENGTH, SIZE = "value", "time", "length", "size"


@dataclass(frozen=True)
class Prints:
    """One column, read once.

    Attributes:
        hashes: of each cell's content, `NOTHING` where it is missing or cannot be read. Media are hashed
            by the bytes of the file, texts without the space around them, numbers by value.
        size: a number that says something of each cell, NaN where there is none.
        what: which: the ``value`` of a number, the ``time`` in seconds since 1970, the ``length`` of a
            text in characters or of a signal in entries, the ``size`` of a file in bytes; None for
            categories.
        missing: how many cells are missing.
        unread: how many could not be read, or were left out since the table is too large.
    """

    hashes: UInt64[np.ndarray, " rows"]
    size: Float[np.ndarray, " rows"]
    what: str | None
    missing: int
    unread: int


def prints(
    table: Table, column: str, kind: str | None, settings: Settings, state: State | None = None
) -> Prints:
    """Read a column; see `Prints`.

    Args:
        kind: the modality it is read as; None for a column that is no input, whose numbers are drawn
            where every cell is one.
        state: of a date column, whose order of day and month it knows.

    Cost: media are read, not decoded: some 10,000 small files a second.
    """
    if kind is not None and registry.get(kind).media:
        return _files(table, column, settings)
    modality = None if kind is None else registry.get(kind)
    what = VALUE if modality is None else modality.measure
    hashes, sizes, missing, unread = [], [], 0, 0
    for cells in table.chunks(column):
        for cell in cells:
            hashed, size = NOTHING, float("nan")
            if is_missing(cell):
                missing += 1
            else:
                try:
                    value = modality.compared(cell, state or {}, settings) if modality else cell
                    hashed, size = _plain(value)
                except CellError:
                    unread += 1
                if kind is None:
                    number = as_number(cell)
                    size = float("nan") if number is None else number
            hashes.append(hashed)
            sizes.append(size)
    numbers = np.array(sizes, np.float64)
    all_numbers = np.isfinite(numbers).sum() == len(numbers) - missing
    if what is None or (kind is None and not all_numbers):
        what, numbers = None, np.full(len(numbers), np.nan)
    return Prints(np.array(hashes, np.uint64), numbers, what, missing, unread)


def _plain(value: Any) -> tuple[int, float]:
    """Hash and size of a value that is no file."""
    if value is None:  # a word for a missing one, such as NA
        return NOTHING, float("nan")
    if isinstance(value, str):
        return _hash(b"t" + value.encode("utf-8", "replace")), float(len(value))
    if isinstance(value, int | float):
        # 1, 1.0 and True are one number, whatever type a reader gave them.
        return _hash(b"n" + repr(float(value)).encode()), float(value)
    if hasattr(value, "timestamp"):
        seconds = (value.replace(tzinfo=None) - EPOCH).total_seconds()
        return _hash(b"d" + repr(seconds).encode()), seconds
    return _hash(b"v" + repr(value).encode("utf-8", "replace")), float("nan")


def _files(table: Table, column: str, settings: Settings) -> Prints:
    """A column of media: each path is read once."""
    known: dict[str, tuple[int, float]] = {}
    hashes, sizes, missing, unread, spent = [], [], 0, 0, 0.0
    for cells in table.chunks(column):
        for cell in cells:
            hashed, size = NOTHING, float("nan")
            path = str(cell) if isinstance(cell, str | Path) else None
            if is_missing(cell):
                missing += 1
            elif path is not None and path in known:
                hashed, size = known[path]
                unread += hashed == NOTHING
            else:
                # Then left unread and counted so: the page says what it has not looked at.
                if spent < BUDGET_BYTES:
                    hashed, size = _content(cell, settings)
                if path is not None:
                    known[path] = hashed, size
                unread += hashed == NOTHING
                spent += size if size == size else 0.0
            hashes.append(hashed)
            sizes.append(size)
    return Prints(np.array(hashes, np.uint64), np.array(sizes), SIZE, missing, unread)


def _content(cell: object, settings: Settings) -> tuple[int, float]:
    """Hash and size of a media cell; of a signal that lies in the table, its entries."""
    if isinstance(cell, list | tuple | np.ndarray):
        return _hash(b"a" + repr(np.asarray(cell).tolist()).encode()), float(len(cell))
    try:
        data = settings.media.read(cell, MAX_CELL_BYTES)
    except CellError:
        if isinstance(cell, str) and is_inline(cell):  # a signal written out in the cell
            return _hash(b"a" + cell.strip().encode("utf-8", "replace")), float("nan")
        return NOTHING, float("nan")
    return _hash(b"f" + data), float(len(data))


def _hash(content: bytes) -> int:
    # 0 is `NOTHING`, which no content may have.
    return int.from_bytes(blake2b(content, digest_size=8).digest()) or 1


def row_hashes(columns: Mapping[str, Prints]) -> UInt64[np.ndarray, " rows"]:
    """One hash a row of all its cells, in the order of the columns; `NOTHING` for a row without any."""
    hashes = np.stack([column.hashes for column in columns.values()], axis=1)
    whole = [_hash(row.tobytes()) for row in np.ascontiguousarray(hashes)]
    return np.where((hashes == NOTHING).all(axis=1), np.uint64(NOTHING), np.array(whole, np.uint64))
