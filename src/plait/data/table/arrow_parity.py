"""Cells as a table of Arrow columns would give them back, made without Arrow.

Only what is the same either way is carried; for the rest the error says that pyarrow is needed. A test
compares both, cell by cell.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from plait.data.table.values import media, plain, text
from plait.errors import MissingExtra

_LONG = 2**63
_EXACT = 2**53
"""Whole numbers up to here are floats too; beyond, Arrow makes the column text."""

_LISTED = (list, tuple, np.ndarray)


def column_cells(name: str, cells: Sequence[Any] | np.ndarray) -> list[object]:
    """The cells of one column; missing ones, NaN and blank text are None.

    Raises:
        MissingExtra: only pyarrow can say what such cells are.
    """
    if isinstance(cells, np.ndarray) and cells.ndim != 1:
        raise _beyond(name, f"arrays of {cells.ndim} axes")
    if any(isinstance(cell, _LISTED) for cell in cells):
        return _lists(name, cells)
    found = [plain(cell) for cell in cells]
    kinds = {type(cell) for cell in found if cell is not None}
    carry = _KINDS.get(frozenset(kinds))
    if carry is None and kinds <= _SPELT and str in kinds:
        carry = _spelt
    if carry is None and kinds <= {str, bytes, dict} and len(kinds) > 1:
        carry = _media
    carried = None if carry is None else carry(found)
    if carried is None:
        raise _beyond(name, " and ".join(sorted(kind.__name__ for kind in kinds)))
    return carried


def _beyond(name: str, what: str) -> MissingExtra:
    return MissingExtra(
        f"column '{name}', which holds {what} as only Arrow keeps them,", "tables", "pyarrow"
    )


_Cells = list[Any]


def _same(cells: _Cells) -> list[object] | None:
    return cells


def _texts(cells: _Cells) -> list[object] | None:
    return [None if cell is None or not cell or cell.isspace() else cell for cell in cells]


def _whole(cells: _Cells) -> list[object] | None:
    fits = all(cell is None or -_LONG <= cell < _LONG for cell in cells)
    return cells if fits else None


def _numbers(cells: _Cells) -> list[object] | None:
    """Whole numbers among floats are floats."""
    if any(type(cell) is int and abs(cell) > _EXACT for cell in cells):
        return None
    return [None if cell is None else float(cell) for cell in cells]


def _times(cells: _Cells) -> list[object] | None:
    plainly = all(cell is None or (cell.tzinfo is None and cell.fold == 0) for cell in cells)
    return cells if plainly else None


def _spelt(cells: _Cells) -> list[object] | None:
    """Text among other scalars makes all of them text."""
    return _texts([text(cell) for cell in cells])


def _structs(cells: _Cells) -> list[object] | None:
    """Hugging Face media cells: each with the keys that any of them has."""
    keys = {key for cell in cells if cell is not None for key in cell}
    whole: list[Any] = [
        None if cell is None else {key: cell.get(key) for key in keys} for cell in cells
    ]
    return whole if keys and all(_is_media(cell) for cell in whole) else None


def _media(cells: _Cells) -> list[object] | None:
    """Paths, bytes and dicts of both, each as a dict."""
    if not all(not isinstance(cell, Mapping) or _is_media(cell) for cell in cells):
        return None
    return [media(cell) for cell in cells]


def _is_media(cell: Any) -> bool:
    return cell is None or (
        set(cell) <= {"bytes", "path"}
        and isinstance(cell.get("bytes"), bytes | None)
        and isinstance(cell.get("path"), str | None)
    )


_KINDS: dict[frozenset[type], Callable[[_Cells], list[object] | None]] = {
    frozenset(): _same,
    frozenset([str]): _texts,
    frozenset([bytes]): _same,
    frozenset([bool]): _same,
    frozenset([int]): _whole,
    frozenset([float]): _same,
    frozenset([int, float]): _numbers,
    frozenset([datetime.date]): _same,
    frozenset([datetime.datetime]): _times,
    frozenset([dict]): _structs,
}
"""The Python types of a column's cells, and what carries them."""

_SPELT = {str, bool, int, float, datetime.date, datetime.datetime}


def _lists(name: str, cells: Sequence[Any] | np.ndarray) -> list[object]:
    """Lists of numbers as arrays of one type a column, lists of text as lists."""
    found = [None if cell is None else _listed(name, cell) for cell in cells]
    leaves = [leaf for cell in found if cell is not None for leaf in cell]
    types = {cell.dtype for cell in cells if isinstance(cell, np.ndarray)}
    if not types and all(leaf is None or isinstance(leaf, str) for leaf in leaves):
        return list(found)
    kinds = {type(leaf) for leaf in leaves if leaf is not None}
    if not kinds <= {int, float} or (int in kinds and not _fit(leaves, float in kinds)):
        raise _beyond(name, "lists of " + " and ".join(sorted(kind.__name__ for kind in kinds)))
    if types and not all(cell is None or isinstance(cell, np.ndarray) for cell in cells):
        raise _beyond(name, "lists beside arrays")
    if len(types) > 1:
        raise _beyond(name, "arrays of several types")
    kind = types.pop() if types else np.dtype(np.float64 if float in kinds else np.int64)
    return [None if cell is None else _array(cell, kind) for cell in found]


def _listed(name: str, cell: Any) -> list[Any]:
    """The members of one cell; NaN is a missing one."""
    if not isinstance(cell, _LISTED) or (isinstance(cell, np.ndarray) and cell.ndim != 1):
        raise _beyond(name, "lists beside other values, or arrays of several axes")
    return [plain(leaf) for leaf in cell]


def _fit(leaves: list[Any], floats: bool) -> bool:
    limit = _EXACT if floats else _LONG - 1
    return all(not isinstance(leaf, int) or abs(leaf) <= limit for leaf in leaves)


def _array(cell: list[Any], kind: np.dtype) -> np.ndarray:
    if None in cell:
        return np.array([np.nan if leaf is None else leaf for leaf in cell], np.float64)
    return np.array(cell, kind)
