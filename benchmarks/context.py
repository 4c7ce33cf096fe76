"""What every measurement is handed: data, seeds, a place to write, and a voice."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import Finder
from benchmarks.runs import Runs


@dataclass(frozen=True)
class Bench:
    """One call of the benchmarks.

    Attributes:
        work: an empty folder that is deleted at the end.
        quick: subsets and few repeats, to try the benchmarks themselves; no figure is worth keeping.
        say: shows progress, on standard error.
        runs: does accuracy runs in processes of their own, and remembers them.
    """

    data: Finder
    runs: Runs
    work: Path
    seeds: int
    quick: bool
    say: Callable[[str], None]

    def few(self, many: int, few: int) -> int:
        """``many`` repeats, or ``few`` when quick."""
        return few if self.quick else many
