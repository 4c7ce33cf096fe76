"""Metrics against scikit-learn's, and the cases where they have no value."""

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as theirs

from plait.answers.metrics import (
    bootstrap,
)
from plait.data.targets.classes import Classes, calibration_error, classification
from plait.data.targets.labels import Labels, multilabel
from plait.data.targets.numbers import Numbers, regression


def probabilities(rng, rows, classes):
    scores = rng.random((rows, classes)) ** 2
    return scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 5])
def test_classification_equals_sklearn(rng, classes, dtype):
    target = rng.integers(0, classes, 200)
    scores = probabilities(rng, 200, classes).astype(dtype)
    guess = scores.argmax(axis=1)
    found = classification(target, scores)
    ranked = scores.astype(float) / scores.astype(float).sum(axis=1, keepdims=True)
    want = {
        "accuracy": theirs.accuracy_score(target, guess),
        "balanced_accuracy": theirs.balanced_accuracy_score(target, guess),
        "macro_f1": theirs.f1_score(target, guess, average="macro"),
        "micro_f1": theirs.f1_score(target, guess, average="micro"),
        "auroc": theirs.roc_auc_score(target, ranked[:, 1])
        if classes == 2
        else theirs.roc_auc_score(target, ranked, multi_class="ovr", average="macro"),
        "log_loss": theirs.log_loss(target, ranked, labels=range(classes)),
    }
    for name, value in want.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_classes_that_do_not_occur_do_not_count(rng):
    """Class 3 is guessed now and then, but no row has it."""
    target = rng.integers(0, 3, 100)
    scores = probabilities(rng, 100, 4)
    found = classification(target, scores)
    guess = scores.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["balanced_accuracy"] == pytest.approx(
            theirs.balanced_accuracy_score(target, guess)
        )
    each = [theirs.roc_auc_score(target == label, scores[:, label]) for label in range(3)]
    assert found["auroc"] == pytest.approx(np.mean(each))


def naive_calibration(right, confidence, bins=15):
    total = 0.0
    for number in range(bins):
        inside = [
            row
            for row in range(len(right))
            if number / bins <= confidence[row] < (number + 1) / bins
            or (number == bins - 1 and confidence[row] == 1)
        ]
        if inside:
            accuracy = sum(bool(right[row]) for row in inside) / len(inside)
            total += (
                len(inside)
                / len(right)
                * abs(accuracy - sum(confidence[row] for row in inside) / len(inside))
            )
    return total


def test_calibration_error_equals_a_plain_loop(rng):
    confidence = np.append(rng.random(300), [0.0, 1.0])
    right = rng.random(302) < confidence
    assert calibration_error(right, confidence) == pytest.approx(
        naive_calibration(right, confidence)
    )


def test_calibration_error_of_certain_answers():
    assert calibration_error(np.array([True, True]), np.ones(2)) == 0
    assert calibration_error(np.array([False, True]), np.ones(2)) == 0.5


def test_multilabel_equals_sklearn(rng):
    target = (rng.random((200, 4)) < 0.4).astype(np.float32)
    scores = rng.random((200, 4)).astype(np.float32)
    guess = scores >= 0.5
    found = multilabel(target, scores)
    chance = scores.astype(float)
    want = {
        "map": theirs.average_precision_score(target, scores, average="macro"),
        "micro_f1": theirs.f1_score(target, guess, average="micro"),
        "macro_f1": theirs.f1_score(target, guess, average="macro"),
        "exact_match": theirs.accuracy_score(target, guess),
        "log_loss": np.mean([theirs.log_loss(target[:, i], chance[:, i]) for i in range(4)]),
    }
    assert found == pytest.approx(want, abs=1e-6)


def test_labels_that_do_not_occur_do_not_count(rng):
    target = (rng.random((50, 3)) < 0.4).astype(np.float64)
    target[:, 1] = 0
    scores = rng.random((50, 3))
    found, kept = multilabel(target, scores), [0, 2]
    assert found["map"] == pytest.approx(
        theirs.average_precision_score(target[:, kept], scores[:, kept])
    )
    assert found["macro_f1"] == pytest.approx(
        theirs.f1_score(target[:, kept], scores[:, kept] >= 0.5, average="macro")
    )


def test_one_label_alone_is_scored_for_its_presence():
    """Not for its absence too, as scikit-learn would do with one column."""
    target = np.array([[1.0], [1], [0], [0], [0]])
    scores = np.array([[0.9], [0.1], [0.8], [0.1], [0.1]])
    found = multilabel(target, scores)
    assert found["macro_f1"] == found["micro_f1"] == pytest.approx(0.5)


