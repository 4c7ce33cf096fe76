"""The guard: what is let through, what is refused, and the words it is refused with."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from plait.config import configure
from plait.data.media import Limits, Media, is_url, label
from plait.errors import CellError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "table"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "a.bin").write_bytes(b"abc")
    (tmp_path / "secret.bin").write_bytes(b"secret")
    return folder


def refusal(media: Media, cell: object, cap: int = 1000) -> str:
    with pytest.raises(CellError) as caught:
        media.read(cell, cap, "max_thing")
    return str(caught.value)


@pytest.mark.parametrize(
    "cell",
    [
        "photos/a.bin",
        Path("photos/a.bin"),
        "./photos/a.bin",
        "photos/../photos/a.bin",
        "photos//a.bin",
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        {"bytes": b"abc", "path": "gone.bin"},
        {"bytes": None, "path": "photos/a.bin"},
        {"bytes": None, "path": Path("photos/a.bin")},
    ],
)
def test_reads(root: Path, cell: object) -> None:
    assert Media(root).read(cell, 1000) == b"abc"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("photos/b.bin", "'photos/b.bin': no such file"),
        ("photos/a.bin/b", "'photos/a.bin/b': no such file"),
        ("nowhere/a.bin", "'nowhere/a.bin': no such file"),
        ("photos", "'photos': is a folder"),
        ("photos/", "'photos/': is a folder"),
        (".", "'.': is a folder"),
        ("photos/..", "'photos/..': is a folder"),
        ("../secret.bin", "'../secret.bin': climbs out of the root folder by '..'"),
        ("..", "'..': climbs out of the root folder by '..'"),
        ("photos/../../secret.bin", "climbs out of the root folder by '..'"),
        (
            "https://x.org/a.png",
            "is a URL, and plait does not fetch: download it and give its path",
        ),
        ("s3://bucket/a.png", "is a URL"),
        ("file:///etc/passwd", "is a URL"),
        ("data:image/png;base64,AAAA", "is a URL"),
        ("a\0.png", "holds a NUL character, which no path may"),
        ("a\ud800.png", "holds half a character (lone surrogate), so there is no such file"),
        ("n" * 5000, "cannot be read (file name too long)"),
        (b"", "is empty (zero bytes)"),
        (b"x" * 1001, "is 1001 bytes large, more than the cap of 1000 bytes (max_thing)"),
        (7, "is a int, expected a path or bytes"),
        ({"path": None}, "is a dictionary without 'bytes' or 'path'"),
    ],
)
def test_refuses(root: Path, cell: object, reason: str) -> None:
    message = refusal(Media(root), cell)
    assert reason in message
    assert str(root) not in message


def test_refuses_an_absolute_path(root: Path, tmp_path: Path) -> None:
    inside, outside = str(root / "photos" / "a.bin"), str(tmp_path / "secret.bin")
    expected = "is absolute: give paths relative to the table's folder, or name the root folder"
    assert expected in refusal(Media(root), inside)
    assert expected in refusal(Media(root), outside)
    named = Media(root, named=True)
    assert named.read(inside, 10) == b"abc"
    assert "is absolute and outside the root folder that was named" in refusal(named, outside)
    assert "climbs out" in refusal(named, f"{root}/../secret.bin")
    assert Media(None).read(outside, 10) == b"secret"


def test_refuses_links_that_lead_out(root: Path, tmp_path: Path) -> None:
    (root / "out.bin").symlink_to(tmp_path / "secret.bin")
    (root / "door").symlink_to(tmp_path)
    (root / "in.bin").symlink_to(root / "photos" / "a.bin")
    (root / "album").symlink_to(root / "photos")
    (root / "loop").symlink_to(root / "loop")
    media = Media(root)
    assert "is a symbolic link that leads outside the root folder" in refusal(media, "out.bin")
    reason = "passes through a symbolic link that leads outside the root folder"
    assert reason in refusal(media, "door/secret.bin")
    assert reason in refusal(media, "door/secret.bin")  # a refusal is not remembered as a pass
    assert "cannot be read" in refusal(media, "loop") or "not a regular" in refusal(media, "loop")
    assert media.read("in.bin", 10) == media.read("album/a.bin", 10) == b"abc"
    assert media.fingerprint("out.bin") == Media(root).fingerprint("out.bin")


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert Media(tmp_path / "alias").read("photos/a.bin", 10) == b"abc"
    named = Media(tmp_path / "alias", named=True)
    assert named.read(str(tmp_path / "alias" / "photos" / "a.bin"), 10) == b"abc"


def test_never_blocks_on_a_pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")
    begun = time.monotonic()
    assert "is not a regular file (a pipe, socket or device)" in refusal(Media(root), "pipe")
    assert "is not a regular file" in refusal(Media(None), "/dev/zero")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(root / "s"))
        assert "is not a regular file" in refusal(Media(root), "s")
    assert time.monotonic() - begun < 1


def test_a_file_that_becomes_a_pipe_after_the_look(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = Media(root)
    os.mkfifo(root / "pipe")
    seen = os.lstat(root / "photos" / "a.bin")
    monkeypatch.setattr(Media, "_locate", lambda self, text: (str(root / "pipe"), seen))
    assert "is not a regular file" in refusal(media, "pipe")
    (root / "link").symlink_to(root / "photos" / "a.bin")
    monkeypatch.setattr(Media, "_locate", lambda self, text: (str(root / "link"), seen))
    assert "cannot be read" in refusal(media, "link")


def test_a_file_that_grows_stays_under_the_cap(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "photos" / "a.bin"
    seen = os.lstat(path)
    path.write_bytes(b"x" * 5000)
    monkeypatch.setattr(Media, "_locate", lambda self, text: (str(path), seen))
    assert "more than the cap of 1000 bytes" in refusal(Media(root), "photos/a.bin")


def test_a_read_that_fails_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error", str(root))

    monkeypatch.setattr(os, "read", fail)
    assert refusal(Media(root), "photos/a.bin") == (
        "'photos/a.bin': cannot be read (input/output error)"
    )


def test_permission(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied", "/secret/place")

    monkeypatch.setattr(os, "open", deny)  # tests may run as root, whom no mode bits stop
    assert refusal(Media(root), "photos/a.bin") == "'photos/a.bin': permission denied"


def test_sizes(root: Path) -> None:
    (root / "empty.bin").touch()
    with (root / "large.bin").open("wb") as handle:
        handle.truncate(26_000_000)  # sparse: it is never read
    assert refusal(Media(root), "empty.bin") == "'empty.bin': is empty (zero bytes)"
    assert refusal(Media(root), "large.bin", 25_000_000) == (
        "'large.bin': is 26 MB large, more than the cap of 25 MB (max_thing)"
    )
    with pytest.raises(CellError, match="cap of 10 bytes$"):
        Media(root).read(b"x" * 11, 10)


def test_paths_can_be_refused_altogether(root: Path) -> None:
    media = Media(root, paths=False)
    assert "is a path, and only bytes are accepted here" in refusal(media, "photos/a.bin")
    assert media.read(b"abc", 10) == b"abc"


def test_long_names_are_shortened(root: Path) -> None:
    message = refusal(Media(root), "d/" * 100 + "end.png")
    assert "end.png': no such file" in message and len(message) < 160
    assert refusal(Media(root), "a\nb.png") == "'a\\nb.png': no such file"


def test_fingerprints(root: Path) -> None:
    media = Media(root)
    path = root / "photos" / "a.bin"
    first = media.fingerprint("photos/a.bin")
    assert first == media.fingerprint("photos/a.bin") == media.fingerprint(Path("photos/a.bin"))
    os.utime(path, ns=(1, 1))
    assert media.fingerprint("photos/a.bin") != first
    assert media.fingerprint(b"abc") == media.fingerprint({"bytes": b"abc", "path": None})
    assert media.fingerprint(b"abc") != media.fingerprint(b"abd")
    assert media.fingerprint("gone.png") != media.fingerprint("gone2.png")
    assert media.fingerprint("1 2\ud800").startswith(b"unreadable")
    assert media.fingerprint(None) == b"missing"
    assert media.fingerprint([1, 2]) == media.fingerprint([1, 2]) != media.fingerprint([1, 3])
    ones = np.ones(4, np.float32)
    assert media.fingerprint(ones) == media.fingerprint(ones.copy())
    assert media.fingerprint(ones) != media.fingerprint(ones.reshape(2, 2))
    assert media.fingerprint(np.array(["a", None], object)).startswith(b"array")
    secret = root.parent / "secret.bin"
    assert media.fingerprint(str(secret)) == media.fingerprint(str(secret))
    before = media.fingerprint("../secret.bin")
    secret.write_bytes(b"longer now")
    assert media.fingerprint("../secret.bin") == before  # nothing is learnt about what lies outside


def test_exists(root: Path) -> None:
    media = Media(root)
    assert media.exists("photos/a.bin")
    assert not any(media.exists(cell) for cell in ("photos", "gone", b"abc", 3, "../secret.bin"))


def test_urls_and_labels() -> None:
    assert all(map(is_url, ["http://a", " HTTPS://a", "gs://b/c", "data:,x", "a+b.c-d://e"]))
    assert not any(map(is_url, ["a/b.png", "C:\\a.png", "a:b", "//a/b", "data.png", "12:30"]))
    assert label({"path": "a.png", "bytes": b"x"}) == "'a.png'"
    assert label(b"x") == label(None) == label({"bytes": b""}) == ""


def test_limits_follow_the_options() -> None:
    assert Limits.from_config(configure()) == Limits()
    limits = Limits.from_config(
        configure(max_image_megapixels=1.5, max_audio_decoded_mib=1, max_decode_seconds=2)
    )
    assert limits.image_pixels == 1_500_000
    assert limits.audio_decoded_bytes == 2**20
    assert limits.decode_seconds == 2


def test_a_folder_is_resolved_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    real = os.path.realpath

    def count(path: str) -> str:
        resolved.append(path)
        return real(path)

    monkeypatch.setattr(os.path, "realpath", count)
    media = Media(root)
    for number in range(50):
        (root / "photos" / f"{number}.bin").write_bytes(b"x")
        media.read(f"photos/{number}.bin", 10)
        media.fingerprint(f"photos/{number}.bin")
    assert len(resolved) == 2  # the root and the folder
