"""Arrow columns as the rest of plait wants them: plain types in, plain Python cells out."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plait.data.table import build
from plait.errors import TableError

WINDOW_CELLS = 65_536
"""Cells looked at at a time."""

_EXTENSION = b"ARROW:extension:name"


def reason(error: Exception) -> str:
    """What Arrow says went wrong, without its traces."""
    return str(error).split(". Detail:")[0].removeprefix("Invalid: ").strip().rstrip(".")


def check_types(schema: pa.Schema, name: str) -> None:
    """Refuse extension types anywhere in a schema, nested fields included.

    Raises:
        TableError: naming each such column and its type.
    """
    extensions = [
        f"column '{field.name}' has the extension type '{kind}'"
        for field in schema
        if (kind := _extension(field)) is not None
    ]
    if extensions:
        raise TableError(
            f"{name}: {'; '.join(extensions)}. Such a type runs code of its own when it is read, and "
            "nothing inside a table is executed. Store the column as plain numbers, text, bytes or "
            "lists and open the table again."
        )


def _extension(field: pa.Field) -> str | None:
    """The name of the first extension type in a field or below it."""
    if isinstance(field.type, pa.BaseExtensionType):
        return str(field.type.extension_name)
    # A type that is not registered arrives as its storage type, with only this to tell.
    metadata = field.metadata or {}
    if _EXTENSION in metadata:
        return str(metadata[_EXTENSION].decode("utf-8", "replace"))
    for child in _children(field.type):
        below = _extension(child)
        if below is not None:
            return below
    return None


def _children(kind: pa.DataType) -> list[pa.Field]:
    """The fields inside a nested type; a dictionary's values count as one."""
    if pa.types.is_dictionary(kind):
        return [pa.field("values", kind.value_type)]
    return [kind.field(position) for position in range(kind.num_fields)]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type a column is kept in: text and bytes with 64-bit offsets, dictionaries spelt out."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        # 32-bit offsets overflow at 2 GiB of text in one chunk.
        return pa.large_string()
    if pa.types.is_binary(kind) or pa.types.is_binary_view(kind):
        return pa.large_binary()
    return kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema with every column in its plain type and without metadata."""
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch cast, column by column, to what `plain_schema` gave."""
    columns = [
        plain_array(batch.column(position), field.type) for position, field in enumerate(schema)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def plain_table(table: pa.Table) -> pa.Table:
    """A table with every column in its plain type; columns already plain are not copied."""
    schema = plain_schema(table.schema)
    columns = []
    for column, field in zip(table.columns, schema, strict=True):
        if column.type == field.type:
            columns.append(column)
        else:
            chunks = [plain_array(chunk, field.type) for chunk in column.chunks]
            columns.append(pa.chunked_array(chunks, type=field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def plain_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """One array in its plain type."""
    if array.type == kind:
        return array
    if pa.types.is_dictionary(array.type):
        values = array.dictionary  # made plain first: take does not know every type
        array = plain_array(values, plain_type(values.type)).take(array.indices)
    elif pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    return array if array.type == kind else array.cast(kind)


def python_cells(array: pa.Array) -> list[object]:
    """The cells of an array as Python values; missing ones, NaN and blank text are None.

    Times with nanoseconds are cut to microseconds, durations are seconds, decimals are floats. A date
    that Python cannot hold (the year 20000) stays text.
    """
    kind = array.type
    if plain_type(kind) != kind:
        array, kind = plain_array(array, plain_type(kind)), plain_type(kind)
    if pa.types.is_temporal(kind):
        return _temporal_cells(array)
    if pa.types.is_decimal(kind):
        return [None if cell is None else float(cell) for cell in array.to_pylist()]
    if _is_list(kind):
        return _list_cells(array)
    cells: list[object] = array.to_pylist()
    if pa.types.is_floating(kind):
        return [None if cell is None or cell != cell else cell for cell in cells]
    if pa.types.is_large_string(kind):
        return [
            None if cell is None or not cell or cell.isspace() else cell  # type: ignore[attr-defined]
            for cell in cells
        ]
    return cells


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _list_cells(array: pa.Array) -> list[object]:
    """Lists of numbers as numpy arrays, which spares an object a number; other lists as lists."""
    inner = array.type.value_type
    if not (_is_list(inner) or pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        cells: list[object] = array.to_pylist()
        return cells
    out: list[object] = []
    for scalar in array:
        values = scalar.values
        if values is None:
            out.append(None)
        elif _is_list(inner):
            out.append(_list_cells(values))
        elif values.null_count:
            out.append(np.array(values.to_pylist(), dtype=np.float64))  # None becomes NaN
        else:
            kind = inner.to_pandas_dtype()
            buffer = values.buffers()[1] if len(values) else b""
            # The buffer is that of the whole column: a slice of it begins at its offset.
            raw = np.frombuffer(buffer, dtype=kind)
            out.append(raw[values.offset : values.offset + len(values)] if len(values) else raw)
    return out


def _temporal_cells(array: pa.Array) -> list[object]:
    """Dates, times and durations, without the nanoseconds that only pandas could carry."""
    kind = array.type
    try:
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            # datetime has microseconds; to_pylist would want pandas for nanoseconds.
            array = array.cast(pa.timestamp("us", kind.tz), safe=False)
        elif pa.types.is_time64(kind) and kind.unit == "ns":
            array = array.cast(pa.time64("us"), safe=False)
        elif pa.types.is_duration(kind) and kind.unit == "ns":
            array = array.cast(pa.duration("us"), safe=False)
        cells: list[object] = array.to_pylist()
    except (ValueError, OverflowError):
        cells = array.cast(pa.large_string()).to_pylist()
    return [
        cell.total_seconds() if isinstance(cell, datetime.timedelta) else cell for cell in cells
    ]


def offsets(column: pa.ChunkedArray) -> np.ndarray:
    """Where each chunk of a column starts, and the number of rows at the end."""
    lengths = [len(chunk) for chunk in column.chunks]
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def gather(column: pa.ChunkedArray, starts: np.ndarray, rows: np.ndarray) -> list[object]:
    """Cells at any rows in any order, read chunk by chunk so that nothing is concatenated."""
    if len(rows) == 0:
        return []
    if int(rows.min()) < 0 or int(rows.max()) >= int(starts[-1]):
        raise IndexError(f"rows must lie between 0 and {int(starts[-1]) - 1}")
    # Empty chunks repeat an offset; side="right" steps past them.
    owner = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(owner, kind="stable")
    out: list[object] = [None] * len(rows)
    borders = np.flatnonzero(np.diff(owner[order])) + 1
    for places in np.split(order, borders):
        chunk = int(owner[places[0]])
        local = build.indices(rows[places] - starts[chunk])
        cells = python_cells(column.chunk(chunk).take(local))
        for place, cell in zip(places.tolist(), cells, strict=True):
            out[place] = cell
    return out


def there(column: pa.ChunkedArray) -> np.ndarray:
    """True where a cell is not null, NaN or blank."""
    parts = [np.zeros(0, dtype=bool)]
    for chunk in column.chunks:
        for start in range(0, len(chunk), WINDOW_CELLS):
            window = chunk.slice(start, WINDOW_CELLS)
            window = plain_array(window, plain_type(window.type))
            good = build.mask(window.is_valid())
            if pa.types.is_floating(window.type):
                good &= ~build.mask(pc.is_nan(window))
            elif pa.types.is_large_string(window.type):
                good &= build.longs(pc.binary_length(pc.utf8_trim_whitespace(window))) > 0
            parts.append(good)
    return np.concatenate(parts)


def countable(kind: pa.DataType) -> bool:
    """Whether values of this type are counted: plain ones, and lists of text."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = plain_type(kind.value_type)
        return bool(pa.types.is_large_string(inner))
    kind = plain_type(kind)
    return not (
        pa.types.is_nested(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)
    )
