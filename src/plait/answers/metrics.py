"""What is measured, by kind of target."""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

Metrics = dict[str, float]

HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced_accuracy": True,
    "macro_f1": True,
    "micro_f1": True,
    "auroc": True,
    "map": True,
    "exact_match": True,
    "r2": True,
    "log_loss": False,
    "calibration_error": False,
    "mae": False,
    "rmse": False,
}

PRIMARY = {
    "binary": "balanced_accuracy",
    "multiclass": "balanced_accuracy",
    "multilabel": "map",
    "regression": "r2",
}
"""The metric that early stopping follows and tables put first."""


def classification(
    target: Int64[np.ndarray, " rows"], scores: Float[np.ndarray, "rows classes"]
) -> Metrics:
    """Metrics of one class a row.

    Balanced accuracy and macro F1 average over the classes that occur; AUROC is one class against the
    rest, averaged likewise. Log loss is in nats. Calibration error is in 15 equal bins of confidence
    (Guo et al. 2017, eq. 3).

    Args:
        target: class numbers.
        scores: probabilities, rows summing to one.
    """
    guess = scores.argmax(axis=1)
    right = guess == target
    seen = np.unique(target)
    recall = [right[target == label].mean() for label in seen]
    chosen = np.clip(scores[np.arange(len(target)), target].astype(np.float64), 1e-12, 1)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(recall)),
        "macro_f1": macro_f1(target, guess, scores.shape[1]),
        "micro_f1": float(right.mean()),  # with one class a row both are the same
        "auroc": _auroc(target, scores, seen),
        "log_loss": float(-np.log(chosen).mean()),
        "calibration_error": calibration_error(right, scores.max(axis=1)),
    }


def macro_f1(
    target: Int64[np.ndarray, " rows"], guess: Int64[np.ndarray, " rows"], classes: int
) -> float:
    """The mean of ``2 tp / (2 tp + fp + fn)`` over the classes that occur."""
    true = np.bincount(target[target == guess], minlength=classes)
    asked = np.bincount(target, minlength=classes)
    given = np.bincount(guess, minlength=classes)
    return float((2 * true / np.maximum(asked + given, 1))[asked > 0].mean())


def _auroc(target: np.ndarray, scores: np.ndarray, seen: np.ndarray) -> float:
    """One-against-the-rest AUROC over the classes that occur; NaN when only one does."""
    if len(seen) < 2:
        return float("nan")
    if scores.shape[1] == 2:
        return auroc(target == 1, scores[:, 1])
    return float(np.mean([auroc(target == label, scores[:, label]) for label in seen]))


def auroc(positive: Bool[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"]) -> float:
    """The chance that a positive row scores above a negative one; ties count half.

    The Mann-Whitney statistic on mid-ranks (Hanley & McNeil 1982), the same number as scikit-learn's
    ``roc_auc_score`` at a thirtieth of its time, which the bootstrap needs.
    """
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    yes = int(positive.sum())
    no = len(positive) - yes
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def calibration_error(
    right: Bool[np.ndarray, " rows"], confidence: Float[np.ndarray, " rows"], bins: int = 15
) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equal bins."""
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.bincount(which, right, bins) - np.bincount(which, confidence, bins)
    return float(np.abs(gap[count > 0]).sum() / len(right))


def multilabel(
    target: Float[np.ndarray, "rows classes"], scores: Float[np.ndarray, "rows classes"]
) -> Metrics:
    """Metrics of any subset of labels a row; a label is predicted at a probability of .5 or more.

    ``map`` averages average precision over the labels that occur.
    """
    from sklearn.metrics import average_precision_score, f1_score

    truth = target > 0.5
    guess = scores >= 0.5
    occurs = truth.any(axis=0)
    precision = [
        average_precision_score(truth[:, label], scores[:, label])
        for label in np.flatnonzero(occurs)
    ]
    # A label at a time: of a table with one label scikit-learn would also score its absence.
    each = [
        f1_score(truth[:, label], guess[:, label], zero_division=0)
        for label in np.flatnonzero(occurs)
    ]
    safe = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    loss = -np.where(truth, np.log(safe), np.log1p(-safe)).mean()
    return {
        "map": float(np.mean(precision)) if precision else float("nan"),
        "micro_f1": float(f1_score(truth.ravel(), guess.ravel(), zero_division=0)),
        "macro_f1": float(np.mean(each)) if each else float("nan"),
        "exact_match": float((truth == guess).all(axis=1).mean()),
        "log_loss": float(loss),
    }


def regression(target: Float[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"]) -> Metrics:
    """Metrics of a number, in the target's own units."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    return {
        "r2": float(r2_score(target, scores)) if len(target) > 1 else float("nan"),
        "mae": float(mean_absolute_error(target, scores)),
        "rmse": float(mean_squared_error(target, scores) ** 0.5),
    }


Measure = Callable[[np.ndarray, np.ndarray], Metrics]

METRICS: dict[str, Measure] = {
    "binary": classification,
    "multiclass": classification,
    "multilabel": multilabel,
    "regression": regression,
}
"""Kind of target → its metrics."""


def bootstrap(
    measure: Measure,
    target: Shaped[np.ndarray, "rows ..."],
    scores: Float[np.ndarray, "rows ..."],
    *,
    seed: int,
    resamples: int = 200,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals over rows (Efron 1979) for every metric.

    Args:
        resamples: how often rows are drawn with replacement.
        level: share of the resamples inside the interval.
    """
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample may lack a class; that is no news to anyone
        for _ in range(resamples):
            rows = generator.integers(0, len(target), len(target))
            for name, value in measure(target[rows], scores[rows]).items():
                drawn.setdefault(name, []).append(value)
    tail = 50 * (1 - level)
    return {
        name: (float(np.nanpercentile(values, tail)), float(np.nanpercentile(values, 100 - tail)))
        if not np.isnan(values).all()
        else (float("nan"), float("nan"))
        for name, values in drawn.items()
    }
