"""Bootstrap intervals of a target's metrics, and which metrics are worth showing."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from plait.data.targets.target import Metrics

Measure = Callable[[Any, Any], Metrics]


def distinct(metrics: Iterable[str]) -> list[str]:
    """The metrics without those that repeat another: with one class per row micro F1 is accuracy."""
    names = list(metrics)
    return [name for name in names if name != "micro_f1" or "accuracy" not in names]


def bootstrap(
    measure: Measure,
    truth: Any,
    scores: Any,
    *,
    seed: int,
    resamples: int = 200,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals over rows (Efron 1979) for every metric.

    Args:
        measure: `plait.data.targets.target.Target.metrics`.
        truth, scores: what it takes; both can be indexed by an array of rows.
        resamples: how often rows are drawn with replacement.
        level: share of the resamples inside the interval.
    """
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample may lack a class; that is no news to anyone
        for _ in range(resamples):
            rows = generator.integers(0, len(truth), len(truth))
            for name, value in measure(truth[rows], scores[rows]).items():
                drawn.setdefault(name, []).append(value)
    tail = 50 * (1 - level)
    return {
        name: (float(np.nanpercentile(values, tail)), float(np.nanpercentile(values, 100 - tail)))
        if not np.isnan(values).all()
        else (float("nan"), float("nan"))
        for name, values in drawn.items()
    }
