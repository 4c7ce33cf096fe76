"""Answers with a promise: for every row a set of classes, or an interval, that holds the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from plait.answers.plain import plain
from plait.data.table.source import Table
from plait.data.targets.target import Target
from plait.display.notebook import block, grid
from plait.display.progress import Reporter
from plait.errors import ConfigError, TableError, unknown
from plait.insight.explain.conformal import ABSOLUTE, METHODS, covered, members, threshold, wilson
from plait.insight.fitted import Fitted

Truth = tuple[np.ndarray, Bool[np.ndarray, " rows"]]
"""Encoded answers, and which are known."""


@dataclass(frozen=True)
class TargetSets:
    """One target's sets or intervals, a row each.

    Attributes:
        method: of `plait.insight.explain.conformal`.
        limit: the score up to which an answer is kept.
        held_out: validation rows the limit comes from.
        sets: the classes each row's set holds, likeliest first; None for a number.
        low, high: the ends of each row's interval; None for classes.
        measured: the share of rows whose answer is in the set, its 95 % interval (Wilson), and how many
            rows had an answer; None where the table has none.
    """

    method: str
    limit: float
    held_out: int
    sets: list[list[Any]] | None = None
    low: Float[np.ndarray, " rows"] | None = None
    high: Float[np.ndarray, " rows"] | None = None
    measured: tuple[float, tuple[float, float], int] | None = None

    @property
    def size(self) -> float:
        """The mean number of classes in a set, or the mean width of an interval; NaN without rows."""
        if self.sets is not None:
            sizes = [float(len(labels)) for labels in self.sets]
            return float(np.mean(sizes)) if sizes else float("nan")
        assert self.low is not None and self.high is not None
        return float((self.high - self.low).mean()) if len(self.low) else float("nan")


@dataclass(frozen=True)
class PredictionSets:
    """For every row, what holds its true answer with probability ``coverage``.

    Attributes:
        coverage: as asked.
        targets: target → its sets.
        notes: what a reader must know.
    """

    coverage: float
    targets: dict[str, TargetSets]
    notes: list[str] = field(default_factory=list)

    def to_columns(self) -> dict[str, Sequence[Any]]:
        """Columns for a file: the set, or the ends of the interval."""
        columns: dict[str, Sequence[Any]] = {}
        for name, sets in self.targets.items():
            if sets.sets is not None:
                columns[f"{name}_set"] = sets.sets
            elif sets.low is not None and sets.high is not None:
                columns[f"{name}_low"] = sets.low.tolist()
                columns[f"{name}_high"] = sets.high.tolist()
        return columns

    def _repr_html_(self) -> str:
        """How large the sets are and how often they held, for a notebook."""
        rows = []
        for name, sets in self.targets.items():
            hit, (low, high), known = sets.measured or (None, (None, None), 0)
            rows.append([name, sets.method, sets.size, hit, low, high, known])
        head = [
            "target",
            "method",
            "mean size",
            "measured coverage",
            "95 % from",
            "to",
            "rows known",
        ]
        title = f"Prediction sets with coverage {self.coverage:.0%}"
        return block(title, grid(head, rows), notes=self.notes)

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        targets = {name: {**vars(sets), "size": sets.size} for name, sets in self.targets.items()}
        return dict(plain({**vars(self), "targets": targets}))


class _Limit(NamedTuple):
    """Where one target's sets end: the method, the score up to which answers are kept, its rows."""

    method: str
    score: float
    held_out: int


def predict_set(
    fitted: Fitted,
    table: Table,
    *,
    coverage: float = 0.9,
    method: str | None = None,
    empty: bool = False,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> PredictionSets:
    """`plait.Predictor.predict_set`, which says what it takes and gives."""
    asked = _asked(fitted, method)
    limits = {target.name: _limit(fitted, target, method, coverage) for target in asked}
    answers = fitted.answer(table, reporter=reporter)
    sets = {}
    for target in asked:
        truth = None
        if target.name in table.columns:
            truth = target.encode(table.cells(target.name))[:2]
        limit, scores = limits[target.name], answers.scores[target.name]
        if limit.method == ABSOLUTE:
            sets[target.name] = _intervals(target, scores, limit, truth)
        else:
            kept = members(limit.method, scores, limit.score, seed=seed, empty=empty)
            sets[target.name] = _sets(target, scores, kept, limit, truth)
    left = [target for target in fitted.targets if target not in asked]
    notes = [
        f"'{unserved.name}' is {unserved.noun} and gets no prediction set" for unserved in left
    ]
    return PredictionSets(coverage, sets, answers.notes() + notes)


def _asked(fitted: Fitted, method: str | None) -> list[Target]:
    """The targets that get sets, after checking that there are some and that they can have them."""
    if method is not None and method not in METHODS:
        raise ConfigError([f"method: {unknown('method', method, METHODS)}"])
    asked = [target for target in fitted.targets if target.conformal]
    if not asked:
        first = fitted.targets[0]
        other = "; predict_proba gives each label's probability" if first.classes else ""
        raise TableError(
            f"'{first.name}' is {first.noun}, for which there are no prediction sets{other}."
        )
    lacking = [target.name for target in asked if target.name not in fitted.held.conformal]
    if lacking:
        raise TableError(
            f"this model keeps no validation scores of {', '.join(map(repr, lacking))}, which "
            "prediction sets need: it was saved by an older plait, or had no labelled validation row. "
            "Fit it again."
        )
    return asked


def _limit(fitted: Fitted, target: Target, method: str | None, coverage: float) -> _Limit:
    """By the method asked for, where the target's kind knows it, else by the kind's default."""
    which = method if method in target.conformal else target.conformal[0]
    scores = fitted.held.conformal[target.name][which]
    return _Limit(which, threshold(scores, coverage, target.name), len(scores))


def _intervals(
    target: Target, answers: Float[np.ndarray, " rows"], limit: _Limit, truth: Truth | None
) -> TargetSets:
    low, high, inside = answers - limit.score, answers + limit.score, None
    if truth is not None:
        value = target.in_units(truth[0])
        inside = (value >= low) & (value <= high)
    return TargetSets(*limit, low=low, high=high, measured=_measured(inside, truth))


def _sets(
    target: Target,
    scores: Float[np.ndarray, "rows classes"],
    kept: Bool[np.ndarray, "rows classes"],
    limit: _Limit,
    truth: Truth | None,
) -> TargetSets:
    order = np.argsort(-scores, axis=1, kind="stable")
    sets = [
        target.natural(places[which[places]].tolist())
        for places, which in zip(order, kept, strict=True)
    ]
    inside = covered(kept, truth[0]) if truth is not None else None
    return TargetSets(*limit, sets=sets, measured=_measured(inside, truth))


def _measured(
    inside: Bool[np.ndarray, " rows"] | None, truth: Truth | None
) -> tuple[float, tuple[float, float], int] | None:
    """Share, interval and rows; None where no answer is known."""
    if inside is None or truth is None or not truth[1].any():
        return None
    known = inside[truth[1]]
    hits, rows = int(known.sum()), len(known)
    return hits / rows, wilson(hits, rows), rows
