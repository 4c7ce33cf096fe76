"""A few rows kept in the bundle with the answers they must give, media included."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from plait.errors import CellError
from plait.media import Media
from plait.table.source import Table

TOLERANCE = 1e-4
LARGEST = 500_000
"""Bytes a golden cell may have; rows with larger media are not chosen."""


@dataclass(frozen=True)
class Row:
    """One row's input cells, as JSON values, and its scores by target."""

    stored: dict[str, Any]
    scores: dict[str, list[float]]

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
                name: _freeze(media.read(cell, LARGEST))
                if name in media_columns and cell is not None and not isinstance(cell, list)
                else _freeze(cell)
                for name, cell in cells.items()
            }
        except CellError:
            continue
        chosen.append((row, frozen))
    return chosen


def _freeze(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return {"base64": base64.b64encode(cell).decode("ascii")}
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, bool | int | float | str | list) or cell is None:
        return cell
    return str(cell)


def _thaw(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"])
    return value


def to_json(rows: Sequence[Row]) -> list[Any]:
    """JSON values only."""
    return [{"cells": row.stored, "scores": row.scores} for row in rows]


def from_json(data: Sequence[Any]) -> list[Row]:
    """What `to_json` gave."""
    return [Row(part["cells"], part["scores"]) for part in data]
