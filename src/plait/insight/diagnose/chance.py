"""Which of many findings may be chance."""

import numpy as np
from jaxtyping import Float

LEVEL = 0.05
"""The share of false findings among all findings that is accepted."""


def adjusted(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Benjamini & Hochberg's (1995) adjusted p-values.

    Findings with ``q ≤ 0.05`` are false in one case of twenty at most, on average, where tests are
    independent or positively dependent. NaN stays NaN and does not count as a test.
    """
    from scipy.stats import false_discovery_control

    known = ~np.isnan(p_values)
    q_values = p_values.copy()
    q_values[known] = false_discovery_control(p_values[known])
    return q_values


def too_many(wrong: int, rows: int, others_wrong: int, others: int) -> float:
    """Fisher's exact test, one-sided: the chance of so many wrong rows or more in a part of a table."""
    from scipy.stats import fisher_exact

    table = [[wrong, rows - wrong], [others_wrong, others - others_wrong]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def larger(here: Float[np.ndarray, " here"], there: Float[np.ndarray, " there"]) -> float:
    """Mann & Whitney's (1947) test, one-sided: the chance that ``here`` ranks so high by chance.

    The normal approximation with the correction for ties and for continuity.
    """
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(here, there, alternative="greater", method="asymptotic").pvalue)
