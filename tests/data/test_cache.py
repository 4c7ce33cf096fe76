"""Where things are kept, and what goes first."""

import os
from pathlib import Path

import pytest

from plait.data import cache
from plait.errors import StoreError


def entry(root, kind, name, size, used):
    path = root / kind / name
    path.mkdir(parents=True)
    (path / "values.bin").write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


@pytest.fixture
def root(tmp_path):
    entry(tmp_path, "store", "middle", 200, 2000)
    entry(tmp_path, "store", "newest", 300, 3000)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "oldest.arrow").write_bytes(bytes(100))
    os.utime(tmp_path / "tables" / "oldest.arrow", (1000, 1000))
    return tmp_path


def names(entries):
    return [found.path.name for found in entries]


def test_entries_are_listed_least_recently_used_first(root):
    found = cache.entries(root)
    assert names(found) == ["oldest.arrow", "middle", "newest"]
    assert [one.size for one in found] == [100, 200, 300]


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert cache.entries(tmp_path / "none") == []


def test_trim_removes_the_least_recently_used_until_it_fits(root):
    assert names(cache.trim(root, cap=500)) == ["oldest.arrow"]
    assert names(cache.entries(root)) == ["middle", "newest"]
    assert cache.trim(root, cap=500) == []


def test_trim_keeps_the_newest_even_when_it_is_too_large(root):
    assert names(cache.trim(root, cap=1)) == ["oldest.arrow", "middle"]
    assert names(cache.entries(root)) == ["newest"]


def test_trim_leaves_alone_what_another_process_is_writing(root):
    draft = entry(root, "store", ".draft", 400, 500)
    assert names(cache.trim(root, cap=1)) == ["oldest.arrow", "middle"]
    assert draft.is_dir()


def test_touch_makes_an_entry_the_newest(root):
    cache.touch(root / "store" / "middle")
    assert names(cache.entries(root))[-1] == "middle"


def test_touch_of_something_gone_is_no_error(root):
    cache.touch(root / "store" / "gone")


def test_remove_twice_is_no_error(root):
    for one in cache.entries(root):
        cache.remove(one)
        cache.remove(one)
    assert cache.entries(root) == []


def test_clear_removes_everything_and_says_what(root):
    assert len(cache.clear(root)) == 3
    assert cache.entries(root) == []


def test_an_entry_removed_meanwhile_is_passed_over(root, monkeypatch):
    entry_of = cache._entry

    def vanish(path):
        if path.name == "middle":
            raise FileNotFoundError(path)
        return entry_of(path)

    monkeypatch.setattr(cache, "_entry", vanish)
    assert names(cache.entries(root)) == ["oldest.arrow", "newest"]


def test_the_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.setenv("PLAIT_CACHE", "~/kept")
    assert cache.cache_folder() == Path.home() / "kept"
    monkeypatch.delenv("PLAIT_CACHE")
    assert cache.cache_folder() == Path.home() / ".cache" / "plait"


def test_the_cap_is_in_gigabytes(monkeypatch):
    monkeypatch.delenv("PLAIT_CACHE_GB", raising=False)
    assert cache.cap_bytes() == 20_000_000_000
    monkeypatch.setenv("PLAIT_CACHE_GB", "0.5")
    assert cache.cap_bytes() == 500_000_000


@pytest.mark.parametrize("text", ["lots", "0", "-1", "nan", "inf"])
def test_a_cap_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("PLAIT_CACHE_GB", text)
    with pytest.raises(StoreError) as caught:
        cache.cap_bytes()
    assert (
        str(caught.value)
        == f"PLAIT_CACHE_GB is '{text}'; it must be a positive number of gigabytes."
    )
