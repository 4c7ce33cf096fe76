"""Tokens of a frozen encoder on disk: made once, resumed, alone, never half read."""

import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plait.data import token_store as encoded
from plait.data.modalities.base import Prepared
from plait.data.store import PreparedColumn, Store
from plait.data.token_store import CHUNK_CELLS, Encoding
from plait.errors import StoreError

HIDDEN = 3


def encoded_column(store, column, recipe, encode, hidden, views=1, **named):
    return encoded.encoded_column(store, column, Encoding(recipe, encode, hidden, views), **named)


def raw(cells: int, entry: str = "text-abc", index: np.ndarray | None = None) -> PreparedColumn:
    """Cell ``n`` holds the number n; every seventh cell is missing."""
    present = np.arange(cells) % 7 != 6
    column = PreparedColumn.from_prepared(
        Prepared(np.arange(cells, dtype=np.float32)[:, None], None, present)
    )
    return replace(column, entry=entry, index=index)


class Counting:
    """An encoder that gives a cell as many tokens as its number says, and counts what it is asked."""

    def __init__(self, column: PreparedColumn, stop: int | None = None) -> None:
        self.column = column
        self.stop = stop
        self.asked: list[tuple[int, int]] = []

    def __call__(self, numbers: np.ndarray, view: int) -> tuple[np.ndarray, np.ndarray]:
        if self.stop is not None and int(numbers[-1]) >= self.stop:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.asked += [(number, view) for number in numbers.tolist()]
        there = self.column.present[numbers]
        counts = np.where(there, 1 + numbers % 3, 0).astype(np.int64)
        rows = [
            np.full((c, HIDDEN), n + 0.5 * view, np.float16)
            for n, c in zip(numbers, counts, strict=True)
        ]
        return np.concatenate(rows), counts


def expected(number: int) -> list[float]:
    return [float(number)] * (1 + number % 3) if number % 7 != 6 else []


def check(column: PreparedColumn, cells: int) -> None:
    values, mask = column.batch(np.arange(cells))
    for number in range(cells):
        assert values[number, mask[number], 0].tolist() == expected(number)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_tokens_come_back_in_order_and_are_made_once(store):
    cells = 2 * CHUNK_CELLS + 9
    column, done = raw(cells), []
    counting = Counting(column)
    found = encoded_column(store, column, {"digest": "a"}, counting, HIDDEN, advance=done.append)
    check(found, cells)
    assert sum(done) == cells and len(counting.asked) == cells
    assert found.values.dtype == np.float16
    again = encoded_column(store, column, {"digest": "a"}, counting, HIDDEN, advance=done.append)
    check(again, cells)
    assert len(counting.asked) == cells  # the second time nothing was encoded
    assert sum(done) == 2 * cells


def test_rows_that_show_the_same_cell_share_its_tokens(store):
    column = raw(4, index=np.array([3, 0, 3, 1, 2, 3]))
    counting = Counting(column)
    found = encoded_column(store, column, {}, counting, HIDDEN)
    assert len(counting.asked) == 4
    values, mask = found.batch(np.array([0, 2, 5, 1]))
    assert values[:3, 0, 0].tolist() == [3, 3, 3]
    assert values[3, mask[3], 0].tolist() == [0]


@pytest.mark.parametrize("change", ["digest", "entry", "views"])
def test_another_checkpoint_column_or_number_of_views_is_another_entry(store, change):
    column = raw(5)
    encoded_column(store, column, {"digest": "a"}, Counting(column), HIDDEN)
    other = replace(column, entry="text-other") if change == "entry" else column
    counting = Counting(column)
    views = 2 if change == "views" else 1
    recipe = {"digest": "b" if change == "digest" else "a"}
    encoded_column(store, other, recipe, counting, HIDDEN, views=views)
    assert len(counting.asked) == 5 * views


def test_views_of_a_cell_lie_side_by_side_and_the_first_is_the_cell(store):
    column = raw(9)
    for where in (store, None):
        found = encoded_column(where, column, {}, Counting(column), HIDDEN, views=3)
        assert found.views == 3 and len(found) == 9
        check(found, 9)
        values, mask = found.batch(np.array([4, 4, 4]), np.array([0, 1, 2]))
        assert values[:, 0, 0].tolist() == [4.0, 4.5, 5.0]
        assert mask.sum(axis=1).tolist() == [2, 2, 2]
        assert found.rows_present.tolist() == column.present.tolist()
        assert found.lengths.tolist() == [len(expected(n)) for n in range(9)]


def test_without_a_store_nothing_is_written(tmp_path):
    column = raw(8)
    check(encoded_column(None, column, {}, Counting(column), HIDDEN), 8)
    unnamed = replace(
        column, entry=""
    )  # it came from memory, so there is nothing to name an entry by
    check(encoded_column(Store(tmp_path), unnamed, {}, Counting(column), HIDDEN), 8)
    assert list(tmp_path.iterdir()) == []


def test_no_cells_make_an_empty_column(store):
    for where in (store, None):
        found = encoded_column(where, raw(0), {}, Counting(raw(0)), HIDDEN)
        assert len(found) == 0 and found.values.shape == (0, HIDDEN)


