"""Splits are complete, repeatable, balanced, and never part a group."""

import numpy as np
import pytest
from fuzz import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.table.split import split
from plait.errors import TableError

shares = st.floats(0.05, 0.8)
seeds = st.integers(0, 2**31 - 1)
classes = st.lists(st.integers(0, 4), min_size=4, max_size=80)


def _check(train, validation, present):
    assert train.dtype == validation.dtype == np.int64
    assert not set(train.tolist()) & set(validation.tolist())
    assert sorted([*train.tolist(), *validation.tolist()]) == np.flatnonzero(present).tolist()
    assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()


@settings(max_examples=examples(60))
@given(values=classes, share=shares, seed=seeds, gaps=st.integers(0, 3))
def test_rows_are_split_once_and_the_same_again(values, share, seed, gaps):
    values = np.array(values)
    present = np.ones(len(values), dtype=bool)
    present[: min(gaps, len(values) - 4)] = False
    first = split(values, present, share=share, seed=seed)
    _check(*first, present)
    again = split(values, present, share=share, seed=seed)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert min(map(len, first)) >= 2
    kept = values[present]
    counts = np.bincount(kept)
    fits = len(np.flatnonzero(counts >= 2)) <= min(round(share * len(kept)), len(kept) // 2)
    crowded = len(np.flatnonzero(counts >= 2)) > max(round(share * len(kept)), 2)
    for name in np.flatnonzero(counts >= 2) if not crowded else []:
        inside = int((values[first[1]] == name).sum())
        assert 1 <= inside <= counts[name] - 1
        if fits and counts[name] >= 4:
            assert abs(inside - share * counts[name]) < 1 + len(counts)


@settings(max_examples=examples(60))
@given(values=classes, share=shares, seed=seeds, data=st.data())
def test_groups_stay_whole(values, share, seed, data):
    names = st.one_of(st.none(), st.integers(0, 9), st.sampled_from(["a", "b", "", " "]))
    groups = data.draw(st.lists(names, min_size=len(values), max_size=len(values)))
    present = np.ones(len(values), dtype=bool)
    named = {g for g in groups if g is not None and not (isinstance(g, str) and not g.strip())}
    if len(named) < 2:
        groups[:2] = ["p", "q"]
    train, validation = split(np.array(values), present, share=share, seed=seed, groups=groups)
    _check(train, validation, present)
    assert len(train) and len(validation)
    sides = [{groups[row] for row in side} for side in (train, validation)]
    assert not {g for g in sides[0] & sides[1] if g is not None and str(g).strip()}
    again = split(np.array(values), present, share=share, seed=seed, groups=groups)
    assert (again[1] == validation).all()


def test_shares_and_balance_are_met():
    values = np.repeat([0, 1, 2], [800, 180, 20])
    train, validation = split(values, np.ones(1000, bool), share=0.15, seed=0)
    assert np.bincount(values[validation]).tolist() == [120, 27, 3]
    assert len(train) == 850
    other = split(values, np.ones(1000, bool), share=0.15, seed=1)[1]
    assert (other != validation).any()


def test_without_balance_only_the_share_counts():
    values = np.repeat([0, 1], [50, 50])
    _, validation = split(values, np.ones(100, bool), share=0.2, seed=3, stratify=False)
    assert len(validation) == 20


def test_groups_come_close_to_share_and_balance():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 2000)
    values = (rng.random(2000) < 0.1 + 0.4 * (groups % 5 == 0)).astype(int)
    for seed in range(3):
        _, validation = split(values, np.ones(2000, bool), share=0.2, seed=seed, groups=groups)
        assert abs(len(validation) / 2000 - 0.2) < 0.03
        assert abs(values[validation].mean() - values.mean()) < 0.04


def test_numbers_are_balanced_by_tenths():
    values = np.random.default_rng(0).lognormal(size=1000)
    _, validation = split(values, np.ones(1000, bool), share=0.1, seed=0)
    deciles = np.searchsorted(np.quantile(values, np.linspace(0, 1, 11)[1:-1]), values[validation])
    assert np.bincount(deciles, minlength=10).tolist() == [10] * 10


def test_label_sets_are_balanced_by_their_rarest():
    values = np.zeros((100, 3), np.float32)
    values[:, 0] = 1
    values[:10, 1] = 1
    values[10:12, 2] = 1
    values[50:60] = 0
    train, validation = split(values, np.ones(100, bool), share=0.2, seed=0)
    assert values[validation][:, 1].sum() == 2
    assert values[validation][:, 2].sum() == values[train][:, 2].sum() == 1


def test_classes_of_one_row_each():
    train, validation = split(np.arange(6), np.ones(6, bool), share=0.1, seed=0)
    assert (len(train), len(validation)) == (4, 2)


def test_a_huge_group_and_a_small_one():
    groups = ["big"] * 9 + ["small"]
    train, validation = split(
        np.zeros(10, int), np.ones(10, bool), share=0.05, seed=0, groups=groups
    )
    assert validation.tolist() == [9]
    train, _ = split(np.zeros(10, int), np.ones(10, bool), share=0.89, seed=0, groups=groups)
    assert train.tolist() == [9]
    pair = split(np.zeros(4, int), np.ones(4, bool), share=0.999, seed=0, groups=list("abcd"))
    assert len(pair[0]) == 1


def test_too_few_rows_or_groups():
    with pytest.raises(TableError, match="3 rows have a target, and a split .* at least 4"):
        split(np.zeros(9, int), np.arange(9) < 3, share=0.2, seed=0)
    with pytest.raises(
        TableError, match="all 9 rows with a target are in one group, 'a', and a group"
    ):
        split(np.zeros(9, int), np.ones(9, bool), share=0.2, seed=0, groups=["a"] * 9)
