"""What every model that answers has in common, a fitted one in torch and an exported one without it."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from plait.answers import golden
from plait.answers.abstain import withhold
from plait.answers.answers import Answers
from plait.answers.golden import TOLERANCE
from plait.config import Config
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.modalities.base import Problem
from plait.data.table.quarantine import Quarantine
from plait.data.table.source import Table
from plait.data.targets.scores import gap
from plait.data.targets.target import Target
from plait.display.progress import Reporter
from plait.errors import (
    BundleError,
    ConfigError,
    PlaitWarning,
    TableError,
    UnreadableCellsWarning,
    shortened,
    unknown,
)

ROWS = 1024
"""Rows answered at a time; memory stays flat however many there are."""


class PreparedBatch(NamedTuple):
    """A run of a table's rows: the number of the first, how many they are, their prepared columns."""

    start: int
    rows: int
    prepared: PreparedTable


@dataclass(frozen=True)
class Met:
    """What a pass over a table met: cells that were unreadable, columns that it lacks.

    Both counted as missing.
    """

    quarantine: Quarantine = field(default_factory=Quarantine)
    absent: list[str] = field(default_factory=list)

    def note(self, batch: PreparedBatch) -> None:
        """Add what a batch met, under the numbers of the table's rows."""
        for entry in batch.prepared.quarantine.entries:
            problem = Problem(entry.row, entry.reason)
            self.quarantine.add(entry.column, [problem], offset=batch.start)
        self.quarantine.shortened.update(batch.prepared.quarantine.shortened)
        self.absent[:] = batch.prepared.absent


class Answerer(ABC):
    """A model that answers tables: a row in, a row out.

    Attributes:
        targets: what is predicted.
        golden: rows with the answers they must give.
        tolerance: by how much they may differ.
    """

    targets: list[Target]
    golden: list[golden.Row]
    tolerance: float = TOLERANCE

    @abstractmethod
    def answer(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        streams: Sequence[str] | None = None,
        reporter: Reporter | None = None,
    ) -> Answers:
        """Answers with scores and with what went wrong on the way."""

    @property
    def classes_(self) -> list[Any]:
        """The classes in the order of `predict_proba`'s columns, for a single target."""
        target = self._only()
        return target.natural(range(len(target.classes)))

    def predict(
        self, source: Any, *, root: Path | str | None = None, abstain_below: float | None = None
    ) -> Any:
        """Answers for every row, in order; an array, or a dict of arrays with several targets.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder media paths are relative to; default: the table's own.
            abstain_below: answer None where the confidence is lower.

        Warns:
            UnreadableCellsWarning: cells were unreadable and counted as missing.
        """
        answers = _warned(withhold(self.answer(source, root=root), abstain_below))
        if len(self.targets) == 1:
            return answers.values[self.targets[0].name]
        return answers.values

    def predict_proba(self, source: Any, *, root: Path | str | None = None) -> Any:
        """Probabilities ``[rows, classes]``, in the order of `classes_`; a dict with several targets.

        Raises:
            TableError: no target has classes, whose probabilities these would be.
        """
        named = [target.name for target in self.targets if target.classes]
        if not named:
            first = self.targets[0]
            raise TableError(
                f"'{first.name}' is {first.noun} and has no probabilities; use predict."
            )
        answers = _warned(self.answer(source, root=root))
        if len(self.targets) == 1:
            return answers.scores[self.targets[0].name]
        return {name: answers.scores[name] for name in named}

    def verify(self) -> float:
        """Answer the golden rows again; returns the largest difference from the saved answers.

        Raises:
            BundleError: the difference is over `tolerance`; of numbers, in standard deviations.
        """
        worst = 0.0
        scales = {target.name: target.scale for target in self.targets}
        for row in self.golden:
            scores = self.answer([row.cells()]).scores
            for name, expected in row.scores.items():
                worst = max(worst, gap(scores[name][0], expected) / scales[name])
        if worst > self.tolerance:
            raise BundleError(
                f"the model's golden rows now give answers that differ by {worst:.2g} from the saved "
                f"ones, more than {self.tolerance}. The weights, plait or a library changed."
            )
        return worst

    def _only(self) -> Target:
        if len(self.targets) > 1:
            names = ", ".join(target.name for target in self.targets)
            raise TableError(f"the model has several targets ({names}); use .targets instead.")
        return self.targets[0]


def check_streams(streams: object, known: Collection[str]) -> list[str] | None:
    """The only streams to look at, as a list; None for all.

    Raises:
        ConfigError: they are no list of names, or the model has no stream of such a name.
    """
    if streams is None:
        return None
    names = list(streams) if isinstance(streams, Collection) else []
    # A text is a collection of texts too: its characters.
    if isinstance(streams, str) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError([f"streams: expected a list of names, got {shortened(repr(streams))}"])
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ConfigError([f"streams: {unknown('stream', name, known)}" for name in wrong])
    return names


def batches(
    table: Table, features: Features, config: Config, reporter: Reporter
) -> Iterator[PreparedBatch]:
    """The table's prepared columns, `ROWS` rows at a time.

    Raises:
        TableError: the table has none of the model's columns.
    """
    if not set(features.modalities) & set(table.columns):
        raise TableError(
            f"{table.name} has none of the model's input columns "
            f"({', '.join(features.modalities)}); it has {', '.join(table.columns)}. "
            "Rename its columns, or pass the right table."
        )
    settings = settings_for(table, config)
    with reporter.stage("predict", table.rows, "rows") as stage:
        for start in range(0, max(table.rows, 1), ROWS):
            part = table.slice(start, min(start + ROWS, table.rows))
            yield PreparedBatch(start, part.rows, features.prepare(part, settings))
            stage.advance(part.rows)


def _warned(answers: Answers) -> Answers:
    """The answers, after saying what must be known about them."""
    warn(answers.quarantine, answers.absent, level=4)
    return answers


def warn(quarantine: Quarantine, absent: Sequence[str], level: int = 3) -> None:
    """Warn the caller of a method of a model, so many calls up."""
    for name in absent:
        warnings.warn(
            f"the table has no column '{name}'; it counted as missing in every row",
            PlaitWarning,
            stacklevel=level,
        )
    if len(quarantine):
        lines = "\n  ".join(quarantine.summary())
        warnings.warn(
            f"unreadable cells counted as missing:\n  {lines}",
            UnreadableCellsWarning,
            stacklevel=level,
        )
