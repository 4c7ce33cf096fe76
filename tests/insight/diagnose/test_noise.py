"""Confident learning against a plain reading of the paper, and planted wrong labels found."""

import numpy as np
import pytest

from plait.insight.diagnose.noise import MIN_ROWS, label_suspects, suspects


def plain(given, scores):
    """Northcutt et al. 2021, equations 1 and 2, a row at a time."""
    classes = scores.shape[1]
    threshold = [
        scores[given == j, j].mean() if (given == j).any() else np.inf for j in range(classes)
    ]
    joint = np.zeros((classes, classes), int)
    found = []
    for row, own in enumerate(given):
        reached = [j for j in range(classes) if scores[row, j] >= threshold[j]]
        if not reached:
            continue
        likely = max(reached, key=lambda j: scores[row, j])
        joint[own, likely] += 1
        if likely != own and scores[row, own] < scores[row, likely]:
            found.append((scores[row, own] - scores[row, likely], row))
    return joint, [row for _, row in sorted(found)]


def test_it_is_what_the_paper_says(rng):
    scores = rng.dirichlet([1.0] * 4, 300)
    given = rng.integers(0, 3, 300)  # class 3 is never given
    found = suspects(given, scores)
    joint, rows = plain(given, scores)
    np.testing.assert_array_equal(found.joint, joint)
    assert found.rows.tolist() == rows
    assert not (found.likely == 3).any()
    np.testing.assert_array_equal(found.given, given[found.rows])
    assert (np.diff(found.margin) >= 0).all() and (found.margin < 0).all()


def test_planted_wrong_labels_are_found(rng):
    true = rng.integers(0, 3, 600)
    scores = np.full((600, 3), 0.05)
    scores[np.arange(600), true] = 0.9
    scores += rng.normal(0, 0.01, scores.shape)
    given = true.copy()
    flipped = np.arange(0, 600, 20)
    given[flipped] = (true[flipped] + 1) % 3
    found = suspects(given, scores)
    assert set(found.rows) == set(flipped)
    np.testing.assert_array_equal(found.likely, true[found.rows])


def test_a_clean_table_has_none_and_few_rows_say_nothing():
    given = np.arange(40) % 2
    scores = np.eye(2)[given]
    assert len(suspects(given, scores).rows) == 0
    assert suspects(given[: MIN_ROWS - 1], scores[: MIN_ROWS - 1]) is None
    assert len(suspects(np.zeros(40, np.int64), np.full((40, 1), 1.0)).rows) == 0


def test_a_suspect_whose_own_class_is_likeliest_is_let_go():
    # Class 0 has a high threshold: 0.55 does not reach it, while 0.45 reaches that of class 1.
    given = np.r_[np.zeros(30), np.ones(10)].astype(np.int64)
    scores = np.r_[np.tile([0.95, 0.05], (29, 1)), [[0.55, 0.45]], np.tile([0.6, 0.4], (10, 1))]
    found = suspects(given, scores)
    assert found.joint[0, 1] == 1 and 29 not in found.rows


def test_labels_are_looked_at_one_by_one(rng):
    truth = rng.random((200, 2)) < 0.5
    scores = np.where(truth, 0.9, 0.1)
    given = truth.copy()
    given[7, 1] = not given[7, 1]
    first, second = label_suspects(given, scores)
    assert len(first.rows) == 0
    assert second.rows.tolist() == [7] and second.likely[0] == int(truth[7, 1])
    assert label_suspects(given[:3], scores[:3]) == [None, None]
    assert second.margin[0] == pytest.approx(-0.8)
