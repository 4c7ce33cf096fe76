"""Measures of drift against scipy and by hand; what is the same does not count as moved."""

import numpy as np
import pytest
from scipy import stats

from plait.insight.diagnose import drift
from plait.insight.diagnose.chance import adjusted


def test_categories(rng):
    before, after = np.array([50, 30, 20, 0]), np.array([10, 30, 50, 10])
    found = drift.categories(before, after)
    b, a = (before + 0.5) / 102, (after + 0.5) / 102
    assert found.measure == "psi"
    assert found.value == pytest.approx(((a - b) * np.log(a / b)).sum())
    shares = np.array([before / 100, after / 100])
    bits = lambda p: -(p[p > 0] * np.log2(p[p > 0])).sum()  # noqa: E731
    middle = bits(shares.mean(axis=0))  # Lin 1991, equation 4.1: H of the mean less the mean of H
    assert found.further == pytest.approx(middle - (bits(shares[0]) + bits(shares[1])) / 2)
    assert found.p == pytest.approx(stats.chi2_contingency([before, after]).pvalue)


def test_rare_categories_are_one_for_the_test():
    before, after = np.array([40, 40, 2, 1]), np.array([40, 40, 1, 2])
    merged = [[40, 40, 3], [40, 40, 3]]
    assert drift.categories(before, after).p == pytest.approx(stats.chi2_contingency(merged).pvalue)
    # Nothing but rare ones are a single category, which cannot differ.
    assert drift.categories(np.full(20, 1), np.full(20, 1)).p == 1.0


def test_numbers(rng):
    before, after = rng.normal(size=80), rng.normal(0.8, 1, 60)
    found = drift.numbers(np.r_[before, np.nan, np.inf], after)
    right = stats.ks_2samp(before, after, method="asymp")
    assert (found.measure, found.value, found.p) == ("ks", right.statistic, right.pvalue)


def test_missing():
    found = drift.missing(10, 100, 60, 200)
    assert found.value == pytest.approx(0.2) and found.further == pytest.approx(0.3)
    assert found.p == pytest.approx(stats.fisher_exact([[10, 90], [60, 140]]).pvalue)
    assert drift.missing(0, 100, 0, 100) is None


def test_vectors_that_are_told_apart_and_that_are_not(rng):
    before = rng.normal(size=(120, 6)).astype(np.float32)
    same, other = rng.normal(size=(2, 90, 6)).astype(np.float32)
    found = drift.vectors(before, same)
    assert abs(found.value - 0.5) < 0.12 and found.p > 0.01
    moved = drift.vectors(before, other + np.float32([2, 0, 0, 0, 0, 0]))
    assert moved.value > 0.9 and moved.p < 1e-10
    assert drift.vectors(before, other, seed=0) == drift.vectors(before, other, seed=0)


def test_constant_vectors_are_not_told_apart():
    found = drift.vectors(np.ones((30, 4), np.float32), np.ones((30, 4), np.float32))
    assert found.value == 0.5 and found.p == 1.0


def test_the_discriminant_is_ridge_regression(rng):
    from sklearn.linear_model import Ridge

    x, new = rng.normal(size=(40, 5)), rng.normal(size=(10, 5))
    label = np.arange(40) % 2 == 0
    mean, scale = x.mean(axis=0), x.std(axis=0)
    right = Ridge(alpha=drift.RIDGE * 40, fit_intercept=False)
    right.fit((x - mean) / scale, np.where(label, 1.0, -1.0))
    told = drift._discriminant(x, label, new)
    np.testing.assert_allclose(told, right.predict((new - mean) / scale), atol=1e-10)


def test_too_few_rows_say_nothing(rng):
    few, many = drift.MIN_ROWS - 1, drift.MIN_ROWS
    assert drift.categories(np.array([few, 0]), np.array([many, 0])) is None
    assert drift.categories(np.array([many]), np.array([many])) is None
    assert drift.numbers(np.zeros(few), np.zeros(many)) is None
    assert drift.missing(1, few, 1, many) is None
    assert drift.vectors(np.zeros((few, 2)), np.zeros((many, 2))) is None


def test_many_rows_are_thinned(monkeypatch, rng):
    monkeypatch.setattr(drift, "MAX_ROWS", 30)
    before = np.repeat(rng.normal(size=(30, 3)), 10, axis=0)
    assert len(drift._some(before)) == 30


def test_it_has_moved_only_if_that_is_large_and_no_chance():
    assert drift.Drift("psi", 0.3, 0.1, 0.0, q=0.01).moved()
    assert not drift.Drift("psi", 0.3, 0.1, 0.0, q=0.2).moved()
    assert not drift.Drift("psi", 0.05, 0.1, 0.0, q=0.0).moved()
    assert not drift.Drift("psi", 0.3, 0.1, 0.0).moved()  # not adjusted yet


def test_counts_leave_missing_values_out():
    before, after = np.array([0, 5, 5, 9], np.uint64), np.array([9, 7, 0], np.uint64)
    found = drift.counted(before, after)
    assert [one.tolist() for one in found] == [[2, 0, 1], [0, 1, 1]]


def test_tables_of_one_source_rarely_differ(rng):
    p = [drift.numbers(rng.normal(size=50), rng.normal(size=50)).p for _ in range(200)]
    assert (adjusted(np.array(p)) <= 0.05).sum() <= 2
