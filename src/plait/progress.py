"""Who is told what is going on, and one who says nothing. `plait.display.bars` shows it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Stage(Protocol):
    """One piece of work with a known size."""

    def advance(self, amount: int = 1, **metrics: float) -> None:
        """So much more is done; ``metrics`` are shown beside the bar."""


@runtime_checkable
class Reporter(Protocol):
    """Who is told how the work goes."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Open a piece of work of ``total`` units."""

    def note(self, text: str) -> None:
        """Say one thing, once."""


class _SilentStage:
    def advance(self, amount: int = 1, **metrics: float) -> None:
        return


class Silent:
    """Says nothing; the default from Python."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """A stage that shows nothing."""
        yield _SilentStage()

    def note(self, text: str) -> None:
        """Drop the note."""


class Stopwatch:
    """Passes on what it is told, and keeps the time of each stage and the notes.

    Attributes:
        seconds: stage → how long it took; stages of one title together.
        notes: in order.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self._began = time.monotonic()

    @property
    def total(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """The other's stage, timed."""
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
"""Before a stream's name, where the shares stand among the scalars of an epoch."""
