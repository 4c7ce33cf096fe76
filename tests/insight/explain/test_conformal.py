"""Quantiles by hand, coverage over many draws, and sets of a fitted model."""

import json

import numpy as np
import pytest
from scipy import stats

import plait
from plait.data.targets.classes import Classes
from plait.data.targets.numbers import Numbers
from plait.errors import ConfigError, TableError
from plait.insight.explain.conformal import (
    ABSOLUTE,
    APS,
    APS_RANDOM,
    LAC,
    covered,
    held_scores,
    members,
    oddness,
    threshold,
    wilson,
)
from plait.insight.explain.held_out import HeldOut
from plait.insight.explain.sets import TargetSets


def drawn(rng, rows, classes=5):
    """Probabilities that are wrong by a temperature, and truths: no method may lean on calibration."""
    right = rng.normal(0, 1.5, (rows, classes))
    chances = np.exp(right) / np.exp(right).sum(axis=1, keepdims=True)
    truth = (chances.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    told = np.exp(2 * right) / np.exp(2 * right).sum(axis=1, keepdims=True)
    return truth, told


@pytest.mark.parametrize("method", [LAC, APS, APS_RANDOM])
def test_sets_hold_the_truth_as_often_as_promised(method):
    """The mean coverage over many draws lies within binomial bounds of the promise."""
    classes = Classes("y", tuple("abcdefgh"))
    rng, hits, rows, held = np.random.default_rng(7), 0, 0, 39
    for draw in range(400):
        truth, scores = drawn(rng, held + 20)
        kept = held_scores(classes, truth[:held], scores[:held], seed=draw)[method]
        limit = threshold(kept, 0.9, "y")
        inside = covered(members(method, scores[held:], limit, seed=draw, empty=True), truth[held:])
        hits, rows = hits + int(inside.sum()), rows + 20
    # Rows that share a limit vary together; a beta-binomial has the variance of both.
    place = int(np.ceil((held + 1) * 0.9))
    one = stats.betabinom(20, place, held + 1 - place)
    slack = 4 * one.std() * np.sqrt(400)
    assert hits >= rows * 0.9 - slack
    if method != APS:  # whose scores of 1 are ties
        assert hits <= rows * place / (held + 1) + slack


def test_intervals_hold_the_truth_as_often_as_promised():
    rng, hits = np.random.default_rng(3), []
    for _ in range(500):
        truth = rng.normal(size=60) ** 3
        guess = np.zeros((60, 1))
        limit = threshold(held_scores(Numbers("y"), truth[:19], guess[:19])[ABSOLUTE], 0.8, "y")
        hits.append(int((np.abs(truth[19:]) <= limit).sum()))
    one = stats.betabinom(41, 16, 4)  # exact for continuous scores: ⌈20 · 0.8⌉ = 16
    assert abs(np.mean(hits) - one.mean()) < 4 * one.std() / np.sqrt(500)
    assert np.std(hits) == pytest.approx(one.std(), rel=0.15)


def test_quantiles_by_hand():
    nine = np.arange(1.0, 10.0)
    assert threshold(nine, 0.9, "y") == 9  # the ninth of nine
    assert threshold(nine, 0.5, "y") == 5
    assert threshold(nine, 0.51, "y") == 6  # 5.1, rounded up
    assert threshold(nine, 0.1, "y") == 1
    assert threshold(np.arange(1.0, 20.0), 0.9, "y") == 18


def test_a_promise_that_so_few_rows_cannot_keep():
    with pytest.raises(ConfigError) as caught:
        threshold(np.arange(8.0), 0.9, "label")
    assert str(caught.value) == (
        "1 option is wrong:\n  - coverage=0.9: 'label' has 8 validation rows to promise from, which is "
        "enough for 0.888 at most. Ask for less, or fit with a larger share of validation rows; 0.9 needs "
        "9 of them."
    )
    assert threshold(np.arange(8.0), 0.888, "label") == 7
    for wrong in (0, 1, -0.1, 90):
        with pytest.raises(
            ConfigError, match=rf"coverage={wrong}: a share between 0 and 1, such as 0.9"
        ):
            threshold(np.arange(8.0), wrong, "label")


def test_scores_by_hand():
    scores = np.array([[0.5, 0.2, 0.3]])
    np.testing.assert_allclose(oddness(LAC, scores), [[0.5, 0.8, 0.7]])
    np.testing.assert_allclose(oddness(APS, scores), [[0.5, 1.0, 0.8]])
    half = oddness(APS_RANDOM, scores, np.array([0.5]))
    np.testing.assert_allclose(half, [[0.25, 0.9, 0.65]])
    assert members(LAC, scores, 0.7).tolist() == [[True, False, True]]
    assert members(APS, scores, 0.8).tolist() == [[True, False, True]]
    assert members(LAC, scores, 0.1).tolist() == [[True, False, False]]  # never empty
    assert members(LAC, scores, 0.1, empty=True).tolist() == [[False, False, False]]
    assert members(LAC, scores[:0], 0.1).shape == (0, 3)


def test_chance_is_seeded():
    _, scores = drawn(np.random.default_rng(0), 200)
    one, same, other = (members(APS_RANDOM, scores, 0.7, seed=seed) for seed in (1, 1, 2))
    assert (one == same).all() and not (one == other).all()
    assert (members(APS, scores, 0.7, seed=1) == members(APS, scores, 0.7, seed=2)).all()


def test_wilson_on_newcombes_examples():
    """Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3."""
    for hits, rows, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        np.testing.assert_allclose(wilson(hits, rows), (low, high), atol=5e-5)
    assert np.isnan(wilson(0, 0)).all()


# Of a fitted model.


def test_sets_of_every_target(several, braid):
    model, folder = several
    found = model.predict_set(braid / "test.csv", coverage=0.8)
    assert set(found.targets) == {"label", "score"}
    assert found.notes[-1] == "'tags' is a set of labels and gets no prediction set"
    label, score = found.targets["label"], found.targets["score"]
    answers = model.answer(braid / "test.csv")
    assert all(
        one[0] == told for one, told in zip(label.sets, answers.values["label"], strict=True)
    )
    chances = answers.scores["label"].astype(float)
    limit = np.sort(model.held.conformal["label"][LAC])[
        int(np.ceil((label.held_out + 1) * 0.8)) - 1
    ]
    right = (1 - chances <= limit).sum(axis=1)
    assert [len(one) for one in label.sets] == np.maximum(right, 1).tolist()
    np.testing.assert_allclose((score.low + score.high) / 2, answers.values["score"])
    assert np.ptp(score.high - score.low) < 1e-9 and score.size == pytest.approx(2 * score.limit)
    assert label.size == np.mean([len(one) for one in label.sets])
    again = plait.load(folder).predict_set(braid / "test.csv", coverage=0.8)
    assert again.to_json() == found.to_json()


def test_coverage_is_measured_where_answers_are_known(several, braid):
    model, _ = several
    table = plait.open_table(braid / "test.csv")
    truth, values = table.cells("label"), table.cells("score")
    found = model.predict_set(braid / "test.csv", coverage=0.8)
    label, score = found.targets["label"], found.targets["score"]
    right = [one in held for one, held in zip(truth, label.sets, strict=True)]
    assert label.measured == (np.mean(right), wilson(sum(right), 24), 24)
    inside = [
        low <= float(one) <= high
        for low, one, high in zip(score.low, values, score.high, strict=True)
    ]
    assert score.measured[0] == pytest.approx(np.mean(inside))
    bare = {
        name: table.cells(name) for name in table.columns if name not in ("label", "score", "tags")
    }
    told = model.predict_set({**bare, "score": [None] * 24}, coverage=0.8, root=braid)
    assert told.targets["label"].measured is None and told.targets["score"].measured is None


def test_methods(several, braid):
    model, _ = several
    sizes = {}
    for method in (LAC, APS, APS_RANDOM):
        found = model.predict_set(braid / "test.csv", coverage=0.8, method=method).targets
        assert found["label"].method == method and found["score"].method == ABSOLUTE
        sizes[method] = found["label"].size
    assert sizes[APS_RANDOM] <= sizes[APS] + 1
    with pytest.raises(ConfigError) as caught:
        model.predict_set(braid / "test.csv", method="lax")
    assert str(caught.value).endswith(
        "method: unknown method 'lax'. Did you mean 'lac'? Choose from: absolute, aps, aps_random, lac."
    )


def test_results_go_into_files(several, braid):
    model, _ = several
    found = model.predict_set(braid / "test.csv", coverage=0.8)
    columns = found.to_columns()
    assert list(columns) == ["label_set", "score_low", "score_high"]
    assert columns["label_set"][0] == found.targets["label"].sets[0]
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["coverage"] == 0.8 and len(data["targets"]["score"]["low"]) == 24
    assert data["targets"]["label"]["size"] == found.targets["label"].size
    none = model.predict_set(plait.open_table(braid / "test.csv").slice(0, 0), coverage=0.8)
    assert none.targets["label"].sets == [] and np.isnan(none.targets["label"].size)
    assert none.to_json()["targets"]["score"]["size"] is None


def test_what_cannot_be_promised_is_told(several, braid, maker):
    model, folder = several
    with pytest.raises(ConfigError, match=r"coverage=0.999: 'label' has \d+ validation rows"):
        model.predict_set(braid / "test.csv", coverage=0.999)
    old = plait.load(folder)
    old.held = HeldOut()
    with pytest.raises(TableError) as caught:
        old.predict_set(braid / "test.csv")
    assert str(caught.value) == (
        "this model keeps no validation scores of 'label', 'score', which prediction sets need: it was "
        "saved by an older plait, or had no labelled validation row. Fit it again."
    )
    old.targets = old.targets[2:]
    with pytest.raises(TableError) as caught:
        old.predict_set(braid / "test.csv")
    assert str(caught.value) == (
        "'tags' is a set of labels, for which there are no prediction sets; predict_proba gives each "
        "label's probability."
    )


def test_an_interval_alone_has_a_size():
    one = TargetSets(ABSOLUTE, 1.0, 9, low=np.array([0.0, 1.0]), high=np.array([2.0, 3.0]))
    assert one.size == 2.0
