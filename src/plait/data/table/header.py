"""The first row of a CSV or TSV file, and what is said of a file that is not UTF-8."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from plait.data.table.names import check_names
from plait.errors import TableError, counted

SCAN_BYTES = 2**20
"""Bytes looked at at a time."""

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


def delimiter_of(path: Path) -> str | None:
    """A tab where the file's ending says so; None: its first line is to tell."""
    return "\t" if path.suffix.lower() in (".tsv", ".tab") else None


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


def ragged(path: Path, number: int | None, cells: int, columns: int, text: str) -> TableError:
    """The error for a row whose number of cells is not that of the header."""
    excerpt = text if len(text) <= 120 else text[:117] + "..."
    where = "a row" if number is None else f"row {number}"
    return TableError(
        f"{path}: {where} (the first below the names is row 0) has "
        f"{counted(cells, 'cell')} where the header names {counted(columns, 'column')}: {excerpt}\n"
        'Put cells that hold the delimiter in quotes: "a, b".'
    )


def spans_lines(cell: str) -> bool:
    """Whether a cell goes on beyond the line it begins in."""
    return "\n" in cell or "\r" in cell


def unclosed(path: Path, cell: str) -> TableError:
    """The error for a quote that is never closed, which swallows every row after it."""
    start = re.split(r"[\r\n]", cell, maxsplit=1)[0][:60]
    return TableError(
        f"{path}: the last row opens a quote that is never closed, at {start!r}, and takes the "
        'rest of the file for one cell. Close the quote, or write a quote inside a cell as "".'
    )


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
            part = file.read(SCAN_BYTES)
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
