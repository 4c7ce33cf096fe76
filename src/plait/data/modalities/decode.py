"""Decode many cells at once in threads, and give up on a cell that takes too long.

The codecs release the GIL, so threads are enough; but two that hand it to and fro for cells of a tenth
of a millisecond take longer than one (docs/lab-notes.md), so one begins, and the others help where it
turns out to be slow. Workers are daemon threads that claim the next cell
from a counter: the cost a cell is about a microsecond, and a codec that hangs can be left behind
without keeping the process from ending.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic
from typing import TypeVar

from plait.data.media import label
from plait.data.modalities.base import is_missing
from plait.errors import CellError, error_line, shortened

T = TypeVar("T")

TRIAL_SECONDS = 0.02
"""Seconds that one thread decodes alone before others help it."""

MAX_CELLS_IN_PLACE = 256
"""Light cells that are decoded without any other thread."""

FAST_CELL_SECONDS = 0.0005
"""Seconds a cell up to which it goes on alone."""

_ADDRESS = re.compile(r"\s*<[^<>]* object at 0x[0-9a-fA-F]+>")
_PATH = re.compile(r"(?:[A-Za-z]:)?[/\\][\w.\-]+(?:[/\\][\w.\-]+)+")


def decode_all(
    decode: Callable[[object], T],
    cells: Sequence[object],
    threads: int,
    seconds: float,
    is_light: Callable[[object], bool] | None = None,
) -> list[T | CellError | None]:
    """Decode cells in order, several at a time.

    Args:
        decode: turns one cell into a value; called from several threads at once.
        cells: the cells of one column.
        threads: how many cells to decode at once, at most.
        seconds: give up on a cell after this long; its thread is abandoned, the others go on.
        is_light: whether a cell is sure to take no time worth watching. A few that all are get decoded
            where the caller is: handing one to another thread and back takes several times as long.

    Returns:
        One entry a cell: its value, None where the cell is missing, or why it cannot be read.
    """
    results: list[T | CellError | None] = [None] * len(cells)
    wanted = [index for index, cell in enumerate(cells) if not is_missing(cell)]
    if not wanted:
        return results
    if (
        is_light is not None
        and len(wanted) <= MAX_CELLS_IN_PLACE
        and all(is_light(cells[i]) for i in wanted)
    ):
        for index in wanted:
            results[index] = _attempt(decode, cells[index])
        return results
    if len(wanted) == 1:
        results[wanted[0]] = _decode_one(decode, cells[wanted[0]], seconds)
        return results
    claims = iter(wanted)
    finished = Event()
    crew = _Crew(decode, cells, results, claims, finished, seconds)
    try:
        crew.start(1)
        if threads > 1 and not finished.wait(TRIAL_SECONDS) and crew.is_slow(TRIAL_SECONDS):
            crew.start(min(threads, len(wanted)) - 1)
        while not finished.wait(crew.patience()):
            crew.abandon_late()
    finally:
        crew.stopped = True
    if crew.fatal is not None:
        raise crew.fatal
    return results


def _attempt(decode: Callable[[object], T], cell: object) -> T | CellError:
    """A cell's value, or why it cannot be read."""
    try:
        return decode(cell)
    except Exception as error:  # codecs raise anything on hostile bytes
        return CellError(named(cell, reason_of(error)))


class _Kept:
    """A thread that waits for single cells: starting one for each would take longer than most do."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Single | None] = SimpleQueue()
        Thread(target=self._work, name="plait-decode-kept", daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job.run()


class _Single:
    """One cell to decode, and what came of it."""

    __slots__ = ("cell", "decode", "done", "fatal", "result")

    def __init__(self, decode: Callable[[object], object], cell: object) -> None:
        self.decode = decode
        self.cell = cell
        self.result: object = None
        self.fatal: BaseException | None = None
        self.done = Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self.result = _attempt(self.decode, self.cell)
        except BaseException as error:
            self.fatal = error
        self.done.release()


_idle: deque[_Kept] = deque()
"""Kept threads without work: as many as there ever were callers at one time."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of its parent's threads


