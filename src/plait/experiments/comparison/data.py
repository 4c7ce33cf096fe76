"""The table, prepared once: everything a run needs, in a folder that a new process opens in a moment.

The arrays lie as plain bytes, memory-mapped; what the store holds already is linked, not copied. What
describes them is one JSON file. `Ready.fingerprint` is a hash of all of it.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from plait.answers import golden
from plait.config import Config
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.modalities import registry
from plait.data.store import PreparedColumn, Store
from plait.data.table.arrow_tables import ArrowTable
from plait.data.table.schema import Schema
from plait.data.table.source import Table
from plait.data.targets.registry import read_target
from plait.data.targets.target import Target
from plait.display.progress import Reporter
from plait.errors import StoreError, TableError, counted, error_line
from plait.model.blueprint import Blueprint
from plait.training.dataset import Dataset, read_dataset
from plait.training.prepare import encode, frozen_of, prepare

FOLDER = "prepared"
TEST_SHARE = 0.2
"""Of the rows, held out for testing where no test table is given."""
ROWS_TRIED = 200
"""Test rows among which one is looked for that has every stream, to time a single answer with."""

Truth = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Ready:
    """A table made ready for many fits.

    Attributes:
        config: the options of every run; fusion and seed are the run's own.
        plan: the architecture; a run puts its fusion in.
        train, validation: rows of ``columns``.
        columns, test: the inputs of the table and of the test table.
        encoded, truth: the targets of both.
        row: one test row that has every stream, if any has; ``cells`` are what it holds.
        fingerprint: of all the above.
        notes: what was decided.
    """

    config: Config
    schema: Schema
    features: Features
    plan: Blueprint
    targets: list[Target]
    train: np.ndarray
    validation: np.ndarray
    columns: dict[str, PreparedColumn]
    test: dict[str, PreparedColumn]
    encoded: Truth
    truth: Truth
    row: int
    cells: golden.Row | None
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The target that methods are compared by: the first."""
        return self.targets[0]

    @property
    def streams(self) -> list[str]:
        """The streams' names, in order."""
        return list(self.plan.streams)

    def dataset(self) -> Dataset:
        """The rows that are learnt from; the cells themselves are prepared already."""
        empty = ArrowTable(pa.table({}), None, False, "the training table")
        return Dataset(
            table=empty,
            schema=self.schema,
            targets=self.targets,
            encoded=self.encoded,
            train=self.train,
            validation=self.validation,
            notes=[],
        )


def make_ready(
    table: Table, test: Table | None, names: list[str], config: Config, reporter: Reporter
) -> Ready:
    """Decide, split, fit and prepare, once for all runs.

    Args:
        test: rows to measure on; None holds some of ``table`` out.

    Raises:
        TableError: no test row has a known answer.
    """
    notes = []
    if test is None:
        whole = read_dataset(table, names, config.model_copy(update={"validation": TEST_SHARE}))
        table, test = whole.table.take(whole.train), whole.table.take(whole.validation)
        by = f"whole groups of '{config.group}'" if config.group else "balanced by target"
        notes.append(
            f"no test table was given: {test.rows} rows ({TEST_SHARE:.0%}) were held out to test on, "
            f"{by} (seed {config.seed}); no run trains or stops by them"
        )
    test.require(names[:1])
    data = read_dataset(table, names, config)
    settings = settings_for(table, config)
    ground = prepare(table, data, config, settings, reporter)
    features, plan = ground.features, ground.plan
    prepared = features.prepare(table, settings, store=Store(), reporter=reporter)
    prepared.quarantine.check(
        config.max_unreadable,
        {name: table.rows - table.arrow()[name].null_count for name in features.modalities},
    )
    tested = features.prepare(test, settings_for(test, config), store=Store(), reporter=reporter)
    frozen = frozen_of(ground, config)
    prepared, tested = (encode(frozen, part, config, reporter) for part in (prepared, tested))
    truth, odd = _truth(test, data.targets)
    for what, table_prepared in (("train", prepared), ("test", tested)):
        notes += [
            f"{what}, counted as missing: {line}" for line in table_prepared.quarantine.summary()
        ]
        notes += [f"{what} has no column '{name}'" for name in table_prepared.absent]
    row = _complete(tested, plan)
    return Ready(
        config=config,
        schema=data.schema,
        features=features,
        plan=plan,
        targets=data.targets,
        train=data.train,
        validation=data.validation,
        columns=prepared.columns,
        test=tested.columns,
        encoded=data.encoded,
        truth=truth,
        row=row,
        cells=_cells(test, row, features, config),
        notes=[*data.notes, *notes, *odd],
    )


def _truth(test: Table, targets: list[Target]) -> tuple[Truth, list[str]]:
    """The test table's answers to the first target, and how many of them no run can know."""
    first = targets[0]
    values, present, problems = first.encode(test.cells(first.name))
    if not present.any():
        raise TableError(
            f"{test.name} has no row with a known answer in '{first.name}': nothing can be compared."
        )
    notes = [
        f"test: {counted(len(problems))} left out, the first of them row "
        f"{problems[0].row}: {problems[0].reason}"
        for _ in problems[:1]
    ]
    return {first.name: (values, present)}, notes


def _complete(tested: PreparedTable, plan: Blueprint) -> int:
    """The first test row that has the most streams."""
    rows = min(ROWS_TRIED, len(next(iter(tested.columns.values()))))
    streams = [
        np.any([tested.columns[name].rows_present[:rows] for name in columns], axis=0)
        for columns in plan.streams.values()
    ]
    return int(np.sum(streams, axis=0).argmax())