def test_only_missing_cells_have_no_tokens(store):
    column = replace(raw(3), present=np.zeros(3, bool))
    found = encoded_column(store, column, {}, Counting(column), HIDDEN)
    values, mask = found.batch(np.arange(3))
    assert values.shape == (3, 1, HIDDEN) and not mask.any()


def test_a_full_disk_is_said_and_the_next_run_goes_on(store):
    cells = 3 * CHUNK_CELLS
    column = raw(cells)
    counting = Counting(column, stop=2 * CHUNK_CELLS)
    with pytest.raises(StoreError) as caught:
        encoded_column(store, column, {}, counting, HIDDEN)
    assert str(caught.value) == (
        f"the store at {store.folder} cannot be written: No space left on device. Free some space "
        "there, clear it with `plait cache --clear`, or name another folder in PLAIT_CACHE. What was "
        "encoded is kept and taken up next time."
    )
    done: list[int] = []
    second = Counting(column)
    check(encoded_column(store, column, {}, second, HIDDEN, advance=done.append), cells)
    assert [number for number, _ in second.asked] == list(range(2 * CHUNK_CELLS, cells))
    assert done == [2 * CHUNK_CELLS, CHUNK_CELLS]


@pytest.mark.parametrize("harm", ["note", "counts", "values", "kind"])
def test_a_damaged_draft_is_begun_anew(store, harm):
    column = raw(2 * CHUNK_CELLS)
    with pytest.raises(StoreError):
        encoded_column(store, column, {}, Counting(column, stop=CHUNK_CELLS + 1), HIDDEN)
    (draft,) = [path for path in store.folder.iterdir() if path.is_dir()]
    match harm:
        case "note":
            (draft / "done.json").write_text("{")
        case "kind":
            (draft / "done.json").write_text('{"cells": 3}')
        case "counts":
            (draft / "counts.npy").write_bytes(b"x")
        case "values":
            (draft / "values.bin").write_bytes(b"12")
    counting = Counting(column)
    check(encoded_column(store, column, {}, counting, HIDDEN), 2 * CHUNK_CELLS)
    assert len(counting.asked) == 2 * CHUNK_CELLS


def test_what_a_killed_run_wrote_beyond_its_last_note_is_cut_off(store):
    column = raw(2 * CHUNK_CELLS)
    with pytest.raises(StoreError):
        encoded_column(store, column, {}, Counting(column, stop=CHUNK_CELLS + 1), HIDDEN)
    (draft,) = [path for path in store.folder.iterdir() if path.is_dir()]
    with (draft / "values.bin").open("ab") as file:
        file.write(b"torn")
    check(encoded_column(store, column, {}, Counting(column), HIDDEN), 2 * CHUNK_CELLS)


def test_a_killed_process_is_taken_up(store):
    """A process is killed with SIGKILL in the middle; the next one encodes only what is left."""
    cells = 4 * CHUNK_CELLS
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_token_store as t
        from plait.data.store import Store
        from pathlib import Path
        column = t.raw({cells})
        counting = t.Counting(column)
        def dying(numbers, view):
            if numbers[0] >= {2 * CHUNK_CELLS}:
                os.kill(os.getpid(), signal.SIGKILL)
            return counting(numbers, view)
        t.encoded_column(Store(Path({str(store.folder.parent)!r})), column, {{}}, dying, t.HIDDEN)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True)
    assert done.returncode == -9, done.stderr
    column = raw(cells)
    counting = Counting(column)
    check(encoded_column(store, column, {}, counting, HIDDEN), cells)
    assert min(counting.asked)[0] == 2 * CHUNK_CELLS


def test_two_at_once_encode_once(store):
    """The second waits, is told so once, and reads what the first made."""
    column = raw(40)
    begun, told = threading.Event(), []
    counting = Counting(column)

    def slow(numbers, view):
        begun.set()
        time.sleep(0.5)
        return counting(numbers, view)

    first = threading.Thread(target=lambda: encoded_column(store, column, {}, slow, HIDDEN))
    first.start()
    begun.wait()
    found = encoded_column(store, column, {}, counting, HIDDEN, waiting=lambda: told.append(1))
    first.join()
    check(found, 40)
    assert told == [1] and len(counting.asked) == 40
    assert not list(store.folder.glob("*.lock")) and not list(store.folder.glob(".*.lock"))


def test_an_entry_lost_while_read_is_said(store, monkeypatch):
    monkeypatch.setattr(encoded, "read_entry", lambda path, index: None)
    with pytest.raises(StoreError, match="lost an entry while it was being read"):
        encoded_column(store, raw(3), {}, Counting(raw(3)), HIDDEN)


def test_a_system_without_locks_still_encodes(store, monkeypatch):
    monkeypatch.setattr(encoded, "fcntl", None)
    check(encoded_column(store, raw(9), {}, Counting(raw(9)), HIDDEN), 9)


def test_an_entry_is_json_and_plain_arrays(store):
    encoded_column(store, raw(9), {}, Counting(raw(9)), HIDDEN)
    (entry,) = store.folder.iterdir()
    names = sorted(path.name for path in entry.iterdir())
    assert names == ["meta.json", "offsets.npy", "present.npy", "values.bin"]
    assert json.loads((entry / "meta.json").read_text())["dtype"] == "<f2"
