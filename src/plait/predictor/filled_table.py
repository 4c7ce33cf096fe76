"""A table with its missing cells filled, and how it is written: text into the table, media beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from plait.data.modalities import registry
from plait.data.table.answers import write_csv, write_table
from plait.data.table.quarantine import Quarantine
from plait.errors import TableError, counted, error_line

Cells = dict[str, list[Any]]


@dataclass(frozen=True)
class Filled:
    """All columns of a table, its missing input cells filled.

    Attributes:
        columns: name → cells, ``[rows]``; those that were there are as they were.
        filled: input column → which of its cells were filled. A cell stays None where nothing could
            be said, an empty text for instance.
        modalities: input column → modality.
        rates: audio column → the rate of its rebuilt sounds in Hz; video column → frames a second.
        quarantine: cells that were unreadable; they counted as missing and were filled.
        absent: input columns the table lacks; they are filled in every row.
    """

    columns: Cells
    filled: dict[str, Bool[np.ndarray, " rows"]]
    modalities: dict[str, str]
    rates: dict[str, int]
    quarantine: Quarantine
    absent: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, as dicts."""
        names = list(self.columns)
        for cells in zip(*self.columns.values(), strict=True):
            yield dict(zip(names, cells, strict=True))

    def counts(self) -> dict[str, int]:
        """How many cells were filled, by column."""
        return {name: int(which.sum()) for name, which in self.filled.items()}

    def unread(self) -> list[str]:
        """Media columns of which no cell could be read, though two or more hold something."""
        names = [entry.column for entry in self.quarantine.entries]
        return [
            name
            for name, which in self.filled.items()
            if registry.get(self.modalities[name]).media and names.count(name) > 1 and which.all()
        ]

    def notes(self) -> list[str]:
        """What a reader must know."""
        lines = [
            f"the table has no column '{name}'; it was filled in every row" for name in self.absent
        ]
        return lines + [f"unreadable, and filled: {line}" for line in self.quarantine.summary()]


def check_beside(output: Path | str, root: Path | None, media: Sequence[str]) -> Path:
    """The folder for rebuilt media, checked before any work is done; it need not be there yet.

    Args:
        output: the table to write.
        root: the folder that the input's media paths are relative to.
        media: the input columns that hold media.

    Raises:
        TableError: that folder is there already, or lies where paths relative to ``root`` cannot lead.
    """
    folder = Path(output).with_suffix("")
    folder = folder.with_name(f"{folder.name}_media")
    if not media:
        return folder
    if folder.exists():
        raise TableError(
            f"'{folder}' is already there, and rebuilt media would go into it. Delete it, or name "
            "another output."
        )
    if root is not None and not folder.resolve().is_relative_to(root.resolve()):
        raise TableError(
            f"cannot write '{output}': the media paths in its cells are relative to '{root}', so write "
            "it into that folder or one below it."
        )
    return folder


def write_filled(output: Path | str, filled: Filled, folder: Path, root: Path | None) -> None:
    """Write the table, its rebuilt media into ``folder``, and a list of what was filled beside it.

    A media cell becomes the path of its file, relative to ``root`` like the others of its column; a
    signal in a column of lists becomes a list.

    Raises:
        TableError: something cannot be written, or a column holds media as bytes.
        MissingExtra: there are videos to write, and PyAV is not installed.
    """
    columns: Cells = {}
    for name, cells in filled.columns.items():
        which = filled.filled.get(name)
        if which is None or not which.any():
            columns[name] = cells
        elif registry.get(filled.modalities[name]).media:
            columns[name] = _media(name, cells, which, filled, folder, root)
        else:
            columns[name] = _alike(cells, which)
    write_table(output, columns)
    listed = [
        (row, name)
        for name, which in filled.filled.items()
        for row in np.flatnonzero(which).tolist()
    ]
    write_csv(
        Path(output).with_suffix(".filled.csv"),
        {"row": [row for row, _ in listed], "column": [name for _, name in listed]},
    )


def _alike(cells: Sequence[Any], which: np.ndarray) -> list[Any]:
    """Filled cells as text where the others of their column are text, as dates may be."""
    text = any(isinstance(c, str) for c, new in zip(cells, which.tolist(), strict=True) if not new)
    return [
        str(cell) if new and text else cell for cell, new in zip(cells, which.tolist(), strict=True)
    ]


def _media(
    name: str,
    cells: Sequence[Any],
    which: np.ndarray,
    filled: Filled,
    folder: Path,
    root: Path | None,
) -> list[Any]:
    kept = [cell for cell, new in zip(cells, which.tolist(), strict=True) if not new]
    if any(isinstance(cell, bytes | dict) for cell in kept):
        raise TableError(
            f"column '{name}' holds its media as bytes, beside which paths make no table. From Python, "
            "model.impute(...) gives the rebuilt cells as arrays."
        )
    if any(isinstance(cell, list) for cell in kept):
        return [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
    modality = registry.get(filled.modalities[name])
    place = folder / _safe(name, list(filled.modalities))
    written = list(cells)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(which).tolist():
            file = place / f"{row}{modality.file_suffix}"
            modality.write(file, cells[row], filled.rates.get(name, 0))
            written[row] = _relative(file, root or Path(), folder).as_posix()
    except OSError as error:
        raise TableError(f"cannot write into '{place}': {error_line(error)}.") from None
    return written


def _relative(file: Path, root: Path, folder: Path) -> Path:
    """A file's path as its cell tells it."""
    whole, base = file.resolve(), root.resolve()
    return whole.relative_to(base if whole.is_relative_to(base) else folder.parent.resolve())


def _safe(name: str, names: Sequence[str]) -> str:
    """A folder's name for a column's; the column's number keeps two of them apart."""
    plain = re.sub(r"[^\w-]+", "_", name)[:60]
    return plain if plain == name else f"{plain}-{names.index(name)}"


def spoken(counts: Mapping[str, int]) -> str:
    """``2 cells filled: photo 1, price 1``."""
    filled = {name: count for name, count in counts.items() if count}
    total = sum(filled.values())
    each = ", ".join(f"{name} {count}" for name, count in filled.items())
    return f"{counted(total, 'cell')} filled" + (f": {each}" if filled else "")
