"""What every section of a report may look at: the model, some rows, and what was made of them once."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from plait.answers.answerer import PreparedBatch
from plait.answers.answers import Answers
from plait.answers.evaluation import ALL, Result, measure, subsets
from plait.data.features import PreparedTable, settings_for
from plait.data.store import PreparedColumn
from plait.data.table.source import Table
from plait.data.targets.target import Target
from plait.display.progress import Reporter, Silent
from plait.display.section import Language, metric_words, spoken
from plait.insight.explain.contributions import Contributions, contributions
from plait.insight.explain.curves import judged
from plait.insight.fitted import Fitted
from plait.insight.report.album import Album
from plait.model.infer import fused_vectors, infer


@dataclass(frozen=True)
class Limits:
    """How much a report looks at. What it looked at stands in the page.

    Attributes:
        rows: of the table, evenly spaced where it has more.
        degraded: of those, for the curves of degradation.
        levels: of degradation.
        checked: rows for the sanity checks of maps; 0 leaves them out.
        examples: rows whose maps are shown.
        steps: of the integrated gradients.
        resamples: of the bootstrap.
    """

    rows: int = 2000
    degraded: int = 200
    levels: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    checked: int = 24
    examples: int = 3
    steps: int = 16
    resamples: int = 200


BRIEF = Limits(
    rows=300, degraded=60, levels=(0.0, 0.5, 1.0), checked=8, examples=2, steps=6, resamples=100
)
"""For the report at the end of a fit, which must not make a fit slow."""


@dataclass
class Context:
    """A model, some rows of a table, and what was computed from them, each once.

    Attributes:
        model: the fitted model.
        table: the rows that are looked at.
        rows: their numbers in the user's table, counted from 0, ``[rows]``.
        total: how many rows that table has.
        language: of the page.
        limits: how much is looked at.
        seed: of everything drawn.
        run: the run's folder; None for a model in memory.
        train: the table the model was fitted to, where it is at hand.
        about: what the rows are, in a few words: the table's name, held out or not.
        held: whether these are the validation rows of the fit itself.
        reporter: is told how the work goes.
        given: the rows' prepared columns, where they are at hand already.
    """

    model: Fitted
    table: Table
    rows: Int64[np.ndarray, " rows"]
    total: int
    language: Language = "en"
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    run: Path | None = None
    train: Table | None = None
    about: str = ""
    held: bool = False
    reporter: Reporter = field(default_factory=Silent)
    given: PreparedTable | None = None

    def say(self, english: str, chinese: str) -> str:
        """The words of the page's language; they are plain text, escaped when they become markup."""
        return spoken(self.language, english, chinese)

    def metric(self, name: str) -> str:
        """A metric's name in words."""
        return metric_words(self.language, name)

    def __len__(self) -> int:
        return len(self.rows)

    def threads(self) -> AbstractContextManager[None]:
        """The threads that the model computes with."""
        return self.model.threads()

    @cached_property
    def album(self) -> Album:
        """Shows cells, and keeps the page small."""
        settings = settings_for(self.table, self.model.config)
        return Album(self.table, self.model.features, settings, language=self.language)

    @cached_property
    def prepared(self) -> PreparedTable:
        """The rows' columns as the model reads them, frozen encoders' tokens included."""
        if self.given is not None:
            return self.given
        settings = settings_for(self.table, self.model.config)
        cells = self.model.features.prepare(self.table, settings, reporter=self.reporter)
        return self.model.frozen.encode(cells)

    @cached_property
    def every(self) -> Int64[np.ndarray, " rows"]:
        """The places of all rows."""
        return np.arange(len(self.rows))

    @cached_property
    def truths(self) -> dict[str, tuple[np.ndarray, Bool[np.ndarray, " rows"]]]:
        """Target → encoded answers and which are known; for targets that the table has."""
        return {
            target.name: target.encode(self.table.cells(target.name))[:2]
            for target in self.model.targets
            if target.name in self.table.columns
        }

    @cached_property
    def judged(self) -> list[Target]:
        """The targets of which some row's true answer is known."""
        return judged(self.model, self.truths)

    @cached_property
    def by_subset(self) -> dict[str, dict[str, np.ndarray]]:
        """Subset (`plait.answers.evaluation.subsets`) → target → scores ``[rows, outputs]``."""
        asked = subsets(list(self.model.model.streams))
        with self.threads():
            return infer(self.model.model, self.prepared.columns, self.every, subsets=asked)

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """Target → probabilities, or standardised numbers, ``[rows, outputs]``, with all streams."""
        return self.by_subset[ALL]

    @cached_property
    def answers(self) -> Answers:
        """The answers in the user's terms."""
        return Answers.of(
            self.model.targets, self.scores, self.prepared.quarantine, self.prepared.absent
        )

    @cached_property
    def results(self) -> dict[str, Result]:
        """Target → its metrics; empty where no true answer is known."""
        encoded = {target.name: self.truths[target.name] for target in self.judged}
        return measure(
            self.judged,
            encoded,
            self.by_subset,
            seed=self.seed,
            resamples=self.limits.resamples,
        )

    @cached_property
    def contributions(self) -> Contributions:
        """What each stream adds, to every row's answer and to the metrics."""
        whole = PreparedBatch(0, len(self), self.prepared)
        return contributions(self.model, self.table, seed=self.seed, batches=[whole])

    @cached_property
    def vectors(self) -> Float[np.ndarray, "rows width"]:
        """The fused vector of every row."""
        with self.threads():
            return fused_vectors(self.model.model, self.prepared.columns, self.every)

    def named_row(self, place: int) -> str:
        """What to call a row: its number in the user's table."""
        return self.say(f"row {self.rows[place]}", f"第 {self.rows[place]} 行")

    def true_answer(self, target: Target, place: int) -> Any:
        """The cell with a row's true answer; None where it is not known."""
        if target.name not in self.truths or not self.truths[target.name][1][place]:
            return None
        return self.table.cells(target.name, np.array([place]))[0]


def some_rows(
    columns: Mapping[str, PreparedColumn], rows: Int64[np.ndarray, " some"]
) -> dict[str, PreparedColumn]:
    """Prepared columns of some of their rows, nothing copied."""
    return {
        name: replace(
            column, index=rows if column.index is None else column.index[rows], problems=[]
        )
        for name, column in columns.items()
    }
