"""What each modality contributed to an answer, exactly: Shapley values over streams.

Shapley (1953), "A value for n-person games": with ``v(S)`` the score when only the streams of ``S`` are
looked at, ``phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))``. They sum to
``v(all) - v(nothing)``, and a stream that changes nothing gets 0. No sampling: ``2^n`` subsets are run,
of the fusion alone, since every encoder has run once.
"""

from collections.abc import Sequence
from itertools import combinations
from math import factorial

import numpy as np
from jaxtyping import Float

MOST_STREAMS = 8
"""Streams up to which every subset is run: 256 of them."""


def subsets(streams: Sequence[str]) -> list[tuple[str, ...]]:
    """Every subset, by size: nothing first, all of them last."""
    return [some for size in range(len(streams) + 1) for some in combinations(streams, size)]


def contributions(
    streams: Sequence[str], values: Float[np.ndarray, "subsets *shape"]
) -> Float[np.ndarray, "streams *shape"]:
    """The Shapley value of each stream.

    Args:
        values: the score under each of `subsets`, in their order.
    """
    found = subsets(streams)
    place = {frozenset(some): index for index, some in enumerate(found)}
    count = len(streams)
    shares = np.zeros((count, *values.shape[1:]))
    for row, stream in enumerate(streams):
        for some in found:
            if stream in some:
                continue
            weight = factorial(len(some)) * factorial(count - len(some) - 1) / factorial(count)
            gain = values[place[frozenset((*some, stream))]] - values[place[frozenset(some)]]
            shares[row] += weight * gain
    return shares
