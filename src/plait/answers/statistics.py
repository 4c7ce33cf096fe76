"""Bootstrap over test rows for many models at once, and what follows from it.

Resampling a row k times is the same as weighing it k times, so a resample is a row of counts and a
metric of all models under it is a matrix product.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Shaped

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


def balanced_accuracy(
    truth: Shaped[np.ndarray, " rows"], guesses: Shaped[np.ndarray, "models rows"], weights: Weights
) -> Figures:
    """The mean recall over the classes that a resample holds."""
    right = (guesses == truth).astype(np.float64)
    total = np.zeros((len(guesses), len(weights)))
    seen = np.zeros(len(weights))
    for label in np.unique(truth):
        rows = truth == label
        asked = weights[:, rows].sum(axis=1)
        there = asked > 0
        hits = right[:, rows] @ weights[:, rows].T
        total[:, there] += hits[:, there] / asked[there]
        seen += there
    return total / seen


def r2(
    truth: Shaped[np.ndarray, " rows"], guesses: Shaped[np.ndarray, "models rows"], weights: Weights
) -> Figures:
    """1 - squared error over squared distance from the resample's mean; NaN where that is nil."""
    centred = truth - truth.mean()
    count = weights.sum(axis=1)
    spread = weights @ centred**2 - (weights @ centred) ** 2 / count
    error = ((guesses - truth) ** 2) @ weights.T
    return 1 - error / np.where(spread > 1e-12, spread, np.nan)


def mean_average_precision(
    truth: Shaped[np.ndarray, "rows labels"],
    guesses: Shaped[np.ndarray, "models rows labels"],
    weights: Weights,
) -> Figures:
    """``Σ_n (R_n - R_{n-1}) P_n`` over a label's thresholds, then the mean over labels that occur."""
    total = np.zeros((len(guesses), len(weights)))
    yes = truth > 0.5
    occurs = weights @ yes > 0
    for label in np.flatnonzero(yes.any(axis=0)):
        for number, scores in enumerate(guesses[:, :, label]):
            found = _average_precision(yes[:, label], scores, weights)
            total[number] += np.where(occurs[:, label], found, 0.0)
    count = occurs.sum(axis=1).astype(np.float64)
    return total / np.where(count > 0, count, np.nan)


def _average_precision(
    yes: Shaped[np.ndarray, " rows"], scores: Shaped[np.ndarray, " rows"], weights: Weights
) -> Float[np.ndarray, " resamples"]:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    ordered = weights[:, order]
    hits = np.cumsum(ordered * yes[order], axis=1)[:, ends]
    given = np.cumsum(ordered, axis=1)[:, ends]
    precision = hits / np.maximum(given, 1)
    steps = np.diff(hits, axis=1, prepend=0.0)
    return (steps * precision).sum(axis=1) / np.maximum(hits[:, -1], 1)


Resampled = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

RESAMPLED: dict[str, Resampled] = {
    "binary": balanced_accuracy,
    "multiclass": balanced_accuracy,
    "multilabel": mean_average_precision,
    "regression": r2,
}
"""Kind of target → its primary metric (`plait.answers.metrics.PRIMARY`) under many resamples."""


def bootstrap(
    kind: str,
    truth: Shaped[np.ndarray, "rows ..."],
    guesses: Shaped[np.ndarray, "models rows ..."],
    *,
    resamples: int,
    seed: int,
) -> Figures:
    """The primary metric of every model on the same resamples of the test rows."""
    measure = RESAMPLED[kind]
    parts = [measure(truth, guesses, weights) for weights in draws(len(truth), resamples, seed)]
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
