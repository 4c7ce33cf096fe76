"""Shapley values and Shapley interactions of a game whose players are streams.

A game gives every subset of the players a value. With ``n`` players, the Shapley value of player i
(Shapley 1953) and the Shapley interaction index of a pair (Grabisch & Roubens 1999, definition 6) are

    φ_i  = Σ_{S ∌ i}    |S|! (n - |S| - 1)! / n!        (v(S ∪ i) - v(S))
    I_ij = Σ_{S ∌ i, j} |S|! (n - |S| - 2)! / (n - 1)!  (v(S ∪ ij) - v(S ∪ i) - v(S ∪ j) + v(S))

The values sum to ``v(all) - v(none)``. Exact for up to `MAX_EXACT` players, from all 2^n subsets.
Beyond that they are means over random orders of the players, each order with its reverse (antithetic
sampling: Mitchell et al. 2022, section 4.1); every order sums to ``v(all) - v(none)`` by itself, and so
do the means. Interactions are read off neighbours in an order: given that i and j are neighbours, the
players before them are distributed as the index weighs them.
"""

from itertools import combinations
from math import factorial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

MAX_EXACT = 8
"""So many players at most have all their subsets looked at."""

ORDERS = 32
"""Random orders, each taken forwards and backwards, for more players than that."""


class Estimate(NamedTuple):
    """Numbers a player or a pair, and their standard errors; None where the numbers are exact."""

    values: Float[np.ndarray, "parts *some"]
    error: Float[np.ndarray, "parts *some"] | None


class Game:
    """Which subsets of some players to value, and what to make of the values.

    Args:
        players: how many.
        orders: random orders to draw where there are too many players; each also backwards.
        seed: of those.
        exact: so many players at most have all their subsets looked at.

    Attributes:
        subsets: bool ``[subsets, players]``; the last row holds every player, the first none.
        pairs: the unordered pairs of players.
        sampled: whether the values are estimates.

    Cost: 2^players values, or some ``2 · orders · (2 · players - 1)`` of them.
    """

    subsets: Bool[np.ndarray, "subsets players"]

    def __init__(
        self, players: int, *, orders: int = ORDERS, seed: int = 0, exact: int = MAX_EXACT
    ) -> None:
        if players < 1:
            raise ValueError(f"a game needs at least one player, got players={players}")
        if orders < 2:
            raise ValueError(f"a standard error needs at least two orders, got orders={orders}")
        self.players = players
        self.pairs = list(combinations(range(players), 2))
        self.sampled = players > exact
        if not self.sampled:
            # Counting in binary puts the empty set first and the full one last.
            codes = np.arange(2**players)
            self.subsets = (codes[:, None] >> np.arange(players) & 1).astype(bool)
            return
        generator = np.random.default_rng(seed)
        forwards = [generator.permutation(players) for _ in range(orders)]
        self._orders = np.array([[order, order[::-1]] for order in forwards])
        self._where: dict[bytes, int] = {}
        none = np.zeros(players, dtype=bool)
        self._index(none)
        for order in self._orders.reshape(-1, players):
            for place in range(1, players):
                before = none.copy()
                before[order[:place]] = True
                self._index(before)
                # With the neighbours swapped: the fourth term of their interaction.
                before[order[place - 1]], before[order[place]] = False, True
                self._index(before)
        # Last, as `subsets` promises; no order above reaches it.
        self._index(~none)
        self.subsets = np.array([np.frombuffer(key, dtype=bool) for key in self._where])

    def _index(self, subset: Bool[np.ndarray, " players"]) -> int:
        return self._where.setdefault(subset.tobytes(), len(self._where))

    def shapley(self, values: Float[np.ndarray, "subsets *some"]) -> Estimate:
        """Each player's Shapley value, ``[players, ...]``."""
        values = values.astype(np.float64)
        if not self.sampled:
            return Estimate(np.tensordot(self._value_weights(), values, axes=1), None)
        means, squares = np.zeros((2, self.players, *values.shape[1:]))
        for both in self._orders:
            shares = np.zeros_like(means)
            for order in both:
                chain = values[[self._before(order, place) for place in range(self.players + 1)]]
                # An order and its reverse are not independent: their mean is one draw.
                shares[order] += np.diff(chain, axis=0) / len(both)
            means += shares
            squares += shares**2
        count = np.full((self.players, *[1] * (means.ndim - 1)), float(len(self._orders)))
        return _mean_and_error(means, squares, count)

    def interactions(self, values: Float[np.ndarray, "subsets *some"]) -> Estimate:
        """Each pair's Shapley interaction index, ``[pairs, ...]``, in the order of ``pairs``.

        NaN where no drawn order had the pair as neighbours.
        """
        values = values.astype(np.float64)
        if not self.sampled:
            return Estimate(np.tensordot(self._pair_weights(), values, axes=1), None)
        place_of = {pair: number for number, pair in enumerate(self.pairs)}
        means, squares = np.zeros((2, len(self.pairs), *values.shape[1:]))
        count = np.zeros((len(self.pairs), *[1] * (means.ndim - 1)))
        for order in self._orders.reshape(-1, self.players):
            for place in range(self.players - 1):
                first, second = order[place], order[place + 1]
                swapped = order.copy()
                swapped[[place, place + 1]] = second, first
                surplus = (
                    values[self._before(order, place + 2)]
                    - values[self._before(order, place + 1)]
                    - values[self._before(swapped, place + 1)]
                    + values[self._before(order, place)]
                )
                pair = place_of[int(min(first, second)), int(max(first, second))]
                means[pair] += surplus
                squares[pair] += surplus**2
                count[pair] += 1
        return _mean_and_error(means, squares, count)

    def _before(self, order: np.ndarray, place: int) -> int:
        """The subset of the players before a place in an order."""
        subset = np.zeros(self.players, dtype=bool)
        subset[order[:place]] = True
        return self._where[subset.tobytes()]

    def _value_weights(self) -> Float[np.ndarray, "players subsets"]:
        n, size = self.players, self.subsets.sum(axis=1)
        joined = np.array([factorial(s) * factorial(n - s - 1) for s in range(n)]) / factorial(n)
        # A subset with i enters as S ∪ i, one without as S.
        with_it, without = joined[np.maximum(size - 1, 0)], joined[np.minimum(size, n - 1)]
        return np.where(self.subsets.T, with_it, -without)

    def _pair_weights(self) -> Float[np.ndarray, "pairs subsets"]:
        n, size = self.players, self.subsets.sum(axis=1)
        weights = np.zeros((len(self.pairs), len(self.subsets)))
        for number, (first, second) in enumerate(self.pairs):
            inside = self.subsets[:, first].astype(int) + self.subsets[:, second]
            others = size - inside
            share = [factorial(s) * factorial(n - s - 2) / factorial(n - 1) for s in range(n - 1)]
            weights[number] = np.array(share)[others] * np.array([1.0, -1.0, 1.0])[inside]
        return weights


def _mean_and_error(
    total: np.ndarray, squares: np.ndarray, count: Float[np.ndarray, "parts *ones"]
) -> Estimate:
    """Means of sums over draws, and their standard errors; NaN where there are too few draws."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        # Rounding can make it negative; count / (count - 1) unbiases it.
        variance = np.maximum(squares / count - mean**2, 0.0) * count / (count - 1)
        return Estimate(mean, np.sqrt(variance / count))
