"""Rows that need no table are told from those that do."""

import datetime

import numpy as np
import pytest

from plait.runtime.rows import MAX_ROWS, plain_columns


@pytest.mark.parametrize(
    ("cells", "want"),
    [
        (["a", None, "  "], ["a", None, None]),
        ([1.5, float("nan")], [1.5, None]),
        ([3, None], [3, None]),
        ([True], [True]),
        ([b"x"], [b"x"]),
        ([None], [None]),
        ([{"bytes": b"x", "path": "a.png"}], [{"bytes": b"x", "path": "a.png"}]),
        ([{"path": None}], [None]),
        ([datetime.date(2024, 1, 2)], [datetime.date(2024, 1, 2)]),
        ([datetime.datetime(2024, 1, 2, 3)], [datetime.datetime(2024, 1, 2, 3)]),
    ],
    ids=str,
)
def test_plain_cells(cells, want):
    rows = [{"column": cell, "other": object()} for cell in cells]
    assert plain_columns(rows, ["column", "absent"]) == {"column": want}


@pytest.mark.parametrize(
    "cells",
    [
        ["a", 1],
        [1, 1.5],
        ["half \ud800"],
        [2**63],
        [np.float64(1)],
        [[1.0, 2.0]],
        [{"bytes": "text"}],
        [{"bytes": b"x", "more": 1}],
        [{}],
        [{"path": "half \ud800"}],
        [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)],
        [datetime.timedelta(1)],
    ],
    ids=ascii,
)
def test_cells_that_a_table_might_change(cells):
    assert plain_columns([{"column": cell} for cell in cells], ["column"]) is None


@pytest.mark.parametrize(
    "source",
    [
        [],
        "rows.csv",
        {"column": ["a"]},
        ["a"],
        [{" column": "a"}],
        [{1: "a"}],
        [{"other": "a"}],
        [{"column": "a"}] * (MAX_ROWS + 1),
    ],
    ids=lambda source: str(source)[:30],
)
def test_what_is_no_few_rows_of_the_models_columns(source):
    assert plain_columns(source, ["column"]) is None


def test_a_column_that_some_rows_lack_is_missing_there():
    rows = [{"one": "a"}, {"two": 2}]
    assert plain_columns(rows, ["one", "two"]) == {"one": ["a", None], "two": [None, 2]}
    assert plain_columns(tuple(rows), ["one"]) == {"one": ["a", None]}
