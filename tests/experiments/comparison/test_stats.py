"""The bootstrap over many models equals the plain one, a resample at a time."""

import numpy as np
import pytest

from plait.answers import statistics as stats
from plait.data.targets.classes import Classes
from plait.data.targets.labels import Labels
from plait.data.targets.numbers import Numbers

ROWS, MODELS = 40, 3


def guesses_of(kind, rng):
    """Truth, what models guess (as runs save it), and their scores (as metrics take them)."""
    if kind == "multilabel":
        truth = (rng.random((ROWS, 4)) < 0.4).astype(np.float32)
        scores = np.round(rng.random((MODELS, ROWS, 4)), 1)  # many ties
        return truth, scores, scores
    if kind == "regression":
        truth = rng.normal(5, 2, ROWS)
        scores = truth + rng.normal(0, 1, (MODELS, ROWS))
        return truth, scores, scores
    classes = 2 if kind == "binary" else 4
    truth = rng.integers(0, classes, ROWS)
    scores = rng.dirichlet(np.ones(classes), (MODELS, ROWS))
    return truth, scores.argmax(axis=2), scores


TARGETS = {
    "binary": Classes("y", ("a", "b")),
    "multiclass": Classes("y", tuple("abcd")),
    "multilabel": Labels("y", tuple("abcd")),
    "regression": Numbers("y"),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.filterwarnings("ignore")  # a resample may lack a class
def test_every_resample_is_the_metric_on_repeated_rows(kind, rng):
    truth, guesses, scores = guesses_of(kind, rng)
    weights = next(stats.draws(ROWS, 20, seed=1))
    found = TARGETS[kind].resample(truth, guesses, weights)
    assert found.shape == (MODELS, 20)
    for resample, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(ROWS), counts)
        for model in range(MODELS):
            plain = TARGETS[kind].metrics(truth[rows], scores[model][rows])[TARGETS[kind].primary]
            assert found[model, resample] == pytest.approx(plain, abs=1e-9)


def test_a_resample_draws_as_many_rows_as_there_are_and_a_seed_repeats_them():
    first = np.concatenate(list(stats.draws(30, stats.CHUNK + 5, seed=3)))
    again = np.concatenate(list(stats.draws(30, stats.CHUNK + 5, seed=3)))
    assert first.shape == (stats.CHUNK + 5, 30)
    assert (first.sum(axis=1) == 30).all()
    assert (first == again).all()
    assert (first[0] != np.concatenate(list(stats.draws(30, 1, seed=4)))[0]).any()
    # Each row is drawn once on average; 255 resamples of 30 rows leave a deviation of .06.
    assert abs(first.mean(axis=0) - 1).max() < 0.3


def test_bootstrap_of_two_models_shares_its_resamples(rng):
    truth, guesses, _ = guesses_of("multiclass", rng)
    alike = np.stack([guesses[0], guesses[0]])
    found = stats.bootstrap(TARGETS["multiclass"], truth, alike, resamples=300, seed=0)
    assert found.shape == (2, 300)
    assert (found[0] == found[1]).all()


def test_no_value_where_there_can_be_none():
    weights = np.ones((1, 3))
    assert np.isnan(TARGETS["regression"].resample(np.ones(3), np.zeros((1, 3)), weights)).all()
    assert np.isnan(
        TARGETS["multilabel"].resample(np.zeros((3, 2)), np.zeros((1, 3, 2)), weights)
    ).all()
    low, high = stats.interval(np.full(4, np.nan))
    assert np.isnan(low) and np.isnan(high)


def test_an_interval_holds_the_middle_95_per_cent():
    low, high = stats.interval(np.append(np.arange(101.0), np.nan))
    assert (low, high) == (2.5, 97.5)


def test_p_by_hand():
    differences = np.array([-1.0, 0.5, 1.0, 2.0, 3.0, np.nan, 4.0, 5.0, 6.0, 7.0])
    assert stats.p_value(differences) == pytest.approx(2 * (1 + 1) / 10)
    assert stats.p_value(-differences) == pytest.approx(2 * (1 + 1) / 10)
    assert stats.p_value(np.zeros(99)) == 1.0
    assert stats.p_value(np.ones(99)) == pytest.approx(2 / 100)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .5: times 4, 3, 2, 1 gives .04 .06 .06 .5, and none may fall.
    assert stats.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []
