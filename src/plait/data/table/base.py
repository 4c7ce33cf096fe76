"""What a table is to the rest of plait: named columns of Python cells, some or all rows at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from plait.errors import TableError, suggest

Rows = np.ndarray | slice | None
"""Which rows: numbers in any order, a mask, a slice, or None for all."""


@dataclass(frozen=True, eq=False)
class Table(ABC):
    """Rows and named columns, in memory or mapped from disk.

    Attributes:
        data: the cells: Arrow columns, or lists by name where there is no Arrow.
        root: the folder that paths in cells are relative to. None: the working folder, for tables that
            were never a file; see `plait.data.media.Media`.
        named_root: True when the user named that folder, so that cells may lie anywhere in it.
        name: what to call the table in messages.
        notes: what was decided while opening it, in words.
    """

    data: Any
    root: Path | None
    named_root: bool
    name: str
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many rows there are."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The names of the columns, in order."""

    @abstractmethod
    def cells(self, column: str, rows: Rows = None) -> list[object]:
        """Cells of one column as Python values, missing ones (also NaN and blank text) as None.

        Args:
            column: its name.
            rows: which; any order, repeats allowed. None: all.

        Raises:
            TableError: when there is no such column.
            IndexError: when a row lies outside the table.
        """

    @abstractmethod
    def take(self, rows: np.ndarray) -> "Table":
        """A table of these rows, in this order, copied into memory."""

    @abstractmethod
    def slice(self, start: int, stop: int) -> "Table":
        """The rows from ``start`` up to ``stop``, not copied."""

    @abstractmethod
    def select(self, columns: Sequence[str]) -> "Table":
        """A table of these columns, not copied."""

    @abstractmethod
    def arrow(self) -> Any:
        """The cells as a pyarrow Table, whose types a fit looks at.

        Raises:
            MissingExtra: pyarrow is not installed.
        """

    def chunks(self, column: str, rows: Rows = None, size: int = 2048) -> Iterator[list[object]]:
        """The same cells as `cells`, ``size`` at a time, so that memory stays flat."""
        if rows is None:
            rows = slice(None)
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.rows))
        elif rows.dtype == bool:
            rows = np.flatnonzero(rows)
        for start in range(0, len(rows), size):
            yield self.cells(column, _run(rows[start : start + size]))

    def require(self, columns: Iterable[str]) -> None:
        """Check that columns exist.

        Raises:
            TableError: naming all that do not, with suggestions.
        """
        absent = [column for column in columns if column not in self._names]
        if absent:
            missing = "".join(
                f"no column '{name}'.{suggest(name, self.columns)} " for name in absent
            )
            raise TableError(f"{self.name} has {missing}Its columns: {', '.join(self.columns)}.")

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.columns)


def _run(rows: np.ndarray) -> Rows:
    """A run of consecutive rows as a slice, which is read without an index."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