def test_regression_equals_sklearn(rng):
    target, scores = rng.normal(size=100), rng.normal(size=100)
    found = regression(target, scores)
    assert found == pytest.approx(
        {
            "r2": theirs.r2_score(target, scores),
            "mae": theirs.mean_absolute_error(target, scores),
            "rmse": theirs.mean_squared_error(target, scores) ** 0.5,
        }
    )


def test_a_single_class_has_no_auroc_and_no_warning(rng):
    for classes in (2, 3):
        found = classification(np.ones(6, np.int64), probabilities(rng, 6, classes))
        assert math.isnan(found.pop("auroc"))
        assert all(math.isfinite(value) for value in found.values())


def test_a_single_row_is_measured():
    assert classification(np.array([1]), np.array([[0.2, 0.8]]))["accuracy"] == 1
    assert math.isnan(regression(np.ones(1), np.zeros(1))["r2"])
    assert multilabel(np.ones((1, 2)), np.full((1, 2), 0.9))["exact_match"] == 1


def test_no_label_anywhere_has_no_precision(rng):
    found = multilabel(np.zeros((5, 2)), rng.random((5, 2)) / 3)
    assert math.isnan(found["map"])
    assert math.isnan(found["macro_f1"])
    assert found["exact_match"] == 1


def test_a_probability_of_zero_costs_much_but_not_everything():
    assert classification(np.array([0]), np.array([[0.0, 1.0]]))["log_loss"] == pytest.approx(
        -math.log(1e-12)
    )
    assert math.isfinite(multilabel(np.ones((1, 1)), np.zeros((1, 1)))["log_loss"])


def test_a_constant_number_is_measured():
    assert regression(np.full(4, 2.0), np.full(4, 3.0))["mae"] == 1


TARGETS = {
    "binary": Classes("y", ("a", "b")),
    "multiclass": Classes("y", ("a", "b", "c")),
    "multilabel": Labels("y", ("a", "b", "c")),
    "regression": Numbers("y"),
}
SAMPLES = {
    "binary": lambda rng: (rng.integers(0, 2, 60), probabilities(rng, 60, 2)),
    "multiclass": lambda rng: (rng.integers(0, 3, 60), probabilities(rng, 60, 3)),
    "multilabel": lambda rng: ((rng.random((60, 3)) < 0.5).astype(float), rng.random((60, 3))),
    "regression": lambda rng: (rng.normal(size=60), rng.normal(size=60)),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_intervals_hold_every_metric_and_its_value(rng, kind):
    target, scores = SAMPLES[kind](rng)
    found = TARGETS[kind].metrics(target, scores)
    intervals = bootstrap(TARGETS[kind].metrics, target, scores, seed=0, resamples=100)
    assert intervals.keys() == found.keys()
    for name, (low, high) in intervals.items():
        assert low < high
        if name != "calibration_error":  # resampling can only make gaps wider
            assert low <= found[name] <= high, name


def test_intervals_cover_the_truth_as_often_as_they_say(rng):
    def accuracy(target, scores):
        return {"accuracy": float((target == (scores > 0.5)).mean())}

    hits = 0
    for seed in range(120):
        target = rng.integers(0, 2, 150)
        scores = np.where(rng.random(150) < 0.8, target, 1 - target).astype(float)
        low, high = bootstrap(accuracy, target, scores, seed=seed, resamples=150)["accuracy"]
        hits += low <= 0.8 <= high
    assert hits >= 0.87 * 120


def test_intervals_are_wider_at_a_higher_level(rng):
    target, scores = SAMPLES["regression"](rng)
    narrow, wide = (
        bootstrap(regression, target, scores, seed=0, level=level)["mae"] for level in (0.5, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_intervals_are_drawn_by_their_seed(rng):
    target, scores = SAMPLES["regression"](rng)
    one, again, other = (bootstrap(regression, target, scores, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_intervals_of_a_single_class_say_nan_where_there_is_no_value(rng):
    intervals = bootstrap(
        classification, np.zeros(9, np.int64), probabilities(rng, 9, 2), seed=0, resamples=20
    )
    assert all(math.isnan(edge) for edge in intervals["auroc"])
    assert all(math.isfinite(edge) for edge in intervals["log_loss"])


@pytest.mark.parametrize("kind", TARGETS)
def test_every_metric_says_which_way_is_better(rng, kind):
    names = TARGETS[kind].metrics(*SAMPLES[kind](rng)).keys()
    assert TARGETS[kind].higher_is_better[TARGETS[kind].primary]
    assert names == TARGETS[kind].higher_is_better.keys()
