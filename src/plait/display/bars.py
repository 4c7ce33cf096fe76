"""Progress bars with rate and time left, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

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

from plait.display.progress import Stage

MANY = 500
"""Units from which on the rate of the last half minute predicts the time left."""


class _Rate(ProgressColumn):
    """Units per second, recently."""

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
        shown = "  ".join(f"{name} {value:z.3f}" for name, value in metrics.items())
        if shown:
            self.bar.update(self.task, advance=amount, shown=shown)
        else:
            self.bar.update(self.task, advance=amount)


class Bars:
    """Progress bars and notes on a console, by default standard error."""

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
