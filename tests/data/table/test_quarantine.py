"""What is unreadable is listed, counted, and written so that no spreadsheet runs it."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from plait import sealed
from plait.data.modalities.base import Problem
from plait.data.table.answers import safe_text, write_csv, write_table
from plait.data.table.quarantine import Entry, Quarantine
from plait.errors import TableError, UnreadableColumnError


def _full():
    quarantine = Quarantine()
    quarantine.add("photo", [Problem(0, "truncated"), Problem(2, "=cmd|' /C calc'!A0")], offset=10)
    quarantine.add("sound", [Problem(1, "silent")], rows=np.array([5, 3]))
    quarantine.add("photo", [Problem(10, "truncated")])
    return quarantine


def test_entries_are_sorted_and_counted_once():
    quarantine = _full()
    assert len(quarantine) == 3
    assert quarantine.entries[0] == Entry(3, "sound", "silent")
    assert [entry.row for entry in quarantine.entries] == [3, 10, 12]
    assert quarantine.counts() == {"photo": 2, "sound": 1}
    assert quarantine.summary() == [
        "photo: 2 unreadable cells, the first in row 10: truncated",
        "sound: 1 unreadable cell in row 3: silent",
    ]
    assert Quarantine(quarantine.entries).entries == quarantine.entries


def test_check_names_every_column_beyond_the_share():
    quarantine = Quarantine(Entry(row, "photo", f"bad {row}") for row in range(3, 123))
    quarantine.check(0.3, {"photo": 400})
    quarantine.add("sound", [Problem(7, "silent")])
    with pytest.raises(UnreadableColumnError) as caught:
        quarantine.check(0.2, {"photo": 400, "sound": 2})
    assert str(caught.value) == (
        "column 'photo': 120 of 400 cells (30%) are unreadable, more than the 20% allowed "
        "(max_unreadable). The first: row 3: bad 3\n"
        "column 'sound': 1 of 2 cells (50%) are unreadable, more than the 20% allowed "
        "(max_unreadable). The first: row 7: silent"
    )
    Quarantine().check(0.0, {})


def test_the_list_is_safe_in_a_spreadsheet(tmp_path):
    _full().to_csv(tmp_path / "q.csv")
    with (tmp_path / "q.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["row", "column", "reason"],
        ["3", "sound", "silent"],
        ["10", "photo", "truncated"],
        ["12", "photo", "'=cmd|' /C calc'!A0"],
    ]


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@sum", "\tx", "\rx", "\uff1d1", "-1+1", "="])
def test_formulas_get_an_apostrophe(text):
    assert safe_text(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=1", "-1", "+2.5e-3", "-.5", "x", "1,5"])
def test_plain_text_and_numbers_do_not(text):
    assert safe_text(text) == text


COLUMNS = {
    "=name": ["=cmd|x", None, 'a,\n"b"'],
    "number": np.array([-1.5, np.nan, 3.0]),
    "whole": [-7, 2, np.int64(3)],
    "labels": [["=a", "b"], [], np.array([1, 2])],
    "flag": [True, False, None],
}


def test_csv_cells(tmp_path):
    write_table(tmp_path / "deep" / "a.csv", COLUMNS)
    with (tmp_path / "deep" / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["'=name", "number", "whole", "labels", "flag"],
        ["'=cmd|x", "-1.5", "-7", "'=a;b", "True"],
        ["", "", "2", "", "False"],
        ['a,\n"b"', "3.0", "3", "1;2", ""],
    ]
    write_table(tmp_path / "a.tsv", {"a": ["x\ty"], "b": [1]})
    assert (tmp_path / "a.tsv").read_text() == 'a\tb\n"x\ty"\t1\n'


def test_json_lines_and_parquet_keep_the_text(tmp_path):
    write_table(tmp_path / "a.jsonl", {**COLUMNS, "inf": [np.inf, 1.0, None]})
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows[0] == {"=name": "=cmd|x", "number": -1.5, "whole": -7, "labels": ["=a", "b"], "flag": True,
                       "inf": "inf"}  # fmt: skip
    assert rows[1]["number"] is None
    write_table(tmp_path / "a.parquet", {k: v for k, v in COLUMNS.items() if k != "labels"})
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["=name"].to_pylist() == COLUMNS["=name"]


def test_many_rows_and_lone_surrogates(tmp_path):
    write_csv(tmp_path / "a.csv", {"a": list(range(10_000)), "b": ["\ud800"] * 10_000})
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 10_001
    assert (tmp_path / "a.csv").stat().st_mode & 0o444


def test_what_cannot_be_written_is_explained(tmp_path, monkeypatch):
    with pytest.raises(
        TableError, match=r"cannot write '.*a.doc': end its name in .csv, .tsv, .jsonl"
    ):
        write_table(tmp_path / "a.doc", {})
    with pytest.raises(TableError, match="its columns differ in length: 'a' 1, 'b' 0"):
        write_csv(tmp_path / "a.csv", {"a": [1], "b": []})
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="cannot write '.*'"):
        write_csv(tmp_path / "file" / "a.csv", {"a": [1]})
    (tmp_path / "old.csv").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed.os, "fsync", full)
    with pytest.raises(TableError, match=r"cannot write '.*old.csv': No space left on device."):
        write_csv(tmp_path / "old.csv", {"a": [1]})
    assert (tmp_path / "old.csv").read_text() == "old"
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["file", "old.csv"]
