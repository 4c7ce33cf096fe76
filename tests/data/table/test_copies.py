"""Rows written down twice stay on one side of a split."""

import numpy as np

from plait.config import configure
from plait.data.table.copies import copy_groups
from plait.data.table.source import open_table
from plait.training.dataset import read_dataset


def grouped(table, inputs, groups=None):
    return copy_groups(open_table(table), inputs, groups)


def test_copies_are_one_group():
    table = [{"x": 0.5 * n, "y": n % 2} for n in range(20)] * 3
    groups, copies = grouped(table, ["x"])
    assert copies == 40
    assert groups == [n % 20 for n in range(60)]


def test_categories_that_come_back_are_no_copies():
    table = [{"a": "pq"[n % 2], "b": "rst"[n % 3], "c": "uvwxz"[n % 5]} for n in range(60)]
    assert grouped(table, ["a", "b", "c"]) == (None, 0)


def test_rows_that_differ_are_left_alone():
    table = [{"x": 0.5 * n} for n in range(10)]
    assert grouped(table, ["x"]) == (None, 0)
    assert grouped(table, ["x"], list("aabbccddee")) == (list("aabbccddee"), 0)


def test_a_handful_of_settings_measured_again_are_no_copies():
    assert grouped([{"x": 0.5}] * 8, ["x"]) == (None, 0)
    assert grouped([{"x": float(n % 19)} for n in range(57)], ["x"]) == (None, 0)


def test_copies_tie_the_groups_together_that_hold_them():
    table = [{"x": x} for x in (0.5, 1.5, 2.5, 0.5, 3.5, 4.5, *range(10, 30))]
    groups, copies = grouped(table, ["x"], ["a", "a", "b", "b", None, "c", *"d" * 20])
    assert copies == 1
    assert groups[0] == groups[1] == groups[2] == groups[3]
    assert len({groups[0], groups[4], groups[5]}) == 3


def test_a_split_parts_no_copies_and_says_so():
    rng = np.random.default_rng(0)
    table = [{"x": float(rng.normal()), "y": "ab"[n % 2]} for n in range(40)] * 5
    data = read_dataset(open_table(table), ["y"], configure())
    assert not {row % 40 for row in data.train} & {row % 40 for row in data.validation}
    assert data.notes == [
        "160 rows repeat an earlier one in every input column; copies stay on one side of the split, so "
        "that no metric is computed on training rows"
    ]
