"""Python values as a table may hold them, whether Arrow carries them or not."""

import datetime
import decimal
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SCALARS = (str, bool, int, float, decimal.Decimal, datetime.date, datetime.time)
"""Types whose values become text where a column mixes them."""

_SURROGATES = re.compile("[\ud800-\udfff]")


def plain(cell: Any) -> Any:
    """A cell without numpy and without what UTF-8 cannot hold; NaN is missing."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float) and cell != cell:
        return None
    if isinstance(cell, str):
        return _SURROGATES.sub("\ufffd", cell)
    if isinstance(cell, Path):
        return str(cell)
    if isinstance(cell, set | frozenset):
        return sorted(cell, key=str)
    if isinstance(cell, list | tuple):
        return [plain(item) for item in cell]
    if isinstance(cell, bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, Mapping):
        return {plain(str(key)): plain(value) for key, value in cell.items()}
    return cell


def text(cell: Any) -> str | None:
    """A value of `SCALARS` as text."""
    return None if cell is None else str(cell)


def media(cell: Any) -> dict[str, Any] | None:
    """A path, bytes or a struct of both as the struct."""
    if cell is None:
        return None
    if isinstance(cell, Mapping):
        if not set(cell) <= {"bytes", "path"}:
            raise ValueError("not a media cell")
        return {"bytes": cell.get("bytes"), "path": cell.get("path")}
    return {"bytes": None, "path": cell} if isinstance(cell, str) else {"bytes": cell, "path": None}
