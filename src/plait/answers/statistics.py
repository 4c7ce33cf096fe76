"""Bootstrap over test rows for many models at once, and what follows from it.

Resampling a row k times is the same as weighing it k times, so a resample is a row of counts and a
metric of all models under it is a matrix product.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from plait.data.targets.target import Target

LEVEL = 95.0
"""Per cent of the resamples inside an interval."""
CHUNK = 250
"""Resamples at a time; memory is about this many times the test rows."""

Weights = Float[np.ndarray, "resamples rows"]
Figures = Float[np.ndarray, "models resamples"]


def draws(rows: int, resamples: int, seed: int) -> Iterator[Weights]:
    """How often each row is in each resample (Efron 1979), some resamples at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        chosen = generator.integers(0, rows, (count, rows)) + rows * np.arange(count)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=count * rows)
        yield counts.reshape(count, rows).astype(np.float64)


def bootstrap(
    target: Target,
    truth: Any,
    compared: Shaped[np.ndarray, "models rows ..."],
    *,
    resamples: int,
    seed: int,
) -> Figures:
    """The primary metric of every model on the same resamples of the test rows.

    Args:
        truth: values `plait.data.targets.target.Target.in_units`.
        compared: what `plait.data.targets.target.Target.compared` gave of each model.
    """
    parts = [
        target.resample(truth, compared, weights)
        for weights in draws(compared.shape[1], resamples, seed)
    ]
    return np.concatenate(parts, axis=1)


def interval(values: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """The percentile interval; NaN where no resample has a value."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail]).tolist()
    return low, high


def p_value(differences: Float[np.ndarray, " resamples"]) -> float:
    """Two-sided: twice the share of resamples on the rarer side of nil; at least 2 / (resamples + 1)."""
    known = differences[~np.isnan(differences)]
    rarer = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (1 + rarer) / (len(known) + 1))


def holm(values: Sequence[float]) -> list[float]:
    """Corrected for the number m of tests (Holm 1979): the i-th smallest times ``m - i + 1``, rising."""
    order = np.argsort(values, kind="stable").tolist()
    corrected = [0.0] * len(order)
    highest = 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * values[number]))
        corrected[number] = highest
    return corrected
