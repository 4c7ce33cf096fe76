"""The content of cells by hash, rows that come twice, and rows nearly the same."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import cdist

from plait.config import Config
from plait.data.features import settings_for
from plait.data.table.source import open_table
from plait.insight.diagnose import copies
from plait.insight.diagnose import fingerprints as prints
from plait.insight.diagnose.copies import Copies, disagreeing, near, repeats, shared, telling
from plait.insight.diagnose.fingerprints import LENGTH, NOTHING, SIZE, TIME, VALUE, row_hashes


def read(cells, kind, folder=None, **options):
    table = open_table({"c": cells}, root=folder)
    return prints.prints(table, "c", kind, settings_for(table, Config()), **options)


def same(one):
    """Which cells have the same content, as numbers in order of appearance; -1 for none."""
    numbers: dict[int, int] = {}
    return [-1 if h == NOTHING else numbers.setdefault(int(h), len(numbers)) for h in one.hashes]


def test_numbers_are_the_same_by_value():
    found = read(["1", "1.0", "2", None, "NA", "x", "1,000.5"], "numeric")
    assert same(found) == [0, 0, 1, -1, -1, -1, 2]
    assert (found.missing, found.unread, found.what) == (1, 1, VALUE)
    np.testing.assert_array_equal(found.size, [1, 1, 2, np.nan, np.nan, np.nan, 1000.5])


def test_texts_are_the_same_but_for_the_space_around_them():
    found = read(["a b", " a b ", "a  b", ""], "text")
    assert same(found) == [0, 0, 1, -1]
    assert found.what == LENGTH and found.size[2] == 4


def test_dates_are_the_same_by_day_and_need_the_order():
    found = read(["2024-01-02", "02/01/2024", "nonsense"], "datetime", state={"order": "dmy"})
    assert same(found) == [0, 0, -1] and found.unread == 1 and found.what == TIME
    assert same(read(["2024-01-02", "02/01/2024"], "datetime", state={"order": "mdy"})) == [0, 1]
    assert found.size[0] == np.datetime64("2024-01-02").astype("datetime64[s]").astype(float)


def test_categories_have_no_number():
    found = read(["1", "1.0", "b"], "categorical")
    assert same(found) == [0, 0, 1] and found.what is None and np.isnan(found.size).all()


def test_columns_that_are_no_input():
    assert read([1, 2, None], None).what == VALUE
    mixed = read(["1", "two"], None)
    assert mixed.what is None and same(mixed) == [0, 1]
    assert same(read([["a"], ["a"], ["b"]], None)) == [0, 0, 1]
    assert same(read([True, False, True], None)) == [0, 1, 0]


def test_media_are_the_same_by_their_bytes(tmp_path, maker, rng):
    first = maker.image(tmp_path / "a.png", 10, rng)
    (tmp_path / "copy.png").write_bytes(first)
    maker.image(tmp_path / "b.png", 90, rng)
    cells = ["a.png", "copy.png", "b.png", "a.png", None, "gone.png", "gone.png"]
    found = read(cells, "image", tmp_path)
    assert same(found) == [0, 0, 1, 0, -1, -1, -1]
    assert (found.missing, found.unread, found.what) == (1, 2, SIZE)
    assert found.size[0] == len(first)
    assert same(read([first, bytes(first), b"x"], "image")) == [0, 0, 1]


def test_signals_within_cells():
    assert same(read([[1.0, 2.0], [1.0, 2.0], [3.0]], "signal")) == [0, 0, 1]
    line = " ".join(map(str, range(40)))
    found = read([line, line + " ", line + " 7"], "signal")
    assert same(found) == [0, 0, 1] and found.unread == 0


def test_no_more_than_the_budget_is_read(tmp_path, monkeypatch, maker, rng):
    for name in "abc":
        maker.image(tmp_path / f"{name}.png", 10, rng)
    monkeypatch.setattr(prints, "BUDGET_BYTES", 1)
    found = read(["a.png", "b.png", "c.png", "b.png"], "image", tmp_path)
    assert same(found) == [0, -1, -1, -1] and found.unread == 3


def test_rows_are_the_same_if_all_their_cells_are():
    columns = {
        "a": read(["x", "x", "y", None], "text"),
        "b": read(["1", "1", "1", None], "numeric"),
    }
    hashes = row_hashes(columns)
    assert hashes[0] == hashes[1] != hashes[2] and hashes[3] == NOTHING


def test_repeats_and_shared_rows():
    hashes = np.array([7, 8, 7, NOTHING, NOTHING, 8, 7], np.uint64)
    found = repeats(hashes)
    assert (found.rows.tolist(), found.twins.tolist()) == ([2, 5, 6], [0, 1, 0])
    others = np.array([9, 8, NOTHING, 8], np.uint64)
    found = shared(hashes, others)
    assert (found.rows.tolist(), found.twins.tolist()) == ([1, 5], [1, 1])
    for nothing in (shared(hashes, others[:0]), shared(hashes[:0], others), repeats(hashes[:0])):
        assert len(nothing) == 0


def test_copies_that_disagree():
    found = Copies(np.array([0, 1, 2]), np.array([2, 0, 1]))
    assert disagreeing(found, ["a", "b", None], ["b", "c", "x"]) == [0]


def test_only_a_column_of_different_cells_tells_copies():
    assert telling(read([f"text {row}" for row in range(40)], "text"))
    assert not telling(read(["yes", "no"] * 20, "text"))
    assert not telling(read([None, "one"], "text"))


def test_near_copies_by_plain_distance(rng):
    others = rng.normal(size=(200, 5)) * [1, 10, 1, 1, 1]
    vectors = np.concatenate([rng.normal(size=(50, 5)) * [1, 10, 1, 1, 1], others[[3, 8]] + 1e-4])
    found = near(vectors, others)
    assert found.rows.tolist() == [50, 51] or found.rows.tolist() == [51, 50]
    twins = dict(zip(found.rows.tolist(), found.twins.tolist(), strict=True))
    assert twins == {50: 3, 51: 8}
    scaled = others / others.std(axis=0)
    apart = cdist(scaled, scaled)
    np.fill_diagonal(apart, np.inf)
    assert found.usual == pytest.approx(np.median(apart.min(axis=1)), rel=1e-4)
    assert (found.distance < copies.NEAR_RATIO * found.usual).all()


def test_nothing_is_near_where_nothing_can_be_said(rng):
    some = rng.normal(size=(5, 2))
    assert near(some, some[:2]) is None
    assert near(some[:0], some) is None
    assert near(some, np.ones((9, 2))) is None
    assert near(some, np.repeat(some[:1], 9, axis=0)) is None
    pairs = np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)  # every row has an exact copy
    assert near(pairs, pairs) is None


def test_many_rows_are_thinned(monkeypatch, rng):
    monkeypatch.setattr(copies, "MAX_ROWS", 10)
    found = near(rng.normal(size=(40, 3)), rng.normal(size=(30, 3)))
    assert found is not None and len(found.rows) <= 10
    assert pa.array(copies._some(40)).to_pylist()[-1] == 39
