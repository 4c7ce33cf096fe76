"""CSV and TSV, block by block, every column as text: what the text means is for the schema to say."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from plait.errors import TableError
from plait.table.arrow import check_names, reason

BLOCK = 4 * 2**20
"""Bytes read at a time. A row that is longer makes the block longer, up to `_LONGEST`."""

_LONGEST = 2**30
_SCAN = 2**20


ABSENT = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null")
"""How programs write a missing cell into CSV, as pandas reads them; in quotes they are plain text."""


@dataclass(frozen=True)
class Header:
    """The first row of a file.

    Attributes:
        raw: its cells as written.
        names: the columns' names: without blanks around them, none empty, none twice.
        delimiter: the character between cells.
        notes: what was decided about them, in words.
    """

    raw: tuple[str, ...]
    names: tuple[str, ...]
    delimiter: str
    notes: tuple[str, ...]


def read_header(path: Path, delimiter: str | None = None) -> Header:
    """The names in the first row that is not empty.

    Args:
        path: the file.
        delimiter: None looks at the first line: comma, else semicolon, tab or bar.

    Raises:
        TableError: for a file that is empty or not UTF-8.
    """
    csv.field_size_limit(2**27)
    notes = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.read(64 * 1024)
            if not start.strip():
                raise TableError(
                    f"{path} is empty. A table needs a row of names and rows of cells."
                )
            if delimiter is None:
                delimiter = _sniff(start)
                if delimiter != ",":
                    notes.append(f"cells are separated by {delimiter!r}")
            file.seek(0)
            raw = next(row for row in csv.reader(file, delimiter=delimiter) if row)
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except (csv.Error, StopIteration) as error:
        raise TableError(
            f"the first row of {path} is not a row of column names ({error})."
        ) from None
    names, unnamed = check_names(raw, str(path))
    return Header(tuple(raw), tuple(names), delimiter, (*notes, *unnamed))


def _sniff(start: str) -> str:
    """The delimiter of a first line: a comma wherever there is one."""
    line = next(line for line in start.splitlines() if line.strip())
    return next((mark for mark in (",", ";", "\t", "|") if mark in line), ",")


def read_batches(path: Path, header: Header, block: int = BLOCK) -> Iterator[pa.RecordBatch]:
    """The rows of a file as batches of text; empty cells are missing.

    Raises:
        TableError: naming the row that has too few or too many cells, the byte that is not UTF-8, or
            the quote that is never closed.
    """
    done = 0
    ragged = _Ragged(path)
    while True:
        try:
            for batch in _open(path, header, block, done, ragged):
                yield batch
                done += batch.num_rows
            return
        except pa.ArrowInvalid as error:
            message = reason(error)
            if "straddling" in message and block < _LONGEST:
                block *= 8
                continue
            raise ragged.error or _explained(path, message, done) from None


def _open(
    path: Path, header: Header, block: int, skip: int, ragged: "_Ragged"
) -> Iterator[pa.RecordBatch]:
    """Batches after the first ``skip`` rows, renamed as the header was."""
    reader = pacsv.open_csv(
        str(path),
        read_options=pacsv.ReadOptions(block_size=block, use_threads=False),
        parse_options=pacsv.ParseOptions(
            delimiter=header.delimiter,
            newlines_in_values=True,
            invalid_row_handler=ragged,
            # In a table of one column an empty line is a row whose cell is missing.
            ignore_empty_lines=len(header.raw) > 1,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types={name: pa.large_string() for name in header.raw},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,  # "NA" in quotes is the text, so it can be said
            null_values=["", *ABSENT],
        ),
    )
    last = None
    for batch in reader:
        if skip >= batch.num_rows:
            skip -= batch.num_rows
            continue
        last = batch.slice(skip).rename_columns(list(header.names))
        skip = 0
        yield last
    if last is not None:
        _check_last_quote(path, last)


class _Ragged:
    """Stops at the first row whose number of cells is not that of the header, and remembers it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: TableError | None = None

    def __call__(self, row: pacsv.InvalidRow) -> str:
        text = row.text if len(row.text) <= 120 else row.text[:117] + "..."
        where = "a row" if row.number is None else f"row {row.number - 2}"
        self.error = TableError(
            f"{self.path}: {where} (the first below the names is row 0) has {row.actual_columns} "
            f"cells where the header names {row.expected_columns} columns: {text}\n"
            'Put cells that hold the delimiter in quotes: "a, b".'
        )
        return "error"


def _check_last_quote(path: Path, last: pa.RecordBatch) -> None:
    """A quote that is never closed swallows every row after it; say so instead of losing them."""
    if not last.num_rows:
        return
    cells = [str(column[-1].as_py() or "") for column in last.columns]
    if not any("\n" in cell for cell in cells):
        return
    quotes = 0
    with path.open("rb") as file:
        while part := file.read(_SCAN):
            quotes += part.count(b'"')
    if quotes % 2:
        start = next(cell for cell in cells if "\n" in cell).split("\n")[0][:60]
        raise TableError(
            f"{path}: the last row opens a quote that is never closed, at {start!r}, and takes the "
            'rest of the file for one cell. Close the quote, or write a quote inside a cell as "".'
        )


def _explained(path: Path, message: str, done: int) -> TableError:
    """What pyarrow found, in plait's words."""
    if "UTF8" in message:
        return not_utf8(path)
    if "straddling" in message:
        return TableError(
            f"{path}: after row {done} comes a row of more than {_LONGEST // 2**20} MiB. "
            "A quote that is never closed does that; look for one there."
        )
    if "Empty CSV" in message:
        return TableError(f"{path} is empty. A table needs a row of names and rows of cells.")
    message = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 2}", message)
    return TableError(f"{path} cannot be read as a table of text: {message}")


def not_utf8(path: Path) -> TableError:
    """The error for a file in another encoding, with the place of the first wrong byte."""
    with path.open("rb") as file:
        start = file.read(4)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            return TableError(
                f"{path} is UTF-16, and plait reads UTF-8. Save it as UTF-8, for instance with\n"
                f"  iconv -f UTF-16 -t UTF-8 '{path}' > utf8.csv"
            )
        offset, lines, byte = _first_wrong_byte(path)
    named = "GB18030" if _is_chinese(path, offset) else "WINDOWS-1252"
    return TableError(
        f"{path} is not UTF-8: byte {offset} (line {lines + 1}) is 0x{byte:02x}. Save it as UTF-8; it "
        f"looks like {named}:\n  iconv -f {named} -t UTF-8 '{path}' > utf8.csv"
    )


def _is_chinese(path: Path, offset: int) -> bool:
    """Whether the text around a byte reads as GB18030 with Chinese characters in it."""
    with path.open("rb") as file:
        file.seek(offset)
        line = file.read(400).split(b"\n")[0]
    text = line.decode("gb18030", errors="replace")
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in text)
    return chinese >= 2 and "\ufffd" not in text[:-1]


def _first_wrong_byte(path: Path) -> tuple[int, int, int]:
    """Offset of the first byte that is not UTF-8, the line breaks before it, and its value."""
    offset = lines = 0
    held = b""
    with path.open("rb") as file:
        while True:
            part = file.read(_SCAN)
            data = held + part
            try:
                data.decode("utf-8")
                held = b""
                good = len(data)
            except UnicodeDecodeError as error:
                good = error.start
                if not part or len(data) - good > 3:
                    return offset + good, lines + data[:good].count(b"\n"), data[good]
                held = data[good:]
            if not part:
                return offset, lines, 0
            offset += good
            lines += data[:good].count(b"\n")
