"""Rows in, scores out, many requests at a time.

A request's cells are decoded on a thread of its own, so a file that is slow to decode delays nobody
else. What is decoded waits a few milliseconds for other requests and is answered with them, in one run
of the graphs. Cells that are sure to be decoded in no time
(`plait.data.modalities.base.Modality.is_light`) spare the thread: they are decoded together with those
of other requests, just before that run.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Literal, TypeVar

import numpy as np

from plait.data.features import PreparedTable
from plait.data.modalities import registry
from plait.data.modalities.decode import MAX_CELLS_IN_PLACE
from plait.data.store import PreparedColumn
from plait.data.table.quarantine import Entry
from plait.insight.explain.shapley import Game
from plait.runtime import Runtime
from plait.serve.cells import Cells
from plait.serve.metrics import Metrics
from plait.serve.options import Options

Kind = Literal["predict", "embed", "explain"]
T = TypeVar("T")

SLOW_SECONDS = 0.25
"""Seconds after which a request that is being decoded gives its place to those that are quick."""


@dataclass(frozen=True)
class Result:
    """What came of some rows.

    Attributes:
        scores: target → scores ``[rows, outputs]``; of an explanation ``[subsets, rows, outputs]``.
        vectors: the fused vectors, where they were asked for.
        streams: those of an explanation, in the order of its subsets.
        unreadable: cells that were unreadable and counted as missing.
        absent: columns that no row has.
    """

    scores: Mapping[str, np.ndarray]
    vectors: np.ndarray | None
    streams: tuple[str, ...]
    unreadable: list[Entry]
    absent: list[str]


@dataclass(eq=False)
class Job:
    """Some rows of one request; of a light one the cells are decoded with those of others."""

    runtime: Runtime
    kind: Kind
    cells: Cells
    rows: int
    streams: tuple[str, ...] | None
    future: "asyncio.Future[Result]"
    loop: asyncio.AbstractEventLoop
    light: bool = False
    cancelled: bool = False
    columns: dict[str, PreparedColumn] = field(default_factory=dict)
    unreadable: list[Entry] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def alike(self, other: "Job") -> bool:
        """Whether both can be answered in one run."""
        return (
            self.runtime is other.runtime
            and self.kind == other.kind
            and self.streams == other.streams
            and self.light == other.light
        )


class Engine:
    """The threads that decode and answer. `start` it inside a running event loop; `stop` it after."""

    def __init__(self, options: Options, metrics: Metrics) -> None:
        self.options = options
        self.metrics = metrics
        self.decoding = 0
        # Decoding and the parsing of large bodies share it: both keep a core busy.
        self._lane = asyncio.Semaphore(options.decoders)
        # More threads than the lane has places: a slow cell gives its place back and keeps its thread.
        self._threads = ThreadPoolExecutor(options.queue + options.decoders, "plait-serve-decode")
        self._ready: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._workers = [
            threading.Thread(target=self._work, name=f"plait-serve-answer-{index}", daemon=True)
            for index in range(options.workers)
        ]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End every thread; jobs that were not answered stay so."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join(timeout=5)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work that takes a while, away from the event loop, in the lane of the decoders."""
        await self._lane.acquire()
        loop = asyncio.get_running_loop()
        # The timer and the finally below both give the place back; only the first may count.
        held = [True]

        def give_back() -> None:
            if held:
                held.clear()
                self._lane.release()

        timer = loop.call_later(SLOW_SECONDS, give_back)
        try:
            return await loop.run_in_executor(self._threads, work, *arguments)
        finally:
            timer.cancel()
            give_back()

    async def answer(
        self,
        runtime: Runtime,
        kind: Kind,
        cells: Cells,
        rows: int,
        streams: tuple[str, ...] | None = None,
    ) -> Result:
        """Some rows' scores. Cancelling it drops them wherever they wait."""
        loop = asyncio.get_running_loop()
        # A thread per request cost more than decoding such cells (lab notes, "small cells").
        light = rows <= MAX_CELLS_IN_PLACE and is_light(runtime, cells)
        job = Job(runtime, kind, cells, rows, streams, loop.create_future(), loop, light)
        try:
            if not light:
                await self._decoded(job)
            with self._changed:
                self._ready.append(job)
                self._changed.notify()
            return await job.future
        except asyncio.CancelledError:
            job.cancelled = True
            raise

    async def _decoded(self, job: Job) -> None:
        # Read by the workers without a lock: a stale value only changes how long a batch waits.
        self.decoding += 1
        began = monotonic()
        try:
            await self.aside(self._decode, job)
        finally:
            self.decoding -= 1
        self.metrics.decode_seconds.observe(monotonic() - began)

    @staticmethod
    def _decode(job: Job) -> None:
        # The client may have left while this waited for a thread.
        if job.cancelled:
            return
        prepared: PreparedTable = job.runtime.prepare(job.cells, job.rows)
        job.columns, job.absent = prepared.columns, prepared.absent
        job.unreadable = prepared.quarantine.entries
        # Frees the raw bytes now: decoded values are all that a job in the queue may hold.
        job.cells = {}

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._answer(batch)

    def _take(self) -> list[Job] | None:
        """Jobs to answer in one run; None when it is time to end."""
        with self._changed:
            while not self._ready:
                if self._stopped:
                    return None
                self._changed.wait()
            # Waits only while something is being decoded: an idle server answers a row at once.
            until = monotonic() + self.options.wait_ms / 1000
            while self.decoding and sum(job.rows for job in self._ready) < self.options.batch:
                left = until - monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if not self._ready:  # another worker took them
                return []
            first, batch, rows = self._ready[0], list[Job](), 0
            # Jobs of other models keep their order; the oldest of them leads the next batch.
            for job in list(self._ready):
                if job.cancelled:
                    self._ready.remove(job)
                elif job.alike(first) and (not batch or rows + job.rows <= self.options.batch):
                    self._ready.remove(job)
                    batch.append(job)
                    rows += job.rows
            return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        self.metrics.batch_rows.observe(sum(job.rows for job in batch))
        outcomes: list[tuple[Job, Result | Exception]] = []
        try:
            outcomes = list(zip(batch, run_jobs(batch), strict=True))
        except Exception as error:
            if len(batch) > 1:  # one of them may be to blame, and the others are not
                for job in batch:
                    self._answer([job])
                return
            outcomes = [(batch[0], error)]
        # One wake-up of the event loop per batch; futures are not thread-safe.
        batch[0].loop.call_soon_threadsafe(_deliver, outcomes)


