"""The store: decoded once, never half read, mended when damaged."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import cache
from plait.data import store as store_module
from plait.data.media import Limits, Media
from plait.data.modalities.base import Modality, Prepared, Problem, Settings, is_missing
from plait.data.store import PreparedColumn, Store
from plait.errors import StoreError


class Letters(Modality):
    """Texts as letter codes: ragged. ``!`` cannot be read. Counts every cell it prepares."""

    name = "letters"

    def __init__(self):
        self.seen = []

    def matches(self, name, cells, settings):
        return None

    def fit(self, cells, settings):
        return {}

    def describe(self, state):
        return ""

    def _restore(self, prepared, state):
        return []

    def prepare(self, cells, state, settings):
        self.seen += cells
        texts = ["" if is_missing(cell) or cell == "!" else str(cell) for cell in cells]
        return Prepared(
            np.array([ord(letter) for text in texts for letter in text], np.int32),
            np.array([len(text) for text in texts], np.int64),
            np.array([bool(text) for text in texts], bool),
            [Problem(row, "a bang") for row, cell in enumerate(cells) if cell == "!"],
        )


class Sizes(Letters):
    """Texts as three numbers each: one shape."""

    name = "sizes"

    def prepare(self, cells, state, settings):
        self.seen += cells
        present = np.array([not is_missing(cell) for cell in cells], bool)
        values = np.array(
            [
                [len(str(cell)), 1, 2] if there else [0, 0, 0]
                for cell, there in zip(cells, present, strict=True)
            ]
        )
        return Prepared(values.reshape(-1, 3).astype(np.float32), None, present)


CELLS = ["ab", None, "cde", "!", "ab", "f", "!", ""]


def prepare(store, cells, modality=None, state=None, settings=None, advance=None):
    return store.prepare(
        modality or Letters(),
        lambda rows: [cells[row] for row in rows],
        len(cells),
        state or {},
        settings or Settings(Media(None)),
        advance,
    )


def rows_of(column):
    values, mask = column.batch(np.arange(len(column)))
    if mask.ndim == 1:
        return [row.tolist() if there else None for row, there in zip(values, mask, strict=True)]
    return ["".join(map(chr, row[there])) for row, there in zip(values, mask, strict=True)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def entry_of(store):
    (path,) = (path for path in store.folder.iterdir() if not path.name.startswith("."))
    return path


def test_cells_come_back_in_their_rows(store):
    column = prepare(store, CELLS)
    assert rows_of(column) == ["ab", "", "cde", "", "ab", "f", "", ""]
    assert column.rows_present.tolist() == [True, False, True, False, True, True, False, False]
    assert len(column) == 8


def test_equal_cells_are_decoded_once(store):
    modality = Letters()
    prepare(store, CELLS, modality)
    assert modality.seen == ["ab", None, "cde", "!", "f"]


def test_a_problem_is_carried_to_every_equal_row(store):
    problems = [(problem.row, problem.reason) for problem in prepare(store, CELLS).problems]
    assert problems == [(3, "a bang"), (6, "a bang")]


def test_the_second_run_reads_and_does_not_decode(store):
    first, again = prepare(store, CELLS), Letters()
    column = prepare(store, CELLS, again)
    assert again.seen == []
    assert rows_of(column) == rows_of(first)
    assert column.problems == first.problems


def test_what_is_read_is_mapped_not_loaded(store):
    prepare(store, CELLS)
    assert isinstance(prepare(store, CELLS).values, np.memmap)


@pytest.mark.parametrize(
    "change",
    [
        {"cells": [*CELLS[:-1], "x"]},
        {"cells": CELLS[::-1]},
        {"cells": [*CELLS, "ab"]},
        {"state": {"size": 2}},
        {"settings": Settings(Media(None, Limits(text_bytes=5)))},
        {"modality": Sizes()},
    ],
    ids=["cell", "order", "row", "state", "cap", "modality"],
)
def test_any_change_is_another_entry(store, change):
    prepare(store, CELLS)
    modality = change.setdefault("modality", Letters())
    prepare(store, **({"cells": CELLS} | change))
    assert modality.seen
    assert len(list(store.folder.iterdir())) == 2


def test_a_new_version_of_a_modality_is_another_entry(store):
    prepare(store, CELLS)

    class Newer(Letters):
        version = 2

    modality = Newer()
    prepare(store, CELLS, modality)
    assert modality.seen


def test_a_changed_file_is_another_entry(store, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"one")
    options = Settings(Media(tmp_path))
    prepare(store, ["a.bin"], settings=options)
    same = Letters()
    prepare(store, ["a.bin"], same, settings=options)
    assert same.seen == []
    (tmp_path / "a.bin").write_bytes(b"other")
    changed = Letters()
    prepare(store, ["a.bin"], changed, settings=options)
    assert changed.seen == ["a.bin"]


def test_bytes_and_missing_cells_are_told_apart(store):
    modality = Sizes()
    column = prepare(store, [b"one", b"two", None, b"one", float("nan")], modality)
    assert modality.seen == [b"one", b"two", None]
    assert column.rows_present.tolist() == [True, True, False, True, False]


def test_columns_of_one_shape(store):
    assert rows_of(prepare(store, CELLS, Sizes())) == [
        [2, 1, 2], None, [3, 1, 2], [1, 1, 2], [2, 1, 2], [1, 1, 2], [1, 1, 2], None,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [Letters, Sizes])
def test_an_all_missing_column(store, kind):
    column = prepare(store, [None, "", None], kind())
    values, mask = column.batch(np.array([2, 0]))
    assert not mask.any()
    assert not values.any()
    assert len(values) == len(mask) == 2


@pytest.mark.parametrize("kind", [Letters, Sizes])
def test_a_column_without_rows(store, kind):
    column = prepare(store, [], kind())
    assert len(column) == 0
    assert len(column.batch(np.arange(0))[0]) == 0


def test_many_chunks_make_one_entry(store, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK_CELLS", 3)
    cells = [str(number) if number % 4 else "!" for number in range(20)]
    told = []
    column = prepare(store, cells, advance=told.append)
    assert rows_of(column) == [cell if cell != "!" else "" for cell in cells]
    assert [problem.row for problem in column.problems] == [0, 4, 8, 12, 16]
    assert sum(told) == 20
    assert len(told) > 1


def test_progress_counts_rows_also_when_read(store):
    for _ in range(2):
        told = []
        prepare(store, CELLS, advance=told.append)
        assert sum(told) == len(CELLS)


@given(
    cells=st.lists(st.one_of(st.none(), st.text("xyz", max_size=5)), min_size=1, max_size=12),
    data=st.data(),
)
@settings(max_examples=examples(60))
def test_a_batch_is_each_row_padded_to_the_longest(cells, data):
    rows = data.draw(st.lists(st.integers(0, len(cells) - 1), min_size=1, max_size=8))
    texts = [cells[row] or "" for row in rows]
    direct = PreparedColumn.from_prepared(Letters().prepare(cells, {}, Settings(Media(None))))
    _, index = np.unique([str(cell) for cell in cells], return_inverse=True)
    distinct = sorted({str(cell) for cell in cells})
    small = Letters().prepare(
        [None if cell == "None" else cell for cell in distinct], {}, Settings(Media(None))
    )
    shared = PreparedColumn(
        small.values, PreparedColumn.from_prepared(small).offsets, small.present, index
    )
    longest = max(1, *map(len, texts), 1)
    for column in (direct, shared):
        values, mask = column.batch(np.array(rows))
        assert values.shape == mask.shape == (len(rows), longest)
        for row, text in enumerate(texts):
            assert values[row].tolist() == [ord(letter) for letter in text.ljust(longest, "\0")]
            assert mask[row].tolist() == [place < len(text) for place in range(longest)]


def damage_truncate(path):
    content = (path / "values.bin").read_bytes()
    (path / "values.bin").write_bytes(content[:-1])


def cut(name, keep=0):
    def damage(path):
        (path / name).write_bytes((path / name).read_bytes()[:keep])

    damage.__name__ = f"{name}-{keep}"
    return damage


def without(key):
    def damage(path):
        meta = json.loads((path / "meta.json").read_text())
        del meta[key]
        (path / "meta.json").write_text(json.dumps(meta))

    damage.__name__ = f"without-{key}"
    return damage


def lose(name):
    def damage(path):
        (path / name).unlink()

    damage.__name__ = f"lose-{name}"
    return damage


def damage_list(path):
    (path / "meta.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_list,
        *(cut(name) for name in ("values.bin", "meta.json", "present.npy", "offsets.npy")),
        *(cut(name, 9) for name in ("meta.json", "present.npy", "offsets.npy")),
        *(lose(name) for name in ("values.bin", "meta.json", "present.npy", "offsets.npy")),
        *(without(key) for key in ("shape", "dtype", "ragged", "problems")),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_entry_is_made_again(store, damage):
    want = rows_of(prepare(store, CELLS))
    damage(entry_of(store))
    modality = Letters()
    assert rows_of(prepare(store, CELLS, modality)) == want
    assert modality.seen
    again = Letters()
    prepare(store, CELLS, again)
    assert again.seen == []


def test_no_pickle_is_ever_read(store):
    prepare(store, CELLS)
    np.save(entry_of(store) / "present.npy", np.array([print], dtype=object), allow_pickle=True)
    modality = Letters()
    prepare(store, CELLS, modality)
    assert modality.seen


def test_a_draft_is_never_read(store):
    prepare(store, CELLS)
    path = entry_of(store)
    path.rename(path.with_name(f".{path.name}.draft"))
    modality = Letters()
    prepare(store, CELLS, modality)
    assert modality.seen


def test_a_failure_while_preparing_leaves_nothing(store):
    class Breaks(Letters):
        def prepare(self, cells, state, settings):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        prepare(store, CELLS, Breaks())
    assert list(store.folder.iterdir()) == []


def test_drafts_of_killed_processes_are_swept_after_a_day(store):
    store.folder.mkdir(parents=True)
    for name, age in (("old", 90_000), ("new", 60)):
        draft = store.folder / f".{name}"
        draft.mkdir()
        os.utime(draft, (time.time() - age,) * 2)
    prepare(store, CELLS)
    assert [path.name for path in store.folder.glob(".*")] == [".new"]


def test_a_full_disk_is_said_in_words(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        prepare(store, CELLS)
    assert str(caught.value) == (
        f"the store at {store.folder} cannot be written: No space left on device. Free some space "
        "there, clear it with `plait cache --clear`, or name another folder in PLAIT_CACHE."
    )
    assert list(store.folder.iterdir()) == []


def test_a_store_that_is_a_file_is_said_in_words(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="cannot be written: File exists"):
        prepare(Store(tmp_path), CELLS)


def test_an_entry_lost_while_read_is_said(store, monkeypatch):
    monkeypatch.setattr(store_module, "read_entry", lambda path, index: None)
    with pytest.raises(StoreError, match="lost an entry while it was being read"):
        prepare(store, CELLS)


def test_the_folder_is_the_cache_unless_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    assert Store().folder == tmp_path / "store"


def test_an_older_entry_goes_when_the_cap_is_reached(store, monkeypatch):
    prepare(store, CELLS)
    old = entry_of(store)
    os.utime(old, (1, 1))
    monkeypatch.setenv("PLAIT_CACHE_GB", "1e-9")
    prepare(store, ["zz"])
    assert not old.exists()
    assert len(cache.entries(store.folder.parent)) == 1


def test_another_process_that_is_quicker_wins(store, tmp_path):
    """While this one prepares, another finishes the same entry."""

    class Slow(Letters):
        def prepare(self, cells, state, settings):
            if not self.seen:
                self.seen.append("once")
                prepare(store, CELLS)
            return super().prepare(cells, state, settings)

    assert rows_of(prepare(store, CELLS, Slow())) == rows_of(prepare(store, CELLS))
    assert len(list(store.folder.iterdir())) == 1


PROCESS = """
import resource, signal, sys, time
from pathlib import Path
import numpy as np
from plait.errors import StoreError
from plait.data.media import Media
from plait.data.modalities import registry
from plait.data.modalities.base import Settings
from plait.data.store import Store

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
cells = [f"words and {number} more" for number in range(400)] * 2
modality, options = registry.get("text"), Settings(Media(None))
state = modality.fit(cells, options)
print("ready", flush=True)
while not (folder / "go").exists():
    time.sleep(0.001)
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    column = Store(folder).prepare(
        modality, lambda rows: [cells[row] for row in rows], len(cells), state, options
    )
    values, mask = column.batch(np.arange(len(column)))
    print(int(values.astype("int64").sum()), int(mask.sum()), flush=True)
except StoreError as error:
    print(error)
"""


def start(folder, limit=0):
    command = [sys.executable, "-c", PROCESS, str(folder), str(limit)]
    source = str(Path(store_module.__file__).parents[1])
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": source}
    )


def test_two_processes_share_a_store_at_once(tmp_path):
    running = [start(tmp_path) for _ in range(2)]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(answers) == 1
    assert len(list((tmp_path / "store").iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_file_that_cannot_grow_leaves_no_draft(tmp_path):
    """The operating system's own refusal, in a process of its own."""
    (tmp_path / "go").touch()
    said = start(tmp_path, limit=1000).communicate(timeout=60)[0]
    assert f"the store at {tmp_path / 'store'} cannot be written: File too large. Free" in said
    assert list((tmp_path / "store").iterdir()) == []
