"""What went wrong, counted: confusion, a table a class or a label, the surest mistakes, residuals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

ROWS_SHOWN = 12
"""Rows shown of the worst ones."""

Counts = Int64[np.ndarray, " classes"]
Shares = Float[np.ndarray, " classes"]


@dataclass(frozen=True)
class PerClass:
    """One row a class, or a label.

    With true positives tp, false positives fp and false negatives fn: precision ``tp / (tp + fp)``,
    recall ``tp / (tp + fn)``, ``F1 = 2 tp / (2 tp + fp + fn)``. NaN where nothing can be said: the
    precision of a class never answered, the recall and F1 of one that never occurs.

    Attributes:
        support: how often it is the truth.
        answered: how often it is the answer.
    """

    precision: Shares
    recall: Shares
    f1: Shares
    support: Counts
    answered: Counts


@dataclass(frozen=True)
class Residuals:
    """What a number's answers miss by.

    Attributes:
        truth, answer: of the rows with a known answer.
        error: ``answer - truth``.
        worst: places in these arrays, largest absolute error first.
    """

    truth: Float[np.ndarray, " rows"]
    answer: Float[np.ndarray, " rows"]
    error: Float[np.ndarray, " rows"]
    worst: Int64[np.ndarray, " worst"]


def confusion(
    truth: Int64[np.ndarray, " rows"], guess: Int64[np.ndarray, " rows"], classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """How many rows of each class (down) got each answer (across)."""
    return np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: Int64[np.ndarray, "classes classes"]) -> PerClass:
    """The table that belongs to a confusion matrix."""
    return _table(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def per_label(
    truth: Bool[np.ndarray, "rows classes"], guess: Bool[np.ndarray, "rows classes"]
) -> PerClass:
    """The same for labels, any number of which a row may have."""
    return _table((truth & guess).sum(axis=0), truth.sum(axis=0), guess.sum(axis=0))


def _table(true: Counts, support: Counts, answered: Counts) -> PerClass:
    with np.errstate(invalid="ignore"):
        precision, recall = true / answered, true / support
        f1 = np.where(support > 0, 2 * true / (support + answered), np.nan)
    return PerClass(precision, recall, f1, support, answered)


def confusions(
    matrix: Int64[np.ndarray, "classes classes"], most: int = ROWS_SHOWN
) -> list[tuple[int, int, int]]:
    """Truth, answer and count of the mistakes made most often; by count, then by class."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(matrix)) for place in order]
    return [(a, b, int(wrong[a, b])) for a, b in pairs if wrong[a, b]]


def surest(
    truth: Int64[np.ndarray, " rows"],
    scores: Float[np.ndarray, "rows classes"],
    most: int = ROWS_SHOWN,
) -> Int64[np.ndarray, " worst"]:
    """The wrong rows, those with the highest probability of their wrong answer first."""
    wrong = np.flatnonzero(scores.argmax(axis=1) != truth)
    order = np.argsort(-scores.max(axis=1, initial=0)[wrong], kind="stable")
    return wrong[order][:most]


def surest_labels(
    truth: Bool[np.ndarray, "rows classes"],
    scores: Float[np.ndarray, "rows classes"],
    most: int = ROWS_SHOWN,
) -> list[tuple[int, int]]:
    """Row and label of the wrong answers that are furthest on the wrong side of one half."""
    wrong = np.where(truth != (scores >= 0.5), np.abs(scores - 0.5), -1.0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = [divmod(int(place), truth.shape[1]) for place in order]
    return [(row, label) for row, label in places if wrong[row, label] >= 0]


def residuals(
    truth: Float[np.ndarray, " rows"], answer: Float[np.ndarray, " rows"], most: int = ROWS_SHOWN
) -> Residuals:
    """What the answers miss by, and which rows by most."""
    error = answer - truth
    worst = np.argsort(-np.abs(error), kind="stable")[:most]
    return Residuals(truth, answer, error, worst)