def _decode_one(decode: Callable[[object], T], cell: object, seconds: float) -> T | CellError:
    """`decode_all` for one cell, on a thread that is kept."""
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Kept()
    job = _Single(decode, cell)
    worker.jobs.put(job)
    finished = False
    try:
        finished = job.done.acquire(timeout=seconds)
    finally:
        if finished:
            _idle.append(worker)
        else:
            worker.jobs.put(None)  # left behind, to end with what it is at
    if job.fatal is not None:
        raise job.fatal
    return job.result if finished else _late(cell, seconds)  # type: ignore[return-value]


def _late(cell: object, seconds: float) -> CellError:
    reason = f"took longer than {seconds:g} s to decode (max_decode_seconds)"
    return CellError(named(cell, reason))


class _Worker:
    """What one thread is at: the cell it decodes, and since when."""

    __slots__ = ("abandoned", "index", "since")

    def __init__(self) -> None:
        self.index = -1
        self.since = 0.0
        self.abandoned = False


class _Crew:
    """The threads of one `decode_all`, and who of them is late."""

    def __init__(
        self,
        decode: Callable[[object], T],
        cells: Sequence[object],
        results: list[T | CellError | None],
        claims: Iterator[int],
        finished: Event,
        seconds: float,
    ) -> None:
        self.decode = decode
        self.cells = cells
        self.results: list[object] = results  # type: ignore[assignment]
        self.claims = claims
        self.finished = finished
        self.seconds = seconds
        self.stopped = False
        self.fatal: BaseException | None = None
        self.lock = Lock()
        self.workers: list[_Worker] = []
        self.serial = count()
        self.claimed = 0

    def start(self, threads: int) -> None:
        """Set more threads to work."""
        fresh = [_Worker() for _ in range(threads)]
        self.workers += fresh
        for worker in fresh:
            name = f"plait-decode-{next(self.serial)}"
            Thread(target=self._work, args=(worker,), name=name, daemon=True).start()

    def is_slow(self, spent: float) -> bool:
        """Whether more threads would pay, after so many seconds of one."""
        return spent > FAST_CELL_SECONDS * self.claimed

    def patience(self) -> float:
        """Seconds until the oldest cell in work would be late."""
        now = monotonic()
        with self.lock:
            begun = [worker.since for worker in self.workers if worker.index >= 0]
        return max(min(begun, default=now) + self.seconds - now, 0.0) + 0.01

    def abandon_late(self) -> None:
        """Give up on cells that take too long, and replace their threads."""
        now = monotonic()
        with self.lock:
            late = [w for w in self.workers if w.index >= 0 and now - w.since > self.seconds]
            for worker in late:
                worker.abandoned = True
                self.results[worker.index] = _late(self.cells[worker.index], self.seconds)
                self.workers.remove(worker)
        if late:
            self.start(len(late))

    def _work(self, worker: _Worker) -> None:
        decode, cells, results, claims = self.decode, self.cells, self.results, self.claims
        try:
            while not (self.stopped or worker.abandoned):
                with self.lock:
                    index = next(claims, -1)
                    self.claimed += 1
                    worker.since = monotonic()
                    worker.index = index
                if index < 0:
                    break
                result = _attempt(decode, cells[index])
                if not worker.abandoned:
                    results[index] = result
        except BaseException as error:
            self.fatal = error
        self._leave(worker)

    def _leave(self, worker: _Worker) -> None:
        with self.lock:
            if not worker.abandoned:
                self.workers.remove(worker)
                if not self.workers:
                    self.finished.set()


def named(cell: object, reason: str) -> str:
    """A reason that begins with the cell's path, where it has one."""
    name = label(cell)
    return f"{name}: {reason}" if name and not reason.startswith(name) else reason


def reason_of(error: Exception) -> str:
    """An exception in a short sentence: no trace, no address, no folder of this machine."""
    if isinstance(error, CellError):
        return str(error)
    if isinstance(error, MemoryError):
        return "needs more memory to decode than there is"
    words = _PATH.sub("…", _ADDRESS.sub("", error_line(error, 1000))).strip(" .")
    return f"cannot be decoded ({shortened(words, 100) or type(error).__name__})"
