"""Who is told what is going on, and one who says nothing. `plait.bars` shows it."""

from collections.abc import Iterator, Mapping
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


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Metrics on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
