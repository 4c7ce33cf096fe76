"""Which of many findings may be chance."""

import numpy as np
from jaxtyping import Float

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
