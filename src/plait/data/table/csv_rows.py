"""CSV and TSV without Arrow: the same cells, and the same complaints, as
`plait.data.table.delimited`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from plait.data.table.header import ABSENT, Header, not_utf8, ragged, spans_lines, unclosed

_ABSENT = frozenset(("", *ABSENT))


def read_cells(path: Path, header: Header) -> dict[str, list[object]]:
    """Every column's cells as text; empty ones and those of `ABSENT` are None, unless in quotes.

    Raises:
        TableError: naming the row that has too few or too many cells, the byte that is not UTF-8, or
            the quote that is never closed.
    """
    try:
        # Excel writes a byte-order mark; it would become part of the first column's name.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    width = len(header.raw)
    rows = _rows(path, text, header.delimiter, blank=width > 1)
    for first, _ in rows:
        if first:
            break
    table: list[list[str | None]] = []
    for number, (row, whole) in enumerate(rows):
        if len(row) != width:
            raise ragged(path, number, len(row), width, whole)
        table.append(row)
    columns = zip(*table, strict=True) if table else [()] * width
    return {
        name: [None if cell is None or not cell or cell.isspace() else cell for cell in cells]
        for name, cells in zip(header.names, columns, strict=True)
    }


def _rows(
    path: Path, text: str, delimiter: str, *, blank: bool
) -> Iterator[tuple[list[str | None], str]]:
    """Each row's cells, and the row as written.

    A cell that begins with a quote goes on to the next single one, and what follows that, up to the
    delimiter, belongs to it too; a quote elsewhere is a quote.

    Args:
        blank: whether an empty line is no row.
    """
    mark = re.escape(delimiter)
    cell = re.compile(
        # The possessive *+ spares backtracking over a quote that is never closed.
        rf'(?:"(?P<quoted>(?:[^"]|"")*+)"(?P<rest>[^{mark}\r\n]*)|(?P<plain>(?!")[^{mark}\r\n]*))'
        rf"(?P<end>{mark}|\r\n|\r|\n|\Z)"
    )
    place, start, row = 0, 0, list[str | None]()
    while place < len(text) or row:
        match = cell.match(text, place)
        if match is None:
            opened = text[place + 1 :].replace('""', '"')
            if spans_lines(opened):
                raise unclosed(path, opened)
            row.append(opened)  # the last cell of the file, short of its closing quote
            yield row, text[start:].rstrip("\r\n")
            return
        place = match.end()
        plain = match["plain"]
        if plain is None:
            row.append(match["quoted"].replace('""', '"') + match["rest"])
        else:
            row.append(None if plain in _ABSENT else plain)
        if match["end"] == delimiter:
            continue
        whole = text[start : match.start("end")]
        start = place
        if whole or not blank:
            yield row, whole
        row = []
