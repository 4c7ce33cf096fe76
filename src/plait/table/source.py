"""Open a table, wherever it is: files, folders, frames, lists, Arrow streams."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from plait.errors import TableError, suggest
from plait.table import arrow, build, delimited, files, objects, spill

Rows = np.ndarray | slice | None
"""Which rows: numbers in any order, a mask, a slice, or None for all."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows and named columns, in memory or mapped from disk.

    Attributes:
        data: the cells as Arrow columns.
        root: the folder that paths in cells are relative to. None: the working folder, for tables that
            were never a file; see `plait.media.Media`.
        named_root: True when the user named that folder, so that cells may lie anywhere in it.
        name: what to call the table in messages.
        notes: what was decided while opening it, in words.
    """

    data: pa.Table
    root: Path | None
    named_root: bool
    name: str
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.data.num_rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.data.column_names)

    def cells(self, column: str, rows: Rows = None) -> list[object]:
        """Cells of one column as Python values, missing ones (also NaN and blank text) as None.

        Args:
            column: its name.
            rows: which; any order, repeats allowed. None: all.

        Raises:
            TableError: when there is no such column.
            IndexError: when a row lies outside the table.
        """
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

    def take(self, rows: np.ndarray) -> "Table":
        """A table of these rows, in this order, copied into memory."""
        return replace(self, data=self.data.take(build.indices(np.asarray(rows))))

    def slice(self, start: int, stop: int) -> "Table":
        """The rows from ``start`` up to ``stop``, not copied."""
        start, stop, _ = slice(start, stop).indices(self.rows)
        return replace(self, data=self.data.slice(start, max(0, stop - start)))

    def select(self, columns: Sequence[str]) -> "Table":
        """A table of these columns, not copied."""
        self.require(columns)
        return replace(self, data=self.data.select(list(columns)))

    def require(self, columns: Iterable[str]) -> None:
        """Check that columns exist.

        Raises:
            TableError: naming all that do not, with suggestions.
        """
        absent = [column for column in columns if column not in self._names]
        if absent:
            told = "".join(f"no column '{name}'.{suggest(name, self.columns)} " for name in absent)
            raise TableError(f"{self.name} has {told}Its columns: {', '.join(self.columns)}.")

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.data.column_names)

    @cached_property
    def _layout(self) -> dict[str, np.ndarray]:
        return {}

    def _starts(self, column: str) -> np.ndarray:
        """Where the chunks of a column start, worked out once."""
        if column not in self._layout:
            self._layout[column] = arrow.offsets(self.data.column(column))
        return self._layout[column]


def _run(rows: np.ndarray) -> Rows:
    """A run of consecutive rows as a slice, which is read without an index."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def open_table(
    source: Any,
    *,
    root: Path | str | None = None,
    cache: Path | str | None = None,
    empty: bool = False,
) -> Table:
    """Open a table. Nothing inside it is executed.

    Args:
        source: a path to CSV, TSV, JSON Lines, Parquet, Arrow or Feather; a folder with one subfolder of
            media a class; a pandas or polars frame, a pyarrow Table or RecordBatchReader, a list of
            dicts, a dict of lists, a Hugging Face dataset, or anything else with
            ``__arrow_c_stream__``. A `Table` passes through.
        root: the folder that paths in media cells are relative to. Default: the folder the table's file
            is in; for tables in memory None: paths start from the working folder and may lead anywhere.
        cache: where tables of more than 8 MiB are kept as memory-mapped files. Default:
            ``$PLAIT_CACHE/tables``, else ``~/.cache/plait/tables``.
        empty: whether a table without rows is welcome, as it is when answers are asked for.

    Raises:
        TableError: saying what was found, what was expected and how to mend it.
    """
    if root is not None and not Path(root).is_dir():
        raise TableError(
            f"root='{root}' is not a folder. Name the folder that media paths start from."
        )
    if isinstance(source, Table):
        return source if root is None else replace(source, root=Path(root), named_root=True)
    folder = spill.cache_folder(cache)
    if isinstance(source, str | Path):
        path = Path(source)
        data, notes, name = *_read_path(path, str(source), folder), path.name
        place: Path | None = path if path.is_dir() else path.parent
    else:
        data, notes, name = _read_object(source, folder)
        place = None
    if data.num_columns == 0:
        raise TableError(f"{name} has no columns. A table needs at least one column and one row.")
    if data.num_rows == 0 and not empty:
        raise TableError(
            f"{name} has no rows, only the columns {', '.join(data.column_names)}. "
            "A table needs at least one row."
        )
    return Table(data, place if root is None else Path(root), root is not None, name, tuple(notes))


