"""Python values as Arrow columns: lists of dicts, dicts of lists, JSON Lines, frames of objects."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from plait.data.table import build
from plait.data.table.arrow import plain_type
from plait.data.table.json_lines import json_blocks
from plait.data.table.names import check_names, checked_columns, columns_of
from plait.data.table.spill import MAX_MEMORY_BYTES, collect
from plait.data.table.values import SCALARS, media, plain, text
from plait.errors import TableError

_FAILURES = (pa.ArrowException, OverflowError, UnicodeEncodeError, ValueError, TypeError)
_MEDIA = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])


def column_array(
    name: str, cells: Sequence[Any] | np.ndarray, kind: pa.DataType | None = None
) -> pa.Array:
    """Cells of one column as an Arrow array of a plain type.

    Numbers mixed with text become text; paths mixed with bytes become ``{bytes, path}``; lone
    surrogates, which no UTF-8 can hold, become U+FFFD.

    Args:
        name: of the column, for the message.
        cells: Python or numpy values; None is missing.
        kind: the type to end in; None: whatever fits.

    Raises:
        TableError: naming the column and the first cell that a table cannot carry.
    """
    try:
        quick = build.plain_cells(cells) if kind is None or _is_plain(kind) else None
        if quick is not None:
            return quick if kind is None or quick.type == kind else quick.cast(kind)
        array = _arrow(cells, kind)
    except _FAILURES:
        values = [plain(cell) for cell in cells]
        try:
            array = _arrow(values, kind)
        except _FAILURES:
            array = _mixed(name, values)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    plain_kind = plain_type(array.type)
    return array if array.type == plain_kind else array.cast(plain_kind)


def _arrow(cells: Sequence[Any] | np.ndarray, kind: pa.DataType | None) -> pa.Array:
    """What pyarrow makes of cells, except where it would guess wrong."""
    kinds = set(map(type, cells))
    if {str, bytes} <= kinds or kinds & {set, frozenset}:
        raise TypeError("it would take paths for bytes, and members of sets in any order")
    return pa.array(cells, type=kind, from_pandas=True)


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_large_string(kind))


def _mixed(name: str, cells: list[Any]) -> pa.Array:
    """Cells of several Python types in the one type that holds them all."""
    present = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, SCALARS) for cell in present):
        return pa.array([text(cell) for cell in cells], pa.large_string())
    if all(isinstance(cell, str | bytes | Mapping) for cell in present):
        try:
            return pa.array([media(cell) for cell in cells], _MEDIA)
        except _FAILURES:
            pass
    if all(isinstance(cell, str | list | int) for cell in present):
        lists = [None if c is None else c if isinstance(c, list) else [c] for c in cells]
        texts = [None if c is None else [None if x is None else text(x) for x in c] for c in lists]
        try:
            return pa.array(texts, pa.list_(pa.large_string()))
        except _FAILURES:
            pass
    kinds = sorted({f"{type(cell).__module__}.{type(cell).__qualname__}" for cell in present})
    kinds = [kind.removeprefix("builtins.") for kind in kinds]
    odd = [row for row, c in enumerate(cells) if c is not None and not isinstance(c, SCALARS)]
    raise TableError(
        f"column '{name}' holds {', '.join(kinds)} (first in row {odd[0] if odd else 0}), which one "
        "column of a table cannot carry. Give numbers, text, dates, lists of numbers, and for media a "
        "path or the file's bytes."
    )


def from_columns(columns: Mapping[Any, Any], name: str) -> tuple[pa.Table, list[str]]:
    """A dict of lists as a table, and notes on its names.

    Raises:
        TableError: for columns of different lengths, and for values that are no lists.
    """
    names, notes = checked_columns(columns, name)
    arrays = [column_array(key, cells) for key, cells in zip(names, columns.values(), strict=True)]
    return pa.Table.from_arrays(arrays, names=names), notes


def from_rows(rows: Sequence[Any], name: str) -> tuple[pa.Table, list[str]]:
    """A list of dicts as a table: the union of their keys, in the order first seen.

    Raises:
        TableError: naming the first element that is no dict.
    """
    return from_columns(columns_of(rows, name), name)


def from_pandas(frame: Any, name: str) -> tuple[pa.Table, list[str]]:
    """A pandas DataFrame as a table; its index is not a column.

    Raises:
        TableError: for duplicate names and for objects a table cannot carry.
    """
    names, notes = check_names([str(key) for key in frame.columns], name)
    if any(label is not None for label in frame.index.names):
        notes.append("the frame's index is not a column; reset_index() makes it one")
    arrays = []
    for position, key in enumerate(names):
        series = frame.iloc[:, position]
        try:
            array = pa.Array.from_pandas(series)
            if isinstance(array, pa.ChunkedArray):
                array = array.combine_chunks()
            arrays.append(array)
        except _FAILURES:
            gaps = series.isna().to_numpy()
            cells = [None if gap else cell for gap, cell in zip(gaps, series, strict=True)]
            arrays.append(column_array(key, cells))
    return pa.Table.from_arrays(arrays, names=names), notes


def is_pandas(source: object) -> bool:
    """Whether an object is a pandas DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def read_json_lines(
    path: Path, folder: Path, key: str | None, block: int = MAX_MEMORY_BYTES // 2
) -> tuple[pa.Table, list[str]]:
    """A JSON Lines file as a table, read twice: once for the types of its columns, once for the cells.

    Args:
        path: one JSON object a line; empty lines are skipped.
        folder: where a large table is spilled.
        key: its name there.
        block: bytes of text turned into one batch.

    Raises:
        TableError: naming the line that is not valid JSON object.
    """
    kinds: dict[str, pa.DataType] = {}
    for rows in json_blocks(path, block):
        for name in dict.fromkeys(name for row in rows for name in row):
            cell_kind = column_array(name, [row.get(name) for row in rows]).type
            kinds[name] = _wider(name, kinds.get(name, pa.null()), cell_kind)
    names, notes = check_names(list(kinds), str(path))
    schema = pa.schema(list(zip(names, kinds.values(), strict=True)))
    fields = list(zip(names, kinds, schema.types, strict=True))

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in json_blocks(path, block):
            arrays = [
                _cast(name, [row.get(key) for row in rows], kind) for name, key, kind in fields
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return collect(batches(), schema, folder=folder, key=key), notes


def _cast(name: str, cells: list[Any], kind: pa.DataType) -> pa.Array:
    """Cells in the type that suits the whole file."""
    if pa.types.is_large_string(kind):
        cells = [c if c is None or isinstance(c, str) else text(c) for c in cells]
    array = column_array(name, cells, kind)
    return array if array.type == kind else array.cast(kind)


def _wider(name: str, kind: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds cells of both types; scalars that share none become text."""
    if kind == other:
        return kind
    try:
        schemas = [pa.schema([("cell", kind)]), pa.schema([("cell", other)])]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        if pa.types.is_nested(kind) or pa.types.is_nested(other):
            raise TableError(
                f"column '{name}' holds {kind} in some rows and {other} in others. "
                "Give every row of a column the same kind of value."
            ) from None
        return pa.large_string()
