"""Progress reporters: the protocol, and one that shows nothing. `plait.display.bars` shows bars."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Stage(Protocol):
    """One stage of the work, of a known size."""

    def advance(self, amount: int = 1, **metrics: float) -> None:
        """Advance by ``amount`` units; ``metrics`` are shown beside the bar."""


@runtime_checkable
class Reporter(Protocol):
    """Receives progress and notes."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Begin a stage of ``total`` units."""

    def note(self, text: str) -> None:
        """Show one message."""


class _SilentStage:
    def advance(self, amount: int = 1, **metrics: float) -> None:
        return


class Silent:
    """Shows nothing; the default from Python."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """A stage that shows nothing."""
        yield _SilentStage()

    def note(self, text: str) -> None:
        """Drop the note."""


class Stopwatch:
    """Passes everything to another reporter, and keeps the time of each stage and the notes.

    Attributes:
        seconds: seconds per stage title; stages with the same title are added.
        notes: in order.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self._began = time.monotonic()

    @property
    def total(self) -> float:
        """Seconds since construction."""
        return time.monotonic() - self._began

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """The other reporter's stage, timed."""
        began = time.monotonic()
        try:
            with self.reporter.stage(title, total, unit) as stage:
                yield stage
        finally:
            self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - began

    def note(self, text: str) -> None:
        """Keep the note, and pass it on."""
        self.notes.append(text)
        self.reporter.note(text)


SHARE = "gradient/"
"""Prefix of a stream's name for its share of the gradient, among the scalars of an epoch."""
