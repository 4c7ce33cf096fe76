"""Answers in the table that are probably wrong themselves."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

MIN_ROWS = 20
"""Rows with a known answer below which nothing is said."""

ROUNDING = 1e-6
"""Probabilities that are all the same must reach their mean."""


@dataclass(frozen=True)
class Suspects:
    """Rows whose given class the model, and not the row, seems to know better.

    Attributes:
        rows: places in the rows passed, the least believable given class first.
        given: the class the table gives each of them.
        likely: the class the model confidently sees.
        margin: probability of the given class less that of the likely one; below 0.
        joint: the confident joint: rows given class i (down) counted as class j (across).
    """

    rows: Int64[np.ndarray, " suspects"]
    given: Int64[np.ndarray, " suspects"]
    likely: Int64[np.ndarray, " suspects"]
    margin: Float[np.ndarray, " suspects"]
    joint: Int64[np.ndarray, "classes classes"]


def suspects(
    given: Int64[np.ndarray, " rows"], scores: Float[np.ndarray, "rows classes"]
) -> Suspects | None:
    """Confident learning (Northcutt, Jiang & Chuang 2021); None for fewer rows than `MIN_ROWS`.

    A class's threshold is its mean probability among the rows given it, ``t_j = mean p_j`` (their
    eq. 2). A row counts as the likeliest class among those whose threshold it reaches (eq. 1); where
    that is not the class it was given, it is a suspect (their ``C_confusion`` off the diagonal), ranked
    by the normalised margin. A class that is never given has no threshold and accuses nobody. A suspect
    whose given class is the likeliest after all is let go.

    The probabilities must come from a model that has not learnt from these rows. A weak model, or rows
    of another source, accuses many that are right: read the rows before any is changed.
    """
    if len(given) < MIN_ROWS:
        return None
    classes = scores.shape[1]
    count = np.bincount(given, minlength=classes)
    # A mean of many float32 values loses digits, and thresholds are compared closely.
    own = scores[np.arange(len(given)), given].astype(np.float64)
    with np.errstate(invalid="ignore"):
        threshold = np.bincount(given, own, classes) / count
    reached = scores >= np.where(count > 0, threshold - ROUNDING, np.inf)
    likely = np.where(reached, scores, -1.0).argmax(axis=1)
    counted = reached.any(axis=1)
    joint = np.bincount(given[counted] * classes + likely[counted], minlength=classes**2)
    margin = own - scores[np.arange(len(given)), likely]
    # Beyond the paper: reaching a low threshold alone is no accusation.
    rows = np.flatnonzero(counted & (likely != given) & (margin < 0))
    rows = rows[np.argsort(margin[rows], kind="stable")]
    return Suspects(rows, given[rows], likely[rows], margin[rows], joint.reshape(classes, classes))


def label_suspects(
    given: Bool[np.ndarray, "rows labels"], scores: Float[np.ndarray, "rows labels"]
) -> list[Suspects | None]:
    """The same for each label by itself: class 1 is that a row has it."""
    both = np.stack([1 - scores, scores], axis=-1)
    return [
        suspects(given[:, label].astype(np.int64), both[:, label])
        for label in range(given.shape[1])
    ]
