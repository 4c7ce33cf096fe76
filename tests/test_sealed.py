"""Whole files: complete and on disk, or as they were. Sealed folders have their tests where they are used."""

import pytest

from plait import sealed
from plait.sealed import whole_file, write_whole


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    write_whole(path, b"\x00")
    assert path.read_bytes() == b"\x00" and list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode  # others may read it as any other file


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="half"), whole_file(path) as file:
        file.write(b"half of it")
        raise ValueError("half")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