_Read = tuple[pa.Table, Sequence[str]]


def _read_delimited(path: Path, folder: Path, key: str) -> _Read:
    """CSV or TSV, from the cache where a large file was read before."""
    header = delimited.read_header(path, "\t" if path.suffix.lower() in (".tsv", ".tab") else None)
    known = spill.cached(folder, key)
    if known is None:
        schema = pa.schema([(name, pa.large_string()) for name in header.names])
        batches = delimited.read_batches(path, header)
        known = spill.collect(batches, schema, folder=folder, key=key)
    return known, header.notes


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

_PICKLES = [
    ".pkl",
    ".pickle",
    ".joblib",
    ".dill",
    ".pt",
    ".pth",
    ".ckpt",
    ".npz",
    ".npy",
    ".h5",
    ".hdf5",
    ".mat",
    ".rds",
]
_ADVICE = {
    ".xlsx": "Save the sheet as CSV UTF-8.",
    ".xls": "Save the sheet as CSV UTF-8.",
    ".ods": "Save the sheet as CSV UTF-8.",
    ".json": "Write one object a line and call it .jsonl.",
    ".gz": "Unpack it first (gunzip), or save it as Parquet, which is compressed too.",
    ".zip": "Unpack it first.",
    ".zst": "Unpack it first.",
    ".txt": "If it is a table of text, call it .csv or .tsv.",
    ".orc": "Save it as Parquet.",
    ".sqlite": "Query it into a frame and pass that.",
    ".db": "Query it into a frame and pass that.",
}


def _read_path(path: Path, given: str, folder: Path) -> _Read:
    """The file or folder a user named."""
    if "://" in given:
        raise TableError(f"{given} is an address, and plait opens files. Download it first.")
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise TableError(
            f"{path} is a {suffix} file. plait never opens pickles, which can run code when they are "
            "read, nor other containers of objects. Save the table as Parquet: "
            "frame.to_parquet('table.parquet')"
        )
    if not path.exists():
        raise TableError(f"there is no file '{path}'.{_similar(path)}")
    try:
        if path.is_dir():
            return files.read_folders(path)
        if suffix not in READERS:
            advice = _ADVICE.get(suffix, "")
            raise TableError(
                f"{path} ends in '{suffix}', which is no table that plait reads. {advice}".rstrip()
                + f" It reads {', '.join(READERS)} and folders with one subfolder a class."
            )
        return READERS[suffix](path, folder, spill.cache_key(path, suffix))
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}.") from None


def _similar(path: Path) -> str:
    """What is there instead of a path that does not exist."""
    if path.parent.is_dir():
        names = sorted(part.name for part in path.parent.iterdir())
        hint = suggest(path.name, names)
        tables = [name for name in names if Path(name).suffix.lower() in READERS][:8]
        return hint or (f" {path.parent} holds {', '.join(tables)}." if tables else "")
    return f" There is no folder '{path.parent}' either."


def _read_object(source: Any, folder: Path) -> tuple[pa.Table, Sequence[str], str]:
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
        name = f"this {type(source).__name__} of {len(source)} rows"
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
    names, unnamed = arrow.check_names(data.column_names, name)
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
