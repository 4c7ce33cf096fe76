"""Sets and intervals that hold the true answer as often as asked (split conformal prediction).

A score says how odd an answer would be. With the scores of n held-out rows, sorted, an answer is kept
where its score is at most the ``⌈(n + 1) · coverage⌉``-th smallest (Vovk et al. 2005; Lei et al. 2018,
algorithm 2). For a new row that is exchangeable with the held-out ones, the true answer is then kept
with at least that probability. It is a promise over rows, not for one row, class or kind of row, and
none at all for rows of another source: a new patient, a new camera.

============ ================================================================================
method       score of answer y
============ ================================================================================
``lac``      ``1 - p_y`` (Sadinle et al. 2019): the smallest sets on average
``aps``      the probability of y and of all likelier classes (Romano et al. 2020, eq. 4): larger
             sets, more alike in coverage between easy and hard rows
``aps_random`` the same less ``u · p_y`` with u uniform (their eq. 5): exact coverage, by chance
``absolute`` ``|y - ŷ|``, for numbers: intervals of one width
============ ================================================================================

Unless empty sets are asked for, the answered class is always in the set. That can only raise coverage:
where the model is right more often than was promised, coverage is as high as its accuracy. With empty
sets, which say that no class is usual for such a row, coverage is the promised one.
"""

from math import ceil, floor

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from plait.data.targets.target import Target
from plait.errors import ConfigError

LAC, APS, APS_RANDOM, ABSOLUTE = "lac", "aps", "aps_random", "absolute"
METHODS = (LAC, APS, APS_RANDOM, ABSOLUTE)
"""All of them; a kind of target names those it knows, `plait.data.targets.target.Target.conformal`."""


def oddness(
    method: str,
    scores: Float[np.ndarray, "rows classes"],
    uniform: Float[np.ndarray, " rows"] | None = None,
) -> Float[np.ndarray, "rows classes"]:
    """Every class's score, for each row.

    Args:
        scores: probabilities.
        uniform: u of each row, for ``aps_random``.
    """
    # Sums of float32 may exceed 1 and shift a threshold by a rank.
    chances = scores.astype(np.float64)
    if method == LAC:
        return 1 - chances
    order = np.argsort(-chances, axis=1, kind="stable")
    total = np.cumsum(np.take_along_axis(chances, order, axis=1), axis=1)
    oddness_of = np.empty_like(chances)
    np.put_along_axis(oddness_of, order, total, axis=1)
    return oddness_of if uniform is None else oddness_of - uniform[:, None] * chances


def held_scores(
    target: Target,
    values: Shaped[np.ndarray, " rows"],
    scores: Float[np.ndarray, "rows outputs"],
    *,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " rows"]]:
    """The sorted scores of held-out rows' true answers, by method.

    Args:
        values: encoded answers.
        scores: what the head gave.
    """
    # Seeded, so that the same rows promise the same sets.
    uniform = np.random.default_rng(seed).random(len(values))
    by_target = {}
    for method in target.conformal:
        if method == ABSOLUTE:
            by_target[method] = np.sort(target.errors(values, scores).astype(np.float64))
            continue
        odd = oddness(method, scores, uniform if method == APS_RANDOM else None)
        by_target[method] = np.sort(odd[np.arange(len(values)), values])
    return by_target


def threshold(sorted_scores: Float[np.ndarray, " rows"], coverage: float, name: str) -> float:
    """The ``⌈(n + 1) · coverage⌉``-th smallest of n scores.

    Raises:
        ConfigError: ``coverage`` is no share, or too high for so few rows.
    """
    if not 0 < coverage < 1:
        raise ConfigError([f"coverage={coverage}: a share between 0 and 1, such as 0.9."])
    rows = len(sorted_scores)
    # 0.9 · 10 is a hair above 9 in binary, and would ask for the tenth.
    place = ceil(round((rows + 1) * coverage, 9))
    # With n scores the bound n / (n + 1) is the highest coverage that can be promised.
    if place > rows:
        most = floor(1000 * rows / (rows + 1)) / 1000
        needed = ceil(round(coverage / (1 - coverage), 9))
        raise ConfigError(
            [
                f"coverage={coverage}: '{name}' has {rows} validation rows to promise from, which is "
                f"enough for {most:.3g} at most. Ask for less, or fit with a larger share of "
                f"validation rows; {coverage} needs {needed} of them."
            ]
        )
    return float(sorted_scores[place - 1])


def members(
    method: str,
    scores: Float[np.ndarray, "rows classes"],
    limit: float,
    *,
    seed: int = 0,
    empty: bool = False,
) -> Bool[np.ndarray, "rows classes"]:
    """Which classes each row's set holds.

    Args:
        limit: what `threshold` gave.
        seed: of the chance in ``aps_random``.
        empty: whether a set may hold nothing.
    """
    # Another stream of chance than that of the held-out rows.
    chance = np.random.default_rng([seed, 1]).random(len(scores))
    uniform = chance if method == APS_RANDOM else None
    kept = oddness(method, scores, uniform) <= limit
    if len(scores) and not empty:
        kept[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return kept


def covered(
    kept: Bool[np.ndarray, "rows classes"], truth: Int64[np.ndarray, " rows"]
) -> Bool[np.ndarray, " rows"]:
    """Whether each row's set holds its true class."""
    return kept[np.arange(len(truth)), truth]


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); NaN where there are no rows."""
    if not rows:
        return float("nan"), float("nan")
    from scipy.stats import binomtest

    low, high = binomtest(hits, rows).proportion_ci(0.95, "wilson")
    return float(low), float(high)
