"""The table a model learnt from: where it was, whether it is still there, and which rows it held out.

What is known stands in the run's ``training`` folder, which is no part of the bundle: a model that is
copied elsewhere takes neither rows nor paths of this machine along.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from plait.data.table.source import Table, open_table
from plait.errors import PlaitError
from plait.sealed import TRAINING, write_whole

FILE = "table.json"


@dataclass(frozen=True)
class Origin:
    """The table a model learnt from.

    Attributes:
        table: its rows.
        validation: those held out, which no weight has learnt from; empty where that is not known.
    """

    table: Table
    validation: Int64[np.ndarray, " rows"]


@dataclass(frozen=True)
class Gone:
    """That the table is not at hand, and why, in a sentence in either language of a report."""

    why: str
    why_zh: str


def remember(
    training: Path, source: Any, root: Path | str | None, table: Table, validation: np.ndarray
) -> None:
    """Write down where a table is, and which of its rows are held out.

    Args:
        training: the run's folder for what is no part of the bundle.
        source: as `plait.fit` was given it; only a path can be found again.
    """
    record: dict[str, Any] = {
        "rows": table.rows,
        "columns": table.columns,
        "validation": validation.tolist(),
        "source": None,
    }
    if isinstance(source, str | Path):
        path = Path(source).absolute()
        record |= {
            "source": str(path),
            "root": None if root is None else str(Path(root).absolute()),
            "changed": _changed(path),
        }
    write_whole(training / FILE, json.dumps(record))


def recall(folder: Path | None, given: Any = None, root: Path | str | None = None) -> Origin | Gone:
    """The table of a run.

    Args:
        folder: of the run; None: it was never saved.
        given: the table itself, or where it is now; goes before what is written down.
        root: the folder that its media paths are relative to.

    Raises:
        TableError: ``given`` cannot be opened.
    """
    record = _read_record(folder)
    if given is not None:
        table = open_table(given, root=root)
        same = record is not None and record.get("rows") == table.rows
        return Origin(table, _rows(record) if same and record is not None else _rows({}))
    if record is None:
        return Gone(
            "the run's folder does not record which table the model was trained on",
            "运行文件夹中没有记录训练表",
        )
    source = record.get("source")
    if not isinstance(source, str):
        return Gone(
            "the model learnt from a table in memory, which is gone",
            "训练表当时在内存中，现已不存在",
        )
    path = Path(source)
    if not path.exists():
        return Gone(
            f"the table the model learnt from, {path.name}, is no longer where it was",
            f"训练表 {path.name} 已不在原处",
        )
    changed = Gone(
        f"the table the model learnt from, {path.name}, has been changed since",
        f"训练表 {path.name} 在训练后被改动过",
    )
    if record.get("changed") != _changed(path):
        return changed
    try:
        table = open_table(path, root=record.get("root"))
    except PlaitError:
        return changed
    if [table.rows, table.columns] != [record.get("rows"), record.get("columns")]:
        return changed
    return Origin(table, _rows(record))


def _read_record(folder: Path | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    try:
        record = json.loads((folder / TRAINING / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _rows(record: dict[str, Any]) -> Int64[np.ndarray, " rows"]:
    """The held-out rows, as far as they are rows of the table."""
    rows, count = record.get("validation"), record.get("rows")
    if not isinstance(rows, list) or not isinstance(count, int):
        return np.zeros(0, np.int64)
    good = [row for row in rows if isinstance(row, int) and 0 <= row < count]
    return np.array(good, np.int64)


def _changed(path: Path) -> list[int] | None:
    """Size and time of a file; None for a folder, whose files change without it."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns] if path.is_file() else None
