"""Shapley values and interactions against games whose values are known, and against brute force."""

from itertools import combinations, permutations

import numpy as np
import pytest

from plait.insight.explain.shapley import MAX_EXACT, Game


def by_orders(value, players):
    """The Shapley value as its definition by arrival: the mean over all orders."""
    total = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        seen = frozenset()
        for player in order:
            total[player] += value(seen | {player}) - value(seen)
            seen |= {player}
    return total / len(orders)


def by_merging(value, players, one, two):
    """The interaction index as in Grabisch & Roubens' recursion: the pair as one player, less each alone.

    ``I_ij = φ_{ij}(game with i and j merged) - φ_i(game without j) - φ_j(game without i)``.
    """
    others = [player for player in range(players) if player not in (one, two)]

    def shapley_of(block):
        """The value of ``block``, a tuple of players who move as one, among the others."""
        units = [block, *[(other,) for other in others]]
        found = by_orders(
            lambda seen: value(frozenset(sum((units[u] for u in seen), ()))), len(units)
        )
        return found[0]

    return shapley_of((one, two)) - shapley_of((one,)) - shapley_of((two,))


def table(game, value):
    return np.array([value(frozenset(np.flatnonzero(row).tolist())) for row in game.subsets])


def random_game(players, seed=0):
    """Any game: a random number a subset, remembered."""
    rng, known = np.random.default_rng(seed), {}
    for size in range(players + 1):
        for subset in combinations(range(players), size):
            known[frozenset(subset)] = float(rng.normal())
    return known.__getitem__


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_exact_values_are_those_of_all_orders(players):
    value, game = random_game(players), Game(players)
    found = game.shapley(table(game, value))
    np.testing.assert_allclose(found.values, by_orders(value, players), atol=1e-12)
    assert found.error is None and not game.sampled
    everyone, nobody = value(frozenset(range(players))), value(frozenset())
    assert found.values.sum() == pytest.approx(everyone - nobody, abs=1e-12)


@pytest.mark.parametrize("players", [2, 3, 4])
def test_exact_interactions_are_those_of_the_recursion(players):
    value, game = random_game(players, seed=3), Game(players)
    found = game.interactions(table(game, value)).values
    told = [by_merging(value, players, one, two) for one, two in game.pairs]
    np.testing.assert_allclose(found, told, atol=1e-12)


def test_known_games():
    # Gloves: 0 has a left glove, 1 and 2 a right one each. 0 gets 2/3.
    gloves = Game(3)
    values = table(gloves, lambda seen: float(0 in seen and bool(seen & {1, 2})))
    np.testing.assert_allclose(gloves.shapley(values).values, [2 / 3, 1 / 6, 1 / 6], atol=1e-12)
    # Two that are only worth something together; two of which either does.
    both, either = Game(2), Game(2)
    assert both.interactions(table(both, lambda s: float(len(s) == 2))).values.tolist() == [1]
    assert either.interactions(table(either, lambda s: float(len(s) > 0))).values.tolist() == [-1]


def test_several_rows_at_once():
    game, rng = Game(4), np.random.default_rng(0)
    values = rng.normal(size=(16, 5, 2)).astype(np.float32)
    found, pairs = game.shapley(values), game.interactions(values)
    assert found.values.shape == (4, 5, 2) and pairs.values.shape == (6, 5, 2)
    one = game.shapley(values[:, 3, 1])
    np.testing.assert_allclose(found.values[:, 3, 1], one.values, atol=1e-12)


def test_sampling_agrees_with_all_subsets_within_its_error():
    value = random_game(6, seed=1)
    whole, drawn = Game(6), Game(6, exact=5, orders=400, seed=2)
    assert drawn.sampled and not drawn.subsets[0].any() and drawn.subsets[-1].all()
    for name in ("shapley", "interactions"):
        right = getattr(whole, name)(table(whole, value)).values
        found = getattr(drawn, name)(table(drawn, value))
        assert found.error is not None and (found.error > 0).all() and (found.error < 0.3).all()
        assert (np.abs(found.values - right) < 4 * found.error).all()
    assert drawn.shapley(table(drawn, value)).values.sum() == pytest.approx(
        value(frozenset(range(6))) - value(frozenset()), abs=1e-9
    )


def test_the_standard_error_is_that_of_many_repeats():
    value = random_game(5, seed=4)
    games = [Game(5, exact=4, orders=16, seed=seed) for seed in range(80)]
    found = [game.shapley(table(game, value)) for game in games]
    spread = np.std([one.values for one in found], axis=0, ddof=1)
    told = np.mean([one.error for one in found], axis=0)
    np.testing.assert_allclose(told, spread, rtol=0.35)


def test_additive_games_are_exact_even_when_sampled():
    worth = np.arange(10.0)
    game = Game(10)
    assert game.sampled and MAX_EXACT < 10 and len(game.subsets) < 1024
    values = game.subsets @ worth
    found, pairs = game.shapley(values), game.interactions(values)
    np.testing.assert_allclose(found.values, worth, atol=1e-12)
    np.testing.assert_allclose(found.error, 0, atol=1e-6)
    np.testing.assert_allclose(pairs.values[~np.isnan(pairs.values)], 0, atol=1e-12)


def test_the_seed_decides_the_orders():
    one, same, other = (Game(9, seed=seed).subsets for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not (one.shape == other.shape and (one == other).all())


def test_a_pair_that_was_never_together_has_no_number():
    game = Game(12, orders=2)
    found = game.interactions(np.zeros(len(game.subsets)))
    assert np.isnan(found.values).any() and not np.isnan(found.values).all()


def test_what_is_no_game_is_refused():
    with pytest.raises(ValueError, match="a game needs at least one player, got players=0"):
        Game(0)
    with pytest.raises(
        ValueError, match="a standard error needs at least two orders, got orders=1"
    ):
        Game(9, orders=1)