def _cells(test: Table, row: int, features: Features, config: Config) -> golden.Row | None:
    """The row's cells, media included; None where they are too large to keep."""
    media = [name for name, kind in features.modalities.items() if registry.get(kind).media]
    there = [name for name in features.modalities if name in test.columns]
    opener = settings_for(test, config).media
    rows_chosen = golden.choose(test, [row], [n for n in media if n in there], there, opener)
    return golden.Row(rows_chosen[0][1], {}) if rows_chosen else None


class _Writer:
    """Writes arrays beside each other, and keeps a hash of all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.hash = hashlib.blake2b(digest_size=16)

    def put(self, array: np.ndarray) -> dict[str, Any]:
        """Write an array; returns what `_get` needs."""
        path = self.folder / f"{self.count}.bin"
        self.count += 1
        plain = np.ascontiguousarray(array)
        entry = {"file": path.name, "dtype": plain.dtype.str, "shape": list(plain.shape)}
        self.hash.update(json.dumps([entry["dtype"], entry["shape"]]).encode())
        if plain.size:
            self.hash.update(plain.reshape(-1).view(np.uint8).data)
        if not _linked(array, path):
            plain.tofile(path)
        return entry

    def column(self, column: PreparedColumn) -> dict[str, Any]:
        """Write a prepared column."""
        parts = {"offsets": column.offsets, "index": column.index}
        entry = {name: self.put(part) for name, part in parts.items() if part is not None}
        entry |= {"values": self.put(column.values), "present": self.put(column.present)}
        return entry | {"views": column.views}


def _linked(array: np.ndarray, path: Path) -> bool:
    """Whether a whole memory-mapped file could be linked instead of copied."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return False
    source = Path(array.filename)
    try:
        if array.offset or source.stat().st_size != array.nbytes:
            return False
        os.link(source, path)
    except OSError:  # another file system, or one without links
        return False
    return True


def _get(folder: Path, entry: dict[str, Any]) -> np.ndarray:
    shape, kind = tuple(entry["shape"]), np.dtype(entry["dtype"])
    if 0 in shape:
        return np.zeros(shape, kind)
    return np.memmap(folder / entry["file"], kind, "r", shape=shape)


def _get_column(folder: Path, entry: dict[str, Any]) -> PreparedColumn:
    arrays = {name: _get(folder, part) for name, part in entry.items() if name != "views"}
    # Small arrays that are indexed at every batch are quicker in memory.
    offsets, index = (
        np.array(arrays[name]) if name in arrays else None for name in ("offsets", "index")
    )
    return PreparedColumn(
        arrays["values"], offsets, np.array(arrays["present"]), index, views=entry["views"]
    )


def save(ready: Ready, folder: Path) -> str:
    """Write a prepared table to ``folder/prepared``, whole or not at all; returns its fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FOLDER}-{uuid4().hex}"
    try:
        draft.mkdir()
        writer = _Writer(draft)
        index = _told(ready, writer)
        text = json.dumps(index, sort_keys=True)
        writer.hash.update(text.encode())
        index["fingerprint"] = writer.hash.hexdigest()
        (draft / "ready.json").write_text(json.dumps(index), encoding="utf-8")
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        draft.rename(folder / FOLDER)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error_line(error)}. Free some space there, or name "
            "another folder with out=... (--out)."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return str(index["fingerprint"])


def _told(ready: Ready, writer: _Writer) -> dict[str, Any]:
    return {
        "config": ready.config.model_dump(mode="json"),
        "schema": ready.schema.to_json(),
        "features": ready.features.to_json(),
        "plan": ready.plan.to_json(),
        "targets": [target.to_json() for target in ready.targets],
        "rows": [writer.put(ready.train), writer.put(ready.validation)],
        "columns": {name: writer.column(column) for name, column in ready.columns.items()},
        "test": {name: writer.column(column) for name, column in ready.test.items()},
        "encoded": {name: [writer.put(part) for part in v] for name, v in ready.encoded.items()},
        "truth": {name: [writer.put(part) for part in v] for name, v in ready.truth.items()},
        "row": ready.row,
        "cells": golden.to_json([ready.cells] if ready.cells else []),
    }


def load(folder: Path) -> Ready:
    """What `save` wrote."""
    place = folder / FOLDER
    index = json.loads((place / "ready.json").read_text(encoding="utf-8"))

    def pairs(name: str) -> Truth:
        truths = {}
        for target, (values, present) in index[name].items():
            truths[target] = (np.array(_get(place, values)), np.array(_get(place, present)))
        return truths

    train, validation = (np.array(_get(place, part)) for part in index["rows"])
    cells = golden.from_json(index["cells"])
    return Ready(
        config=Config(**index["config"]),
        schema=Schema.from_json(index["schema"]),
        features=Features.from_json(index["features"]),
        plan=Blueprint.from_json(index["plan"]),
        targets=[read_target(part) for part in index["targets"]],
        train=train,
        validation=validation,
        columns={name: _get_column(place, part) for name, part in index["columns"].items()},
        test={name: _get_column(place, part) for name, part in index["test"].items()},
        encoded=pairs("encoded"),
        truth=pairs("truth"),
        row=index["row"],
        cells=cells[0] if cells else None,
        fingerprint=index["fingerprint"],
    )
