"""Showing what is going on: bars with rate and time left, on standard error, or nothing at all."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

MANY = 500
"""Units from which on half a minute's work says how long the rest will take."""


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


class _Rate(ProgressColumn):
    """Units a second over the last while."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        if speed is None:
            return Text("")
        text = f"{speed:,.0f} {unit}/s" if speed >= 1 else f"{60 * speed:.1f} {unit}/min"
        return Text(text, style="cyan")


class _BarStage:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self.bar = bar
        self.task = task

    def advance(self, amount: int = 1, **metrics: float) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        if shown:
            self.bar.update(self.task, advance=amount, shown=shown)
        else:
            self.bar.update(self.task, advance=amount)


class Bars:
    """Progress bars and notes on a console, standard error unless told otherwise."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """A bar with the count, the rate, the time left and live metrics."""
        # Eighty columns hold what matters most; wider terminals show the count and a longer bar too.
        wide = self.console.width >= 110
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}"),
            BarColumn(20 if wide else 8),
        ]
        columns += [MofNCompleteColumn()] if wide else [TaskProgressColumn()]
        columns += [_Rate(), TimeRemainingColumn(compact=True)]
        shown = Column(no_wrap=True, overflow="ellipsis")
        columns.append(TextColumn("{task.fields[shown]}", style="green", table_column=shown))
        # Rate and time left look back half a minute, or over all of it where one unit takes longer.
        back = 30.0 if total > MANY else float("inf")
        bar = Progress(*columns, console=self.console, speed_estimate_period=back)
        with bar:
            yield _BarStage(bar, bar.add_task(title, total=total, unit=unit, shown=""))

    def note(self, text: str) -> None:
        """Print the note."""
        self.console.print(text, highlight=False, markup=False)


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


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Metrics on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
