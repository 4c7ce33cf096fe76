"""Tables whose cells are Arrow columns: how all kinds of sources are opened where there is pyarrow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from plait.data.table import arrow, build, delimited, files, header, objects, spill
from plait.data.table.base import Rows, Table
from plait.data.table.names import check_names
from plait.errors import TableError, counted


@dataclass(frozen=True, eq=False)
class ArrowTable(Table):
    """A table of Arrow columns, in memory or mapped from disk."""

    data: pa.Table

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.data.num_rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.data.column_names)

    def cells(self, column: str, rows: Rows = None) -> list[object]:
        """Cells of one column; any rows are read chunk by chunk, so that nothing is concatenated."""
        self.require([column])
        data = self.data.column(column)
        if rows is None or isinstance(rows, slice):
            start, stop, step = (rows or slice(None)).indices(self.rows)
            if step == 1:
                chunks = data.slice(start, max(0, stop - start)).chunks
                return [cell for chunk in chunks for cell in arrow.python_cells(chunk)]
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return arrow.gather(data, self._starts(column), rows)

    def take(self, rows: np.ndarray) -> "ArrowTable":
        """A table of these rows, in this order, copied into memory."""
        return replace(self, data=self.data.take(build.indices(np.asarray(rows))))

    def slice(self, start: int, stop: int) -> "ArrowTable":
        """The rows from ``start`` up to ``stop``, not copied."""
        start, stop, _ = slice(start, stop).indices(self.rows)
        return replace(self, data=self.data.slice(start, max(0, stop - start)))

    def select(self, columns: Sequence[str]) -> "ArrowTable":
        """A table of these columns, not copied."""
        self.require(columns)
        return replace(self, data=self.data.select(list(columns)))

    def arrow(self) -> pa.Table:
        """The cells as they are."""
        return self.data

    @cached_property
    def _layout(self) -> dict[str, np.ndarray]:
        return {}

    def _starts(self, column: str) -> np.ndarray:
        """Where the chunks of a column start, worked out once."""
        if column not in self._layout:
            self._layout[column] = arrow.offsets(self.data.column(column))
        return self._layout[column]


TABLE = ArrowTable

_Read = tuple[pa.Table, Sequence[str]]


def _read_delimited(path: Path, folder: Path, key: str) -> _Read:
    """CSV or TSV, from the cache where a large file was read before."""
    head = header.read_header(path, header.delimiter_of(path))
    known = spill.cached(folder, key)
    if known is None:
        schema = pa.schema([(name, pa.large_string()) for name in head.names])
        batches = delimited.read_batches(path, head)
        known = spill.collect(batches, schema, folder=folder, key=key)
    return known, head.notes


def _read_json_lines(path: Path, folder: Path, key: str) -> _Read:
    """JSON Lines, from the cache where a large file was read before."""
    known = spill.cached(folder, key)
    return (known, []) if known is not None else objects.read_json_lines(path, folder, key)


READERS: dict[str, Callable[[Path, Path, str], _Read]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".tab": _read_delimited,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": files.read_parquet,
    ".pq": files.read_parquet,
    ".arrow": files.read_arrow,
    ".feather": files.read_arrow,
    ".ipc": files.read_arrow,
}
"""What reads a file, by its ending."""


def read_object(source: Any, folder: Path) -> tuple[pa.Table, Sequence[str], str]:
    """Anything that is not a path."""
    name = f"this {type(source).__name__}"
    if type(source).__module__.partition(".")[0] == "datasets":
        return (*_read_hugging_face(source, name, folder), name)
    if objects.is_pandas(source):
        data, notes = objects.from_pandas(source, name)
    elif isinstance(source, pa.Table):
        data, notes = source, []
    elif isinstance(source, pa.RecordBatch):
        data, notes = pa.Table.from_batches([source]), []
    elif hasattr(source, "__arrow_c_stream__"):
        data, notes = _read_stream(source, name, folder), []
    elif isinstance(source, Mapping):
        return (*objects.from_columns(source, name), name)
    elif isinstance(source, list | tuple):
        name = f"this {type(source).__name__} of {counted(len(source))}"
        if not source:
            raise TableError(
                "the list has no rows. A table needs at least one dict: [{'text': 'good'}]"
            )
        return (*objects.from_rows(source, name), name)
    else:
        hint = " Call .collect() first." if hasattr(source, "collect") else ""
        raise TableError(
            f"cannot open {type(source).__module__}.{type(source).__qualname__} as a table.{hint} Give "
            "a path, a pandas or polars frame, a pyarrow Table, a list of dicts, a dict of lists, a "
            "Hugging Face dataset, or an object with __arrow_c_stream__."
        )
    return (*_checked(data, list(notes), name), name)


def _checked(data: pa.Table, notes: list[str], name: str) -> tuple[pa.Table, list[str]]:
    """An Arrow table with its types and names checked, in plain types."""
    arrow.check_types(data.schema, name)
    names, unnamed = check_names(data.column_names, name)
    return arrow.plain_table(data.rename_columns(names)), notes + unnamed


def _read_stream(source: Any, name: str, folder: Path) -> pa.Table:
    """An Arrow stream; what has no length may be endless, so it goes to disk when it grows."""
    try:
        reader = pa.RecordBatchReader.from_stream(source)
        arrow.check_types(reader.schema, name)
        if hasattr(source, "__len__"):
            return reader.read_all()
        return _spilled(iter(reader), reader.schema, folder)
    except pa.ArrowException as error:
        raise TableError(
            f"{name} cannot be read as an Arrow stream: {arrow.reason(error)}."
        ) from None


def _spilled(batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: Path) -> pa.Table:
    """Batches in plain types, on disk when they are many."""
    plain = arrow.plain_schema(schema)
    return spill.collect(
        (arrow.plain_batch(batch, plain) for batch in batches), plain, folder=folder
    )


def _read_hugging_face(source: Any, name: str, folder: Path) -> _Read:
    """A Hugging Face dataset, in its own order after select and shuffle; class numbers become names."""
    if isinstance(source, Mapping):
        split = next(iter(source), "train")
        raise TableError(
            f"this {type(source).__name__} holds the splits {', '.join(map(str, source))}. Pass one: "
            f"dataset['{split}']"
        )
    if getattr(source, "_indices", None) is None and hasattr(source, "data"):
        data = source.data.table
    else:
        tables = source.with_format("arrow").iter(batch_size=1024)
        first = next(tables, None)
        if first is None:
            raise TableError(f"{name} has no rows. A table needs at least one row.")
        arrow.check_types(first.schema, name)
        batches = (batch for table in chain([first], tables) for batch in table.to_batches())
        data = _spilled(batches, first.schema, folder)
    data, notes = _checked(data, [], name)
    for column, feature in (source.features or {}).items():
        labels = getattr(feature, "names", None)
        if labels is not None and pa.types.is_integer(data.schema.field(column).type):
            named = _class_names(data.column(column), labels)
            data = data.set_column(data.column_names.index(column), column, named)
            notes.append(f"{column}: class numbers are shown by their names")
    return data, notes


def _class_names(column: pa.ChunkedArray, labels: Sequence[str]) -> pa.ChunkedArray:
    """Class numbers as the names a dataset gives them; -1 and others outside are missing."""
    names = pa.array(labels, pa.large_string())
    chunks = []
    for chunk in column.chunks:
        numbers = chunk.to_numpy(zero_copy_only=False)
        good = np.isfinite(numbers) & (numbers >= 0) & (numbers < len(labels))
        index = pa.array(np.where(good, numbers, 0).astype(np.int64), mask=~good)
        chunks.append(names.take(index))
    return pa.chunked_array(chunks, pa.large_string())


def read_folders(folder: Path) -> _Read:
    """A folder of media as a table; see `plait.data.table.files.read_folders`."""
    return files.read_folders(folder)
