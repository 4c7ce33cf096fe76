"""A planted weakness found, and noise not shown as one."""

import numpy as np
import pyarrow as pa
import pytest

from plait.data.table import columns as table_columns
from plait.data.table.source import open_table
from plait.insight.diagnose.slices import MIN_ROWS, slices


def table(**columns):
    return open_table(pa.table(columns))


def test_a_planted_weakness_is_found_and_said_with_its_figures(rng):
    shop = np.array(["north", "south", "west", "east"])[np.arange(400) % 4]
    wrong = np.where(shop == "west", rng.random(400) < 0.6, rng.random(400) < 0.1).astype(float)
    found = slices(table(shop=shop, note=rng.normal(size=400)), wrong, np.ones(400, bool))
    assert [(one.column, one.how, one.value) for one in found.found] == [("shop", "value", "west")]
    (one,) = found.found
    assert one.rows == 100 and one.error == wrong[shop == "west"].mean()
    assert one.rest == pytest.approx(wrong[shop != "west"].mean())
    assert found.looked_at == 8 and found.overall == pytest.approx(wrong.mean())
    assert one.p < one.q < 1e-9


def test_numbers_are_cut_into_quarters_and_missing_cells_are_a_slice(rng):
    size = rng.normal(size=400)
    error = np.where(size > np.quantile(size, 0.75), 3.0, 1.0) + rng.random(400)
    cells = [None if row % 20 == 0 else value for row, value in enumerate(size.tolist())]
    gone = np.arange(400) % 20 == 0
    error[gone] = 5 + rng.random(gone.sum())
    found = slices(table(size=cells), error, np.ones(400, bool))
    how = {one.how: one for one in found.found}
    assert how.keys() == {"missing", "range"}
    assert how["missing"].rows == 20
    assert how["range"].low == pytest.approx(np.quantile(size[~gone], 0.75))
    assert how["range"].high == pytest.approx(size[~gone].max())
    # The quarters hold every row once: the smallest is in the first.
    every = slices(table(size=size), error, np.ones(400, bool), level=1.1)
    assert every.looked_at == 4


def test_chance_is_rarely_shown_as_a_finding():
    shown = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        columns = {f"c{number}": rng.integers(0, 3, 90) for number in range(6)}
        wrong = (rng.random(90) < 0.3).astype(float)
        shown += bool(slices(table(**columns), wrong, np.ones(90, bool)).found)
    assert (
        shown <= 5
    )  # at most two of forty on average; more than five come once in a hundred times


def test_small_slices_targets_and_unknown_rows_are_left_out(rng):
    shop = np.array(["a"] * (MIN_ROWS - 1) + ["b"] * 60 + ["c"] * 60)
    wrong = (shop == "a").astype(float)
    one = {"shop": shop, "label": shop}
    assert slices(table(**one), wrong, np.ones(len(shop), bool), leave_out=["label"]).looked_at == 2
    known = shop != "b"
    found = slices(table(**one), wrong, known, leave_out=["label"])
    assert found.looked_at == 0  # only c is large enough, and what is left beside it is too small


def test_kinds_decide_how_a_column_is_cut(rng):
    record = np.repeat(np.arange(100, 112), 20)
    wrong = np.where(record == 105, 1.0, (np.arange(240) % 5 == 0).astype(float))
    known = np.ones(240, bool)
    (one,) = slices(table(record=record), wrong, known, kinds={"record": "categorical"}).found
    assert (one.how, one.value, one.rows) == ("value", "105", 20)
    assert slices(table(record=record), wrong, known).looked_at == 4
    texts = [f"text {row % 3}" for row in range(240)]
    assert slices(table(note=texts), wrong, known, kinds={"note": "text"}).looked_at == 0


@pytest.mark.parametrize(
    ("wrong", "rows"),
    [(np.zeros(50), 50), (np.ones(50), 50), (np.eye(1, 15)[0], 15), (np.zeros(0), 0)],
)
def test_nothing_to_tell_apart(wrong, rows):
    if rows == 0:
        empty = open_table(pa.table({"a": pa.array([], pa.string())}), empty=True)
        found = slices(empty, wrong, np.zeros(0, bool))
        assert np.isnan(found.overall)
    else:
        found = slices(
            table(a=["x", "y"] * (rows // 2) + ["x"] * (rows % 2)), wrong, np.ones(rows, bool)
        )
        assert found.overall == wrong.mean()
    assert (found.found, found.looked_at) == ([], 0)


def test_odd_columns(rng):
    wrong = (rng.random(60) < 0.5).astype(float)
    odd = {
        "none": pa.array([None] * 60, pa.string()),
        "constant": ["same"] * 60,
        "bytes": [b"x"] * 60,
        "lists": [["a", "b"]] * 30 + [["a"]] * 30,
        "endless": [float("inf")] * 12 + list(range(48)),
        "huge": [float("inf"), float("-inf"), 1e308, -1e308, 0.5, 7.0] * 10,
    }
    assert slices(table(**odd), wrong, np.ones(60, bool)).found == []
    sizes = {"far": [float("inf"), float("-inf")] * 30, "gone": [None, *range(59)]}
    assert slices(table(**sizes), wrong, np.ones(60, bool), level=1.1).looked_at == 6
    only = {"far": [float("inf")] * 3 + [float("-inf")] * 57}
    assert slices(table(**only), wrong, np.ones(60, bool)).looked_at == 0


def test_a_long_table_is_looked_at_in_its_first_rows(monkeypatch, rng):
    import plait.insight.diagnose.slices as module

    monkeypatch.setattr(module, "MAX_COUNTED_ROWS", 100)
    assert table_columns.MAX_COUNTED_ROWS > 100
    wrong = np.r_[np.ones(20), np.zeros(80), np.ones(900)]
    shop = ["a"] * 20 + ["b"] * 980
    found = slices(table(shop=shop), wrong, np.ones(1000, bool))
    assert found.overall == 0.2 and found.found[0].value == "a"
