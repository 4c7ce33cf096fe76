"""Tables without Arrow: CSV gives the very cells that Arrow gives, other cells stay as they are."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from fuzz import examples
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from plait.data.table import arrow_tables, source
from plait.data.table import list_tables as listed
from plait.data.table.source import open_table
from plait.errors import MissingExtra, TableError

QUICK = settings(
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def told(given, ways, **named):
    """Cells by column, or the words of the error; and what was noted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_ways", lambda: ways)
        try:
            table = open_table(given, empty=True, **named)
        except TableError as error:
            return str(error)
        return {name: table.cells(name) for name in table.columns}, table.notes, table.rows


def same(one, other):
    """Equal in value and in type, arrays within included."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), (one, other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other or (one != one and other != other)


def both(given):
    """Without Arrow the same is told."""
    got, want = told(given, listed), told(given, arrow_tables)
    if isinstance(got, str) and isinstance(want, str) and "opens a quote" in got:
        return  # it is both: a quote that is not closed, and a row that is too short
    same(got, want)


cell_texts = st.one_of(
    st.sampled_from(
        ["007", "7", "", " ", "NA", '"NA"', '""', "a,b", '"a,b"', '"a\nb"', 'a"b', "x\ty"]
    ),
    st.sampled_from(
        ['"x"y', '"a""b"', "2020-01-01", "true", "1e5", "null", "é", '"', '"open', '"open\n']
    ),
    st.text(st.sampled_from('ab",;\n\r \t\u3000é7'), max_size=5),
)


@QUICK
@given(
    st.lists(st.lists(cell_texts, min_size=1, max_size=3), max_size=5),
    st.sampled_from(["a", "a,b", "a,b,c", '"a b",b', "a;b", "a\tb", "\ufeffa,b"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
@example([["007", "7"]], "a,b", "\n", True)
@example([["1", '"open'], ["2", "3"]], "a,b", "\n", True)
@example([[""], ["NA"], ['"NA"']], "a", "\n", True)
@example([['"open'], [',"x"y']], "a", "\n", False)
@example([["007", 'a"b', '"'], ["007"]], "a,b,c", "\n", False)
@example([["1", 'a"b', '"x\ny"']], "a,b,c", "\n", True)
@example([['"""', ""]], "a,b", "\n", False)
@example([['"'], ['""']], "a", "\n", False)
def test_csv(tmp_path, rows, header, end, last):
    path = tmp_path / "t.csv"
    mark = next(mark for mark in ",;\t," if mark in header or mark == ",")
    lines = [header, *(mark.join(row) for row in rows)]
    path.write_bytes((end.join(lines) + end * last).encode())
    note(path.read_bytes())
    if not rows and not last:
        return  # Arrow takes a name without a line's end for nothing
    both(path)


def test_a_csv_that_is_not_utf8_or_has_ragged_rows(tmp_path):
    path = tmp_path / "t.csv"
    for data in (
        b"a,b\n1,\xff\n",
        b"a,b\n1,2,3\n",
        b"a,b\n1,2\n\n4\n",
        b"",
        b"\n\n",
        b"a,a\n1,2\n",
    ):
        path.write_bytes(data)
        assert isinstance(told(path, listed), str)
        both(path)


def test_cells_stay_as_they_are():
    media = {"path": "b.png", "bytes": None}
    cells = ["007", 2, 2.5, True, b"x", media, [1, None], (3.5,), datetime.date(2020, 1, 1), None]
    found, notes, rows = told({"a": cells}, listed)
    same(found["a"], [*cells[:7], [3.5], *cells[8:]])
    assert (list(notes), rows) == ([], 10)


def test_numpy_is_left_behind_and_blank_cells_are_missing():
    cells = [np.int8(3), np.float32(0.5), np.float64("nan"), " ", "", "\ud800", Path("a/b")]
    found, _, _ = told({"a": cells, "b": [np.zeros((1, 2), np.float32)] * 7}, listed)
    same(found["a"], [3, 0.5, None, None, None, "\ufffd", "a/b"])
    same(found["b"], [[[0.0, 0.0]]] * 7)
    same(told({"a": np.array([0.0, np.nan])}, listed)[0]["a"], [0.0, None])
    same(told({"a": np.array([[1, 2], [3, 4]])}, listed)[0]["a"], [[1, 2], [3, 4]])


def test_rows_and_json_lines(tmp_path):
    rows = [{"a": 1, " b ": "x"}, {"a": 2.5, "c": [1, 2]}]
    want = {"a": [1, 2.5], "b": ["x", None], "c": [None, [1, 2]]}
    assert told(rows, listed)[0] == want
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert told(path, listed)[0] == want


@pytest.mark.parametrize(
    "wrong", [[], [1], {"a": "text"}, {"a": [1], "b": [1, 2]}, [{"a": 1, " a": 2}], {}]
)
def test_what_is_no_table_is_refused_in_the_same_words(wrong):
    assert isinstance(told(wrong, listed), str)
    same(told(wrong, listed), told(wrong, arrow_tables))


def test_a_table_of_lists():
    table = listed.ListTable({"a": [1, 2, 3], "b": ["x", None, "z"]}, None, False, "t")
    assert table.cells("a", np.array([2, 0, 0])) == [3, 1, 1]
    assert table.cells("b", np.array([True, False, True])) == ["x", "z"]
    assert table.cells("b", slice(1, None)) == [None, "z"]
    assert table.cells("a", np.zeros(0, np.int64)) == []
    assert table.slice(1, 9).cells("a") == [2, 3]
    assert table.take(np.array([1])).cells("b") == [None]
    assert table.select(["b"]).columns == ["b"]
    assert list(table.chunks("a", size=2)) == [[1, 2], [3]]
    with pytest.raises(IndexError, match="rows must lie between 0 and 2"):
        table.cells("a", np.array([3]))
    with pytest.raises(TableError, match="t has no column 'c'"):
        table.cells("c")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("t.parquet", "to read .*t.parquet needs the package pyarrow, which is not installed"),
        ("t.feather", r'pip install "plait\[tables\]"'),
        (".", "to read the folder . as a table needs the package pyarrow"),
        (object(), "to read a builtins.object needs the package pyarrow"),
    ],
)  # fmt: skip
def test_what_needs_arrow(tmp_path, monkeypatch, given, what):
    monkeypatch.chdir(tmp_path)
    for name in ("t.parquet", "t.feather"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(MissingExtra, match=what):
        told(given, listed)


def test_a_fit_needs_arrow():
    table = listed.ListTable({"a": [1]}, None, False, "t")
    with pytest.raises(MissingExtra, match=r'pip install "plait\[train\]"'):
        table.arrow()
