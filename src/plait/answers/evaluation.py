"""How good answers are: metrics by target, with each stream alone and without each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from plait.answers.metrics import bootstrap
from plait.answers.plain import plain
from plait.data.targets.registry import KINDS
from plait.data.targets.target import Metrics, Target
from plait.display.notebook import block, grid
from plait.errors import counted, unknown

ALL = "all"


@dataclass(frozen=True)
class Result:
    """One target's metrics.

    Attributes:
        kind: of the target.
        rows: how many rows have this target.
        metrics: with every stream that a row has.
        intervals: 95 % bootstrap intervals of the same.
        alone: stream → metrics when only it is seen.
        without: stream → metrics when it is hidden.
        majority: metrics of always answering as the training rows do on average.
    """

    kind: str
    rows: int
    metrics: Metrics
    intervals: dict[str, tuple[float, float]]
    alone: dict[str, Metrics] = field(default_factory=dict)
    without: dict[str, Metrics] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """The name of the metric to look at first."""
        return KINDS[self.kind].primary


@dataclass(frozen=True)
class Evaluation:
    """Every target's result, and where the rows came from.

    Attributes:
        source: the table, and whether the model has seen it.
        seed: of the bootstrap.
        targets: name → result.
        notes: what a reader must know: absent columns, unreadable cells, unseen classes.
    """

    source: str
    rows: int
    seed: int
    targets: dict[str, Result]
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, metric: str) -> float:
        """A metric of the only target: ``evaluation["accuracy"]``."""
        if len(self.targets) != 1:
            raise KeyError(
                f"there are several targets ({', '.join(self.targets)}); use .targets[name]"
            )
        metrics = next(iter(self.targets.values())).metrics
        if metric not in metrics:
            raise KeyError(unknown("metric", metric, metrics))
        return metrics[metric]

    def _repr_html_(self) -> str:
        """Every target's metrics with intervals, for a notebook."""
        parts = []
        for name, result in self.targets.items():
            rows = [
                [metric, value, *result.intervals.get(metric, (None, None))]
                for metric, value in result.metrics.items()
            ]
            head = [f"{name} ({counted(result.rows)})", "value", "95 % from", "to"]
            parts.append(grid(head, rows))
        return block(
            f"Evaluation on {counted(self.rows)} of {self.source}", *parts, notes=self.notes
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        return dict(plain(asdict(self)))


def subsets(streams: Sequence[str]) -> dict[str, list[str] | None]:
    """Which streams to use: all, each alone, all but each."""
    chosen: dict[str, list[str] | None] = {ALL: None}
    if len(streams) > 1:
        chosen |= {f"alone {name}": [name] for name in streams}
        chosen |= {
            f"without {name}": [other for other in streams if other != name] for name in streams
        }
    return chosen


def measure(
    targets: Sequence[Target],
    encoded: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Result]:
    """Every target's metrics, over the rows that have it.

    Args:
        encoded: target → values and presence, ``[rows]``.
        scores: what `infer` gave for the same rows.
    """
    results = {}
    for target in targets:
        values, present = encoded[target.name]
        if not present.any():
            continue
        truth = target.in_units(values[present])
        by_subset = {
            name: target.in_units(target_scores[target.name][present])
            for name, target_scores in scores.items()
        }
        figures = {name: target.metrics(truth, guess) for name, guess in by_subset.items()}
        results[target.name] = Result(
            kind=target.kind,
            rows=int(present.sum()),
            metrics=figures[ALL],
            intervals=bootstrap(
                target.metrics, truth, by_subset[ALL], seed=seed, resamples=resamples
            )
            if resamples
            else {},
            alone={
                k.removeprefix("alone "): v for k, v in figures.items() if k.startswith("alone ")
            },
            without={
                k.removeprefix("without "): v
                for k, v in figures.items()
                if k.startswith("without ")
            },
        )
    return results


def validation_score(
    targets: Sequence[Target],
    encoded: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scores: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """The mean primary metric over targets, and the mean log loss or squared error.

    A target whose metric has no value, R² of a single row say, does not count; -1 and 0 when none has.
    """
    score, loss = [], []
    for target in targets:
        values, present = encoded[target.name]
        if not present.any():
            continue
        figures = target.measure(values[present], scores[target.name][present])
        score.append(figures[target.primary])
        loss.append(target.loss(figures))
    return {"score": _mean(score, -1.0), "loss": _mean(loss, 0.0)}


def _mean(values: list[float], otherwise: float) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else otherwise
