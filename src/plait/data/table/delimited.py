"""CSV and TSV, block by block, every column as text: what the text means is for the schema to say."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from plait.data.table.arrow import reason
from plait.data.table.header import ABSENT, Header, not_utf8, ragged, spans_lines, unclosed
from plait.errors import TableError

BLOCK_BYTES = 4 * 2**20
"""Bytes read at a time. A row that is longer makes the block longer, up to `_MAX_ROW_BYTES`."""

_MAX_ROW_BYTES = 2**30  # Arrow counts the bytes of a block in int32


def read_batches(path: Path, header: Header, block: int = BLOCK_BYTES) -> Iterator[pa.RecordBatch]:
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
            # A row longer than the block; only such files pay for larger ones.
            if "straddling" in message and block < _MAX_ROW_BYTES:
                block *= 8
                continue
            raise ragged.error or _explained(path, message, done) from None


def _open(
    path: Path, header: Header, block: int, skip: int, ragged: "_Ragged"
) -> Iterator[pa.RecordBatch]:
    """Batches after the first ``skip`` rows, renamed as the header was."""
    reader = pacsv.open_csv(
        str(path),
        # With threads Arrow does not know the row numbers that the messages name.
        read_options=pacsv.ReadOptions(block_size=block, use_threads=False),
        parse_options=pacsv.ParseOptions(
            delimiter=header.delimiter,
            # Texts hold line breaks; Arrow's default would split them into rows.
            newlines_in_values=True,
            invalid_row_handler=ragged,
            # In a table of one column an empty line is a row whose cell is missing.
            ignore_empty_lines=len(header.raw) > 1,
        ),
        convert_options=pacsv.ConvertOptions(
            # Arrow would guess types from the first block and fail on a later one.
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
        # Arrow counts lines from 1 and the header as one; rows count from 0.
        number = None if row.number is None else row.number - 2
        self.error = ragged(self.path, number, row.actual_columns, row.expected_columns, row.text)
        return "error"


def _check_last_quote(path: Path, last: pa.RecordBatch) -> None:
    """A quote that is never closed swallows every row after it; report it instead of losing them.

    Such a cell runs to the end of the file. Quotes cannot be counted: one inside an unquoted cell
    opens nothing.
    """
    if not last.num_rows:
        return
    cell = str(last.columns[-1][-1].as_py() or "")
    if not spans_lines(cell):
        return
    # As it stands in the file, where quotes inside a cell are doubled.
    written = cell.replace('"', '""').encode()
    with path.open("rb") as file:
        file.seek(-len(written), os.SEEK_END)
        if file.read() == written:
            raise unclosed(path, cell)


def _explained(path: Path, message: str, done: int) -> TableError:
    """What pyarrow found, in plait's words."""
    if "UTF8" in message:
        return not_utf8(path)
    if "straddling" in message:
        return TableError(
            f"{path}: after row {done} comes a row of more than {_MAX_ROW_BYTES // 2**20} MiB. "
            "A quote that is never closed does that; look for one there."
        )
    if "Empty CSV" in message:
        return TableError(f"{path} is empty. A table needs a row of names and rows of cells.")
    message = re.sub(r"Row #(\d+)", lambda match: f"row {int(match[1]) - 2}", message)
    return TableError(f"{path} cannot be read as a table of text: {message}")
