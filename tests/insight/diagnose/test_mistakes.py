"""Counts of mistakes against scikit-learn, and rows in the right order."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from plait.insight.diagnose.mistakes import (
    confusion,
    confusions,
    per_class,
    per_label,
    residuals,
    surest,
    surest_labels,
)


def test_confusion_and_table_are_those_of_scikit_learn(rng):
    truth, guess = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    matrix = confusion(truth, guess, 4)
    np.testing.assert_array_equal(matrix, confusion_matrix(truth, guess))
    found = per_class(matrix)
    right = precision_recall_fscore_support(truth, guess)
    for own, theirs in zip(
        (found.precision, found.recall, found.f1, found.support), right, strict=True
    ):
        np.testing.assert_allclose(own, theirs)
    np.testing.assert_array_equal(found.answered, np.bincount(guess, minlength=4))


def test_labels_are_those_of_scikit_learn(rng):
    truth, guess = rng.random((90, 3)) < 0.4, rng.random((90, 3)) < 0.6
    found = per_label(truth, guess)
    right = precision_recall_fscore_support(truth, guess, average=None)
    for own, theirs in zip(
        (found.precision, found.recall, found.f1, found.support), right, strict=True
    ):
        np.testing.assert_allclose(own, theirs)


def test_what_cannot_be_divided_is_not_a_number():
    found = per_class(confusion(np.array([0, 0, 1]), np.array([0, 2, 0]), 4))
    np.testing.assert_array_equal(found.precision, [0.5, np.nan, 0.0, np.nan])
    np.testing.assert_array_equal(found.recall, [0.5, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(found.f1, [0.5, 0.0, np.nan, np.nan])


def test_the_commonest_confusions_come_first_and_right_answers_are_none():
    matrix = np.array([[9, 1, 0], [3, 9, 0], [0, 1, 9]])
    assert confusions(matrix) == [(1, 0, 3), (0, 1, 1), (2, 1, 1)]
    assert confusions(matrix, 1) == [(1, 0, 3)]
    assert confusions(np.diag([3, 4])) == []


def test_the_surest_mistakes_come_first():
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]], np.float32)
    assert surest(np.array([1, 0, 0, 1]), scores).tolist() == [0, 2, 1]
    assert surest(np.array([1, 0, 0, 1]), scores, 1).tolist() == [0]
    assert surest(np.array([0, 1, 1, 1]), scores).tolist() == []
    assert surest(np.zeros(0, np.int64), np.zeros((0, 2))).tolist() == []


def test_the_surest_wrong_labels_are_furthest_from_one_half():
    truth = np.array([[True, False], [False, False]])
    scores = np.array([[0.1, 0.6], [0.2, 0.95]])
    assert surest_labels(truth, scores) == [(1, 1), (0, 0), (0, 1)]
    assert surest_labels(truth, truth.astype(float)) == []


def test_residuals_have_their_sign_and_the_worst_first():
    found = residuals(np.array([1.0, 2.0, 3.0]), np.array([1.5, 0.0, 3.0]), 2)
    np.testing.assert_allclose(found.error, [0.5, -2.0, 0.0])
    assert found.worst.tolist() == [1, 0]


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_rows(rows):
    matrix = confusion(np.zeros(rows, np.int64), np.zeros(rows, np.int64), 1)
    assert matrix.tolist() == [[rows]]
    assert per_class(matrix).support.tolist() == [rows]
