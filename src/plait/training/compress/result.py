"""What a smaller model costs and saves: size, latency and score of both, on the same rows."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.display.progress import Reporter
from plait.errors import CompressError, counted
from plait.predictor.predictor import Predictor
from plait.training.compress.narrow import learnt
from plait.training.dataset import Dataset

TIMED_ROWS = 30
"""Single rows answered by each model, in turn, for the latency."""


@dataclass(frozen=True)
class Figures:
    """One model's figures.

    Attributes:
        weights: learnt numbers.
        megabytes: of its weights as they are saved, a frozen encoder's own not counted.
        latency_ms: of one row from file bytes to answer, median.
        score: the mean over targets of their main metric.
        metrics: target → metric → value.
    """

    weights: int
    megabytes: float
    latency_ms: float
    score: float
    metrics: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return dict(vars(self))


@dataclass(frozen=True)
class Compressed:
    """A smaller model beside the one it was made from.

    Attributes:
        model: the smaller one.
        way: how it was made.
        rows: what both were measured on.
        before, after: their figures.
    """

    model: Predictor
    way: str
    rows: str
    before: Figures
    after: Figures

    @property
    def drop(self) -> float:
        """How far the score fell; below 0 where it rose."""
        return self.before.score - self.after.score

    def check(self, max_drop: float | None) -> None:
        """Refuse a drop beyond what is allowed.

        Raises:
            CompressError: saying both scores.
        """
        if max_drop is not None and not self.drop <= max_drop:
            raise CompressError(
                f"the score fell from {self.before.score:.4f} to {self.after.score:.4f} on {self.rows}, "
                f"by {self.drop:.4f}: more than max_drop={max_drop}. Nothing was saved. Ask for a "
                "larger share, train longer (epochs), or allow more."
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "way": self.way,
            "rows": self.rows,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "drop": self.drop,
        }


def measured(
    teacher: Predictor,
    student: Predictor,
    data: Dataset,
    test: Any,
    *,
    root: Path | str | None,
    way: str,
    reporter: Reporter,
) -> Compressed:
    """Both models' figures on the same rows."""
    if test is None:
        rows = f"the {counted(len(data.validation))} of {data.table.name} held out for validation"
        by_model = [_held_out(model, data) for model in (teacher, student)]
    else:
        evaluations = [model.evaluate(test, root=root, resamples=0) for model in (teacher, student)]
        rows = evaluations[0].source
        by_model = [
            {name: target.metrics for name, target in each.targets.items()} for each in evaluations
        ]
    with reporter.stage("time both", TIMED_ROWS, "rows") as stage:
        times = _latencies((teacher, student), data, stage.advance)
    before, after = (
        _figures(model, metrics, latency)
        for model, metrics, latency in zip((teacher, student), by_model, times, strict=True)
    )
    return Compressed(student, way, rows, before, after)


def _figures(model: Predictor, metrics: dict[str, dict[str, float]], latency: float) -> Figures:
    main = [metrics[t.name][t.primary] for t in model.targets if t.name in metrics]
    weights = learnt(model.model)
    score = float(np.mean(main)) if main else float("nan")
    return Figures(weights, weights * 4 / 1e6, latency, score, metrics)


def _held_out(model: Predictor, data: Dataset) -> dict[str, dict[str, float]]:
    table = data.table.take(data.validation)
    evaluation = model.evaluate(table, resamples=0)
    return {name: target.metrics for name, target in evaluation.targets.items()}


def _latencies(models: tuple[Predictor, Predictor], data: Dataset, tell: Any) -> list[float]:
    """Milliseconds a row, the models in turn, so that a busy moment meets both."""
    rows = [row.cells() for row in models[0].golden] or [{}]
    times: list[list[float]] = [[], []]
    for turn in range(TIMED_ROWS):
        cells = rows[turn % len(rows)]
        for place, model in enumerate(models):
            start = time.perf_counter()
            model.answer([cells])
            times[place].append(1000 * (time.perf_counter() - start))
        tell(1)
    return [statistics.median(each) for each in times]
