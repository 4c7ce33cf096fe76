"""Write columns to CSV, JSON Lines or Parquet, whole or not at all."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from plait.data.table.values import plain
from plait.errors import MissingExtra, TableError, error_line
from plait.sealed import whole_file

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CHUNK_ROWS = 4096

Columns = Mapping[str, Sequence[Any] | np.ndarray]


def safe_text(text: str) -> str:
    """Text that a spreadsheet shows instead of running: what begins like a formula gets an apostrophe.

    A number such as -1.5 is left alone.
    """
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def check_output(path: Path | str, source: Path | str) -> None:
    """Refuse, before any work is done, an output that could not be written or would replace its input.

    Raises:
        TableError: for an unknown ending, a folder, or the very file that is being read.
    """
    output, given = Path(path), Path(source)
    if output.suffix.lower() not in WRITERS:
        raise TableError(f"cannot write '{path}': end its name in {', '.join(WRITERS)}.")
    if output.is_dir():
        raise TableError(f"cannot write '{path}': it is a folder.")
    if output.exists() and given.exists() and output.samefile(given):
        raise TableError(
            f"'{path}' is the table that is being answered; writing there would replace it. "
            "Name another file."
        )


def write_table(path: Path | str, columns: Columns) -> None:
    """Write columns in the format that the path's ending names: .csv, .tsv, .jsonl or .parquet.

    Raises:
        TableError: for another ending, for columns of different lengths, and when the file cannot be
            written; a file that was there before is then untouched.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise TableError(f"cannot write '{path}': end its name in {', '.join(WRITERS)}.")
    WRITERS[suffix](path, columns)


def write_csv(path: Path | str, columns: Columns, delimiter: str = ",") -> None:
    """Write columns as CSV, in UTF-8, with `safe_text` over every name and text cell.

    Missing cells are empty, lists are joined by semicolons, numbers are written in full.

    Raises:
        TableError: for columns of different lengths, and when the file cannot be written.
    """
    rows = _check(path, columns)
    with _whole(path) as binary, _text(binary) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow([safe_text(str(name)) for name in columns])
        for start in range(0, rows, _CHUNK_ROWS):
            parts = [map(_csv_cell, part) for part in _slices(columns, start)]
            writer.writerows(zip(*parts, strict=True))


def write_tsv(path: Path | str, columns: Columns) -> None:
    """The same with tabs between cells."""
    write_csv(path, columns, delimiter="\t")


def write_json_lines(path: Path | str, columns: Columns) -> None:
    """Write columns as JSON Lines; text is not escaped, for no reader runs it.

    Raises:
        TableError: for columns of different lengths, and when the file cannot be written.
    """
    rows = _check(path, columns)
    names = list(columns)
    with _whole(path) as binary, _text(binary) as file:
        for start in range(0, rows, _CHUNK_ROWS):
            for cells in zip(*_slices(columns, start), strict=True):
                row = dict(zip(names, map(_json_cell, cells), strict=True))
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def write_parquet(path: Path | str, columns: Columns) -> None:
    """Write columns as Parquet.

    Raises:
        TableError: for columns of different lengths, for cells no table can carry, and when the file
            cannot be written.
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra(f"writing '{path}'", "tables", "pyarrow") from None

    from plait.data.table.objects import column_array

    _check(path, columns)
    arrays = [column_array(name, list(map(plain, cells))) for name, cells in columns.items()]
    with _whole(path) as binary:
        pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), binary)


WRITERS: dict[str, Callable[[Path | str, Columns], None]] = {
    ".csv": write_csv,
    ".tsv": write_tsv,
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
    ".parquet": write_parquet,
}
"""What writes a file, by its ending."""


def _check(path: Path | str, columns: Columns) -> int:
    """The number of rows, the same in every column."""
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"'{name}' {count}" for name, count in lengths.items())
        raise TableError(f"cannot write '{path}': its columns differ in length: {listed}.")
    return next(iter(lengths.values()), 0)


def _slices(columns: Columns, start: int) -> list[list[Any]]:
    """Some rows of every column, as plain Python values."""
    return [
        [plain(cell) for cell in cells[start : start + _CHUNK_ROWS]] for cells in columns.values()
    ]


def _csv_cell(cell: Any) -> str:
    """One cell as text."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool | int | float):
        return str(cell)
    if isinstance(cell, list | tuple):
        return safe_text(";".join(str(part) for part in cell))
    return safe_text(str(cell))


def _json_cell(cell: Any) -> Any:
    """NaN and infinity, which JSON lacks, as null and text."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return None if math.isnan(cell) else str(cell)
    return cell


@contextmanager
def _text(binary: IO[bytes]) -> Iterator[IO[str]]:
    """A binary file as a text file that leaves it open."""
    wrapper = io.TextIOWrapper(binary, encoding="utf-8", errors="replace", newline="")
    try:
        yield wrapper
        wrapper.flush()
    finally:
        with suppress(OSError, ValueError):
            wrapper.detach()


@contextmanager
def _whole(path: Path | str) -> Iterator[IO[bytes]]:
    """`whole_file`, whose errors name the table."""
    try:
        with whole_file(Path(path)) as file:
            yield file
    except OSError as error:
        raise TableError(f"cannot write '{path}': {error_line(error)}.") from None
