"""Arrow arrays from plain Python cells and back to numpy, without waking pandas.

``pa.array`` and ``Array.to_numpy`` import pandas wherever it is installed, which takes longer than
opening most tables. These few functions lay the buffers out themselves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def indices(rows: np.ndarray) -> pa.Array:
    """Row numbers for ``take``, not copied."""
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])


def mask(array: pa.Array) -> np.ndarray:
    """A boolean Arrow array as numpy; null is False."""
    good = _bits(array.buffers()[1], array.offset, len(array))
    if array.null_count:
        good &= _bits(array.buffers()[0], array.offset, len(array))
    return good


def longs(array: pa.Array) -> np.ndarray:
    """An int64 Arrow array as numpy; what stands in place of a null is undefined."""
    if not len(array):
        return np.zeros(0, dtype=np.int64)
    values = np.frombuffer(array.buffers()[1], dtype=np.int64)
    return values[array.offset : array.offset + len(array)]


def _bits(buffer: pa.Buffer, offset: int, length: int) -> np.ndarray:
    if not length:
        return np.zeros(0, dtype=bool)
    packed = np.frombuffer(buffer, dtype=np.uint8)
    return np.unpackbits(packed, count=offset + length, bitorder="little")[offset:].astype(bool)


def plain_cells(cells: Sequence[Any] | np.ndarray) -> pa.Array | None:
    """Cells that are all text, all bytes, all whole numbers or all floats, None among them, as an array.

    Returns:
        None where the cells are of another type or of several; `pa.array` may know better.

    Raises:
        UnicodeEncodeError: for text with half a character.
        OverflowError: for a number beyond 64 bits.
    """
    kinds = set(map(type, cells)) - {type(None)}
    if len(kinds) != 1:
        return None
    make = _MAKERS.get(kinds.pop())
    if make is None:
        return None
    there = np.fromiter((cell is not None for cell in cells), dtype=bool, count=len(cells))
    validity = None if there.all() else _packed(there)
    return make(cells, validity)


def _packed(bits: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(bits, bitorder="little"))


def _texts(cells: Sequence[str | None], validity: pa.Buffer | None) -> pa.Array:
    encoded = [b"" if cell is None else cell.encode("utf-8") for cell in cells]
    return _variable(pa.large_string(), encoded, validity)


def _blobs(cells: Sequence[bytes | None], validity: pa.Buffer | None) -> pa.Array:
    return _variable(pa.large_binary(), [cell or b"" for cell in cells], validity)


def _variable(kind: pa.DataType, parts: list[bytes], validity: pa.Buffer | None) -> pa.Array:
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    data = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(kind, len(parts), data)


def _whole_numbers(cells: Sequence[int | None], validity: pa.Buffer | None) -> pa.Array:
    values = np.array([cell or 0 for cell in cells], dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(cells), [validity, pa.py_buffer(values)])


def _floats(cells: Sequence[float | None], validity: pa.Buffer | None) -> pa.Array:
    values = np.array([0.0 if cell is None else cell for cell in cells], dtype=np.float64)
    return pa.Array.from_buffers(pa.float64(), len(cells), [validity, pa.py_buffer(values)])


def _booleans(cells: Sequence[bool | None], validity: pa.Buffer | None) -> pa.Array:
    values = np.array([bool(cell) for cell in cells], dtype=bool)
    return pa.Array.from_buffers(pa.bool_(), len(cells), [validity, _packed(values)])


_MAKERS: dict[type, Callable[[Any, pa.Buffer | None], pa.Array]] = {
    str: _texts,
    bytes: _blobs,
    int: _whole_numbers,
    float: _floats,
    bool: _booleans,
}
