"""Whether two tables' columns come from the same source."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt64

from plait.data.targets.classes import auroc
from plait.insight.diagnose.chance import larger

MIN_ROWS = 20
"""Rows that each table needs at least."""

MAX_ROWS = 1000
"""Rows of each table that a classifier is asked to tell apart, evenly spaced."""

FOLDS = 5
RIDGE = 0.1

LARGE_PSI = 0.1
"""Population stability up to which a column is called stable."""

LARGE_KS = 0.1
"""The gap between two distribution functions, or in the share of missing cells, that is small."""

LARGE_AUC = 0.6
"""The AUC of a classifier between the tables up to which they are hard to tell apart."""


@dataclass(frozen=True)
class Drift:
    """How far one column's cells have moved, by one measure.

    Attributes:
        measure: ``psi``, ``ks``, ``auc`` or ``missing``.
        value: of the measure.
        large: the value above which it matters.
        p: the probability of as much by chance.
        q: the same, adjusted for all the columns looked at; NaN until that is done.
        further: another figure: the Jensen-Shannon divergence in bits beside ``psi``, the second table's
            missing share beside ``missing``; NaN for the others.
    """

    measure: str
    value: float
    large: float
    p: float
    q: float = float("nan")
    further: float = float("nan")

    def moved(self, level: float = 0.05) -> bool:
        """Whether it matters and is no chance."""
        return self.value > self.large and self.q <= level


def categories(
    before: Int64[np.ndarray, " classes"], after: Int64[np.ndarray, " classes"]
) -> Drift | None:
    """Population stability index of counts by category; None for too few rows or one category.

    ``PSI = Σ (a - b) ln(a / b)`` over the shares, half a row added to each count so that an empty one
    has a logarithm (Lewis 1994, ch. 8; the bands 0.1 and 0.25 are the usual ones, and a convention).
    ``JS = (KL(b ‖ m) + KL(a ‖ m)) / 2`` with ``m = (a + b) / 2``, in bits (Lin 1991). The chance is that
    of the chi-square test of homogeneity; categories with fewer than five rows in all are one for it.
    """
    if min(before.sum(), after.sum()) < MIN_ROWS or len(before) < 2:
        return None
    from scipy.spatial.distance import jensenshannon

    b, a = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, after))
    psi = float(((a - b) * np.log(a / b)).sum())
    # scipy gives the distance, the square root of the divergence.
    further = float(jensenshannon(before, after, base=2) ** 2)
    return Drift("psi", psi, LARGE_PSI, _homogeneity(before, after), further=further)


def _homogeneity(before: Int64[np.ndarray, " n"], after: Int64[np.ndarray, " n"]) -> float:
    from scipy.stats import chi2_contingency

    counts = np.stack([before, after])
    rare = counts.sum(axis=0) < 5
    merged = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    # A category that neither table has would divide by zero.
    merged = merged[:, merged.sum(axis=0) > 0]
    return 1.0 if merged.shape[1] < 2 else float(chi2_contingency(merged).pvalue)


def numbers(
    before: Float[np.ndarray, " before"], after: Float[np.ndarray, " after"]
) -> Drift | None:
    """The Kolmogorov-Smirnov distance, ``max |F - G|``; None for too few finite numbers."""
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if min(len(before), len(after)) < MIN_ROWS:
        return None
    from scipy.stats import ks_2samp

    # The exact p-value does not scale to large tables.
    test = ks_2samp(before, after, method="asymp")
    return Drift("ks", float(test.statistic), LARGE_KS, float(test.pvalue))


def missing(before: int, before_rows: int, after: int, after_rows: int) -> Drift | None:
    """The change in the share of missing cells; its chance by Fisher's exact test, two-sided."""
    if min(before_rows, after_rows) < MIN_ROWS or not before + after:
        return None
    from scipy.stats import fisher_exact

    table = [[before, before_rows - before], [after, after_rows - after]]
    shares = before / before_rows, after / after_rows
    p = float(fisher_exact(table).pvalue)
    return Drift("missing", abs(shares[1] - shares[0]), LARGE_KS, p, further=shares[1])


def vectors(
    before: Float[np.ndarray, "before width"],
    after: Float[np.ndarray, "after width"],
    *,
    seed: int = 0,
) -> Drift | None:
    """The AUC of a classifier that tells the tables apart (Rabanser et al. 2019); None for too few rows.

    A linear discriminant with a ridge, ``w = (X'X / n + λ I)⁻¹ X'y / n`` on standardised vectors and
    labels ±1 weighed to balance, λ = 0.1; five folds, each row scored by a discriminant that has not
    seen it. One half is what the same source gives. Encoders know the rows they were trained on by
    heart, so compare rows they have not seen, of a validation split say. The chance is that of the
    Mann-Whitney test on the scores.
    """
    before, after = _some(before), _some(after)
    if min(len(before), len(after)) < MIN_ROWS:
        return None
    whole = np.concatenate([before, after]).astype(np.float64)
    label = np.arange(len(whole)) >= len(before)
    fold = np.random.default_rng(seed).permutation(len(whole)) % FOLDS
    scores = np.zeros(len(whole))
    for number in range(FOLDS):
        held = fold == number
        scores[held] = _discriminant(whole[~held], label[~held], whole[held])
    p = larger(scores[label], scores[~label])
    return Drift("auc", auroc(label, scores), LARGE_AUC, p)


def _discriminant(
    known: Float[np.ndarray, "known width"],
    label: Bool[np.ndarray, " known"],
    new: Float[np.ndarray, "new width"],
) -> Float[np.ndarray, " new"]:
    """How much a row looks like the second table's, by a discriminant of the known rows."""
    mean, scale = known.mean(axis=0), known.std(axis=0)
    # A constant direction tells nothing apart, and must not divide by zero.
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = (known - mean) / scale
    # Tables of different sizes weigh the same, or the larger one would set the threshold.
    weight = np.where(label, 0.5 / max(1, label.sum()), 0.5 / max(1, (~label).sum()))
    spread = (x * weight[:, None]).T @ x + RIDGE * np.eye(x.shape[1])
    direction = np.linalg.solve(spread, x.T @ (weight * np.where(label, 1.0, -1.0)))
    return (new - mean) / scale @ direction


def _some(vectors: Float[np.ndarray, "all width"]) -> Float[np.ndarray, "some width"]:
    if len(vectors) <= MAX_ROWS:
        return vectors
    return vectors[np.unique(np.linspace(0, len(vectors) - 1, MAX_ROWS).astype(np.int64))]


def counted(
    before: UInt64[np.ndarray, " before"], after: UInt64[np.ndarray, " after"]
) -> tuple[Int64[np.ndarray, " classes"], Int64[np.ndarray, " classes"]]:
    """How often each value occurs in either, missing ones (0) left out."""
    values, where = np.unique(np.concatenate([before, after]), return_inverse=True)
    counts = [
        np.bincount(part, minlength=len(values)).astype(np.int64)
        for part in (where[: len(before)], where[len(before) :])
    ]
    real = values != 0
    return counts[0][real], counts[1][real]
