"""A few rows given as dicts, straight to cells, without an Arrow table between.

Making a table costs more than answering one row. What would come out of it is known without it where a
column's cells are of one plain type, and only such rows are taken here; all others go through
`plait.data.table`, so an answer never hangs on the way.
"""

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from plait.data.modalities.base import is_missing

MAX_ROWS = 16
"""Rows from which on a table is made: it costs the same for many, and then it is the quicker way."""

_INT64_END = 2**63  # Arrow has no larger whole numbers


def plain_columns(source: Any, names: Iterable[str]) -> dict[str, list[object]] | None:
    """The cells of the named columns, those of columns that no row has left out.

    Args:
        source: what a user gave.
        names: the columns a model reads.

    Returns:
        None where only a table can tell what the cells are, or that they are wrong.
    """
    if not isinstance(source, list | tuple) or not 0 < len(source) <= MAX_ROWS:
        return None
    for row in source:
        if type(row) is not dict or not all(type(key) is str and key == key.strip() for key in row):
            return None
    columns = {}
    for name in names:
        if any(name in row for row in source):
            cells = _plain([row.get(name) for row in source])
            if cells is None:
                return None
            columns[name] = cells
    return columns or None


def _plain(cells: list[Any]) -> list[object] | None:
    """Cells as a table would give them back; None where it might change them."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) > 1:
        return None
    check = _KINDS.get(kinds.pop()) if kinds else _always
    if check is None or not all(cell is None or check(cell) for cell in cells):
        return None
    return [None if is_missing(cell) else cell for cell in cells]


def _always(cell: Any) -> bool:
    return True


def _is_whole_text(cell: str) -> bool:
    """Text that UTF-8 can hold."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_media(cell: Mapping[Any, Any]) -> bool:
    """A Hugging Face media cell: bytes, a path, or both."""
    held, path = cell.get("bytes"), cell.get("path")
    plain = isinstance(held, bytes | None) and (
        path is None or (type(path) is str and _is_whole_text(path))
    )
    return plain and bool(cell) and cell.keys() <= {"bytes", "path"}


_KINDS: dict[type, Callable[[Any], bool]] = {
    str: _is_whole_text,
    bytes: _always,
    bool: _always,
    float: _always,
    int: lambda cell: -_INT64_END <= cell < _INT64_END,
    dict: _is_media,
    datetime.date: _always,
    datetime.datetime: lambda cell: cell.tzinfo is None and cell.fold == 0,
}
"""Python types that a table carries unchanged, and which of their values."""
