"""Tables whose cells are Python lists: what can be opened where there is no pyarrow.

CSV, TSV and JSON Lines, lists of dicts, dicts of lists and of numpy arrays; all in memory. Cells stay as
they are, while `plait.data.table.arrow_tables` gives each column one type; modalities read both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.table.base import Rows, Table
from plait.data.table.csv_rows import read_cells
from plait.data.table.header import delimiter_of, read_header
from plait.data.table.json_lines import json_blocks
from plait.data.table.names import checked_columns, columns_of
from plait.data.table.values import plain
from plait.errors import MissingExtra, TableError, counted

_Columns = dict[str, list[object]]
_Read = tuple[_Columns, Sequence[str]]


@dataclass(frozen=True, eq=False)
class ListTable(Table):
    """A table of lists, in memory."""

    data: _Columns

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.data.values()), []))

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.data)

    def cells(self, column: str, rows: Rows = None) -> list[object]:
        """Cells of one column."""
        self.require([column])
        data = self.data[column]
        if rows is None or isinstance(rows, slice):
            return data[slice(None) if rows is None else rows]
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.rows:
            raise IndexError(f"rows must lie between 0 and {self.rows - 1}")
        return [data[row] for row in rows.tolist()]

    def take(self, rows: np.ndarray) -> "ListTable":
        """A table of these rows, in this order."""
        return replace(self, data={name: self.cells(name, rows) for name in self.data})

    def slice(self, start: int, stop: int) -> "ListTable":
        """The rows from ``start`` up to ``stop``."""
        return replace(self, data={name: cells[start:stop] for name, cells in self.data.items()})

    def select(self, columns: Sequence[str]) -> "ListTable":
        """A table of these columns, not copied."""
        self.require(columns)
        return replace(self, data={name: self.data[name] for name in columns})

    def arrow(self) -> Any:
        """Refused: there is no Arrow."""
        raise _absent("to fit a model", "train")


TABLE = ListTable


def _absent(what: str, extra: str = "tables") -> MissingExtra:
    return MissingExtra(what, extra, "pyarrow")


def _read_delimited(path: Path, folder: Path, key: str) -> _Read:
    head = read_header(path, delimiter_of(path))
    return read_cells(path, head), head.notes


def _read_json_lines(path: Path, folder: Path, key: str) -> _Read:
    rows = [row for block in json_blocks(path, 2**23) for row in block]
    return _from_columns(columns_of(rows, str(path)), str(path))


def _refuse(path: Path, folder: Path, key: str) -> _Read:
    raise _absent(f"to read {path}")


READERS: dict[str, Callable[[Path, Path, str], _Read]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".tab": _read_delimited,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _refuse,
    ".pq": _refuse,
    ".arrow": _refuse,
    ".feather": _refuse,
    ".ipc": _refuse,
}
"""What reads a file, by its ending."""


def read_folders(folder: Path) -> _Read:
    """Refused: a folder of media is a table that is fitted, for which there is pyarrow."""
    raise _absent(f"to read the folder {folder} as a table")


def read_object(source: Any, folder: Path) -> tuple[_Columns, Sequence[str], str]:
    """Anything that is not a path: columns, notes, and what to call it."""
    name = f"this {type(source).__name__}"
    if isinstance(source, list | tuple):
        name = f"this {type(source).__name__} of {counted(len(source))}"
        if not source:
            raise TableError(
                "the list has no rows. A table needs at least one dict: [{'text': 'good'}]"
            )
        return (*_from_columns(columns_of(source, name), name), name)
    if isinstance(source, Mapping) and type(source).__module__.partition(".")[0] != "datasets":
        return (*_from_columns(source, name), name)
    raise _absent(f"to read a {type(source).__module__}.{type(source).__qualname__}")


def _from_columns(columns: Mapping[Any, Any], name: str) -> _Read:
    names, notes = checked_columns(columns, name)
    cells = [[_cell(cell) for cell in cells] for cells in columns.values()]
    return dict(zip(names, cells, strict=True)), notes


def _cell(cell: Any) -> object:
    """A cell without numpy; NaN and blank text are missing."""
    value = plain(cell)
    return None if isinstance(value, str) and not value.strip() else value
