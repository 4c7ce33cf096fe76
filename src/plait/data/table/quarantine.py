"""Every unreadable cell of a run: its row, its column, the reason."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.data.modalities.base import Problem
from plait.data.table.answers import write_csv
from plait.errors import UnreadableColumnError, counted


@dataclass(frozen=True, order=True)
class Entry:
    """An unreadable cell. ``row`` counts from 0 in the table the user gave."""

    row: int
    column: str
    reason: str


class Quarantine:
    """Collects unreadable cells; they count as missing everywhere else.

    Attributes:
        shortened: column → cells of which only the beginning was read, as long as the model reads.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = set(entries)
        self.shortened: Counter[str] = Counter()

    def add(
        self,
        column: str,
        problems: Iterable[Problem],
        *,
        offset: int = 0,
        rows: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        """Note the problems of some cells of a column; noting one twice changes nothing.

        Args:
            column: the column's name.
            problems: with rows counted within the cells that were prepared.
            offset: the table's row of the first of those cells, where they follow one another.
            rows: or the table's row of each of those cells.
        """
        for problem in problems:
            row = offset + problem.row if rows is None else int(rows[problem.row])
            self._entries.add(Entry(row, column, problem.reason))

    def shorten(self, column: str, count: int) -> None:
        """Note that so many more cells of a column were cut to the model's length."""
        if count:
            self.shortened[column] += count

    def cut(self) -> list[str]:
        """One line for each column with cells that were cut."""
        return [
            f"{column}: {counted(count, 'text is', 'texts are')} longer than the model "
            "reads; the rest of each was left out"
            for column, count in sorted(self.shortened.items())
        ]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[Entry]:
        """Every entry, by row, then by column."""
        return sorted(self._entries)

    def counts(self) -> dict[str, int]:
        """How many cells of each column are unreadable; columns without any are not named."""
        cells = {(entry.column, entry.row) for entry in self._entries}
        return dict(sorted(Counter(column for column, _ in cells).items()))

    def check(self, max_share: float, rows_per_column: Mapping[str, int]) -> None:
        """Stop when more of a column is unreadable than the user allows.

        Args:
            max_share: from 0 to 1, the option ``max_unreadable``.
            rows_per_column: how many cells of each column are not missing.

        Raises:
            UnreadableColumnError: naming every such column, its figures and its first bad cell.
        """
        reasons = []
        for column, count in self.counts().items():
            total = max(rows_per_column.get(column, count), count)
            if count <= max_share * total:
                continue
            first = next(entry for entry in self.entries if entry.column == column)
            reasons.append(
                f"column '{column}': {count} of {total} cells ({count / total:.0%}) are unreadable, "
                f"more than the {max_share:.0%} allowed (max_unreadable). The first: row {first.row}: "
                f"{first.reason}"
            )
        if reasons:
            raise UnreadableColumnError("\n".join(reasons))

    def summary(self) -> list[str]:
        """One line a column: how many cells, and the first of them."""
        lines = []
        entries = self.entries
        for column, count in self.counts().items():
            first = next(entry for entry in entries if entry.column == column)
            cells = counted(count, "unreadable cell", "unreadable cells, the first")
            lines.append(f"{column}: {cells} in row {first.row}: {first.reason}")
        return lines

    def to_csv(self, path: Path | str) -> None:
        """Write ``row,column,reason``, safe to open in a spreadsheet.

        Raises:
            TableError: when the file cannot be written.
        """
        entries = self.entries
        write_csv(
            path,
            {
                "row": [entry.row for entry in entries],
                "column": [entry.column for entry in entries],
                "reason": [entry.reason for entry in entries],
            },
        )
