"""Which of many findings may be chance; one-sided tests that spare the import of all of scipy.stats."""

from typing import Any

import numpy as np
from jaxtyping import Float

from plait.answers.metrics import auroc

LEVEL = 0.05
"""The share of false findings among all findings that is accepted."""


def adjusted(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Benjamini & Hochberg's (1995) adjusted p-values, ``q_(i) = min_{j ≥ i} m p_(j) / j``.

    Findings with ``q ≤ 0.05`` are false in one case of twenty at most, on average, where tests are
    independent or positively dependent. NaN stays NaN and does not count as a test.
    """
    found = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


def too_many(wrong: int, rows: int, others_wrong: int, others: int) -> float:
    """Fisher's exact test, one-sided: the chance of so many wrong rows, or more, in a part of a table.

    ``P(X ≥ wrong)`` for a hypergeometric X: so many rows drawn without replacement from the whole.
    """
    from scipy.special import gammaln, logsumexp

    whole, bad = rows + others, wrong + others_wrong
    counts = np.arange(wrong, min(rows, bad) + 1)

    def choose(n: Any, k: Any) -> Any:
        return gammaln(np.add(n, 1)) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1)

    logs = choose(bad, counts) + choose(whole - bad, rows - counts) - choose(whole, rows)
    return min(1.0, float(np.exp(logsumexp(logs))))


def larger(here: Float[np.ndarray, " here"], there: Float[np.ndarray, " there"]) -> float:
    """Mann & Whitney's (1947) test, one-sided: the chance that ``here`` ranks so high by chance.

    The normal approximation with the correction for ties and for continuity.
    """
    from scipy.special import ndtr

    both = np.concatenate([here, there])
    n, m, rows = len(here), len(there), len(both)
    won = auroc(np.arange(rows) < n, both) * n * m
    _, ties = np.unique(both, return_counts=True)
    tied = float((ties**3 - ties).sum()) / (rows * (rows - 1))
    spread = float(np.sqrt(n * m / 12 * (rows + 1 - tied)))
    return 1.0 if spread == 0 else float(ndtr(-(won - n * m / 2 - 0.5) / spread))
