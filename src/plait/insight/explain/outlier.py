"""How unlike the rows a model knows a row is."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NEIGHBOURS = 10
BANK_ROWS = 1000
"""Validation rows kept; evenly spaced where there are more."""


@dataclass(frozen=True)
class Neighbourhood:
    """The distance of a fused vector to its k-th nearest validation row (Sun et al. 2022, eq. 2-3).

    Vectors are scaled to length one. Told as a percentile: the share of validation rows that are
    nearer to the other validation rows. Under 95 is usual; 100 is further out than any of them.

    Why neighbours, and not the distance to class means (Mahalanobis; Lee et al. 2018): targets may be
    numbers, label sets, or several at once, which have no classes to take means of; and rows that lack
    different streams lie in different places, which no one covariance describes. Why validation rows,
    and not training rows: the encoders have learnt the latter by heart, and a row nobody trained on
    looks further away from them than it is. A row of the same source has a uniform percentile, but for
    the one neighbour it has more than a validation row.

    Attributes:
        bank: vectors of length one, ``[rows, width]``.
        distances: of each of them to its k-th nearest other one, sorted, ``[rows]``.
        k: which neighbour.

    Cost: ``rows · width`` products a row; ``4 · rows · width`` bytes in the bundle, rows at most
    `BANK_ROWS`.
    """

    bank: Float[np.ndarray, "rows width"]
    distances: Float[np.ndarray, " rows"]
    k: int

    @classmethod
    def fit(cls, vectors: Float[np.ndarray, "all width"]) -> "Neighbourhood | None":
        """What validation rows' fused vectors tell; None where there are fewer than three."""
        if len(vectors) < 3:
            return None
        spread = np.unique(np.linspace(0, len(vectors) - 1, BANK_ROWS).astype(np.int64))
        bank = _unit(vectors[spread])
        k = min(NEIGHBOURS, len(bank) - 1)
        # Each row is its own nearest: one further, and the same neighbour among the others.
        return cls(bank, np.sort(_kth(bank, bank, k + 1)), k)

    def percentile(self, vectors: Float[np.ndarray, "new width"]) -> Float[np.ndarray, " new"]:
        """0 to 100 for each row."""
        distances = _kth(_unit(vectors), self.bank, self.k)
        return 100 * np.searchsorted(self.distances, distances, side="left") / len(self.distances)


def _unit(vectors: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def _kth(
    vectors: Float[np.ndarray, "new width"], bank: Float[np.ndarray, "rows width"], k: int
) -> Float[np.ndarray, " new"]:
    """The distance to the k-th nearest, a thousand rows at a time."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(vectors), 1000):
        near = vectors[start : start + 1000] @ bank.T
        likeness = -np.partition(-near, k - 1, axis=1)[:, k - 1]
        parts.append(np.sqrt(np.maximum(2 - 2 * likeness, 0)))
    return np.concatenate(parts)
