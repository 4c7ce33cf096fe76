"""Tables without Arrow give the very cells that Arrow gives, or say that it is needed."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from plait.data.table import arrow_tables, source
from plait.data.table import list_tables as listed
from plait.data.table.source import open_table
from plait.errors import MissingExtra, TableError

QUICK = settings(
    max_examples=150,
    deadline=None,
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
    """Without Arrow the same is told, unless it is said that Arrow is needed."""
    try:
        got = told(given, listed)
    except MissingExtra as error:
        assert 'pip install "plait[tables]"' in str(error)
        return False
    want = told(given, arrow_tables)
    if isinstance(got, str) and isinstance(want, str) and "opens a quote" in got:
        return True  # it is both: a quote that is not closed, and a row that is too short
    same(got, want)
    return True


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
    assert both(path)


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
        assert both(path)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-9, 9),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["007", " ", "\ud800", "2020-01-01"]),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.sampled_from([np.float32(0.1), np.int8(3), np.float64("nan"), np.bool_(True), Path("a/b")]),
    st.fixed_dictionaries(
        {},
        optional={
            "bytes": st.none() | st.binary(max_size=2),
            "path": st.none() | st.text(max_size=2),
        },
    ),
)
numbers = st.none() | st.integers(-9, 9) | st.floats() | st.integers(2**52, 2**64)
kinds = [
    st.text(max_size=3), st.integers(-9, 9), st.floats(), st.booleans(), st.binary(max_size=3),
    st.dates(), st.datetimes(), st.integers(-9, 9) | st.floats(),
    st.text(max_size=2) | st.integers(-9, 9) | st.floats() | st.booleans() | st.dates(),
    st.text(max_size=2) | st.binary(max_size=2),
    st.lists(numbers, max_size=3), st.lists(st.integers(-9, 9), max_size=3),
    st.lists(st.text(max_size=2), max_size=2), st.tuples(st.floats(width=32)), scalars,
    st.lists(st.floats(width=32), max_size=3).map(lambda cell: np.array(cell, np.float32)),
    st.lists(st.integers(0, 255), max_size=3).map(lambda cell: np.array(cell, np.uint8)),
]  # fmt: skip
columns = st.one_of([st.lists(st.none() | kind, min_size=1, max_size=4) for kind in kinds])


@settings(QUICK, max_examples=500)
@given(columns)
def test_cells(cells):
    both({"a": cells})


@QUICK
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", " c ", ""]), scalars), max_size=4))
def test_rows(rows):
    both(rows)


@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int32", "int64", "float16", "float32", "float64", "bool"]
)
def test_numpy_columns(kind):
    values = np.array([0, 1, 1, 0]).astype(kind)
    assert both({"a": values, "b": ["x", "y", "", None]})
    if kind.startswith("float"):
        values[1] = np.nan
        assert both({"a": values})


@QUICK
@given(
    st.lists(
        st.fixed_dictionaries(
            {"a": st.one_of([st.none() | kind for kind in kinds[:4]])},
            optional={"b": st.lists(numbers, max_size=2), "c": st.integers(-9, 9) | st.floats()},
        ),
        min_size=1,
        max_size=4,
    )
)
def test_json_lines(tmp_path, rows):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    both(path)


def test_what_must_be_carried():
    """So that the comparisons above compare something."""
    assert both({"a": ["007", "7", None, " "]})
    assert both({"a": [1, 2.5, None]})
    assert both({"a": ["1", 2, 2.5, True, datetime.date(2020, 1, 1)]})
    assert both({"a": [True, None, False]})
    assert both({"a": ["a.png", b"x", None, {"path": "b.png", "bytes": None}]})
    assert both({"a": [{"path": "b.png"}, {"bytes": b"x"}]})
    assert both({"a": [[1, 2], [3.5], None]})
    assert both({"a": [np.zeros(2, np.float32), None, np.ones(3, np.float32)]})
    assert both({"a": [datetime.datetime(2020, 1, 1, 3), None]})
    assert both([{"a": 1}, {"b": "x"}])
    for wrong in ([], [1], {"a": "text"}, {"a": [1], "b": [1, 2]}, [{"a": 1, " a": 2}], {}):
        assert isinstance(told(wrong, listed), str)
        assert both(wrong)


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
        ({"a": [1 << 80]}, "column 'a', which holds int as only Arrow keeps them, needs the package"),
        ({"a": np.zeros((2, 2))}, "column 'a', which holds arrays of 2 axes as only Arrow"),
        ({"a": [[1], "x"]}, "column 'a', which holds lists beside other values"),
        ({"a": [[True]]}, "column 'a', which holds lists of bool as only"),
        ({"a": [[1], np.ones(1)]}, "column 'a', which holds lists beside arrays"),
        ({"a": [np.ones(1), np.ones(1, np.float32)]}, "arrays of several types"),
        ({"a": [{"x": 1}]}, "column 'a', which holds dict as only Arrow"),
        ({"a": ["x", {"x": 1}]}, "column 'a', which holds dict and str as only Arrow"),
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
