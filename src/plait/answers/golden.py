"""A few rows kept in the bundle with the answers they must give, media included."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from plait.data.media import Media, label
from plait.data.modalities.signal import is_inline
from plait.data.table.source import Table
from plait.errors import CellError

TOLERANCE = 1e-4
MAX_CELL_BYTES = 500_000
"""Bytes a golden cell may have; rows with larger media are not chosen."""


@dataclass(frozen=True)
class Row:
    """One row's input cells, as JSON values, and its scores by target."""

    stored: dict[str, Any]
    scores: dict[str, Any]

    def cells(self) -> dict[str, Any]:
        """The cells as a table takes them."""
        return {name: _thaw(value) for name, value in self.stored.items()}


def choose(
    table: Table,
    rows: Sequence[int],
    media_columns: Sequence[str],
    columns: Sequence[str],
    media: Media,
) -> list[tuple[int, dict[str, Any]]]:
    """Rows whose cells are small enough to keep, with their cells as JSON values."""
    chosen = []
    for row in rows:
        cells = {name: table.cells(name, np.array([row]))[0] for name in columns}
        try:
            frozen = {
                name: _freeze_media(cell, media) if name in media_columns else _freeze(cell)
                for name, cell in cells.items()
            }
        except CellError:
            continue
        chosen.append((row, frozen))
    return chosen


def _freeze_media(cell: Any, media: Media) -> Any:
    """A file's bytes with its name, which tells how to read some kinds; numbers as they are."""
    if cell is None or isinstance(cell, list | np.ndarray) or is_inline(cell):
        frozen = _freeze(cell)
        if len(json.dumps(frozen)) > MAX_CELL_BYTES:
            raise CellError("is too large to keep")
        return frozen
    kept = _freeze(media.read(cell, MAX_CELL_BYTES))
    name = PurePath(label(cell).strip("'")).name
    return {**kept, "path": name} if name else kept


def _freeze(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return {"base64": base64.b64encode(cell).decode("ascii")}
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, list):
        return [_freeze(part) for part in cell]
    if isinstance(cell, bool | int | float | str) or cell is None:
        return cell
    return str(cell)


def _thaw(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        data = base64.b64decode(value["base64"])
        return {"bytes": data, "path": value["path"]} if "path" in value else data
    return value


def to_json(rows: Sequence[Row]) -> list[Any]:
    """JSON values only."""
    return [{"cells": row.stored, "scores": row.scores} for row in rows]


def from_json(data: Sequence[Any]) -> list[Row]:
    """What `to_json` gave."""
    return [Row(part["cells"], part["scores"]) for part in data]