def _deliver(outcomes: Sequence[tuple[Job, Result | Exception]]) -> None:
    for job, result in outcomes:
        if job.future.done():  # its client has left
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def run_jobs(batch: Sequence[Job]) -> list[Result]:
    """Answer jobs that are alike in one run of the graphs."""
    first = batch[0]
    counts = [job.rows for job in batch]
    columns = together(batch) if first.light else joined([job.columns for job in batch], counts)
    graphs, rows = first.runtime.graphs, sum(counts)
    scores: dict[str, np.ndarray] = {}
    vectors, streams, axis = None, tuple[str, ...](), 0
    if first.kind == "embed":
        vectors = graphs.vectors(columns, rows, first.streams)
    elif first.kind == "explain":
        streams = tuple(
            stream.name
            for stream in graphs.streams
            if first.streams is None or stream.name in first.streams
        )
        subsets = [
            [name for name, seen in zip(streams, subset, strict=True) if seen]
            for subset in Game(len(streams)).subsets
        ]
        answers = graphs.subsets(columns, rows, subsets)
        scores = {name: np.stack([answer[name] for answer in answers]) for name in graphs.targets}
        axis = 1
    else:
        scores = graphs.run(columns, rows, first.streams)
    ends = np.cumsum(counts)[:-1]
    split = {name: np.split(values, ends, axis=axis) for name, values in scores.items()}
    rows_of = None if vectors is None else np.split(vectors, ends)
    return [
        Result(
            {name: parts[index] for name, parts in split.items()},
            None if rows_of is None else rows_of[index],
            streams,
            job.unreadable,
            job.absent,
        )
        for index, job in enumerate(batch)
    ]


def is_light(runtime: Runtime, cells: Cells) -> bool:
    """Whether all cells of some rows are sure to be decoded in no time."""
    modalities = runtime.features.modalities
    return all(
        cell is None or registry.get(modalities[name]).is_light(cell)
        for name, column in cells.items()
        for cell in column
    )


def together(batch: Sequence[Job]) -> dict[str, PreparedColumn]:
    """Decode the cells of light jobs of one model; each job is told which of its own are unreadable."""
    names = dict.fromkeys(name for job in batch for name in job.cells)
    rows = sum(job.rows for job in batch)
    cells = {
        name: [cell for job in batch for cell in job.cells.get(name, [None] * job.rows)]
        for name in names
    }
    prepared = batch[0].runtime.prepare(cells, rows)
    start = 0
    for job in batch:
        own = range(start, start + job.rows)
        job.unreadable = [
            replace(entry, row=entry.row - start)
            for entry in prepared.quarantine.entries
            if entry.row in own
        ]
        job.absent = [name for name in job.runtime.features.modalities if name not in job.cells]
        start += job.rows
    return prepared.columns


def joined(
    parts: Sequence[Mapping[str, PreparedColumn]], counts: Sequence[int]
) -> dict[str, PreparedColumn]:
    """Prepared columns of several requests as one; a column that none has stays left out.

    Args:
        counts: rows of each.
    """
    if len(parts) == 1:
        return dict(parts[0])
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _stacked([part.get(name) for part in parts], counts) for name in names}


def _stacked(parts: Sequence[PreparedColumn | None], counts: Sequence[int]) -> PreparedColumn:
    known = [part for part in parts if part is not None]
    ragged = known[0].offsets is not None
    values, lengths, present = [], [], []
    for part, rows in zip(parts, counts, strict=True):
        if part is None:
            # Absent in one request and present in another: its rows are padded as missing.
            shape = (0 if ragged else rows, *known[0].values.shape[1:])
            values.append(np.zeros(shape, known[0].values.dtype))
            present.append(np.zeros(rows, bool))
            lengths.append(np.zeros(rows, np.int64))
            continue
        values.append(part.values)
        present.append(part.present)
        if part.offsets is not None:
            lengths.append(np.diff(part.offsets))
    offsets = (
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        if ragged
        else None
    )
    return PreparedColumn(np.concatenate(values), offsets, np.concatenate(present))
