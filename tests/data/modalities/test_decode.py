"""Decoding in threads: order, deadlines, and errors in words."""

import os
import subprocess
import sys
import threading
import time
from functools import partial
from io import BytesIO

import pytest
from PIL import Image

from plait.data.modalities import registry
from plait.data.modalities.decode import decode_all, named, reason_of
from plait.errors import CellError


def test_order_and_missing_cells() -> None:
    def decode(cell: object) -> int:
        time.sleep(0.0002 * (int(str(cell)) % 3))
        return int(str(cell)) ** 2

    cells = [number if number % 5 else None for number in range(200)]
    expected = [number**2 if number % 5 else None for number in range(200)]
    for threads in (0, 1, 4, 500):
        assert decode_all(decode, cells, threads, 10) == expected
    assert decode_all(decode, [], 2, 10) == []
    assert decode_all(decode, [None, ""], 2, 10) == [None, None]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CellError("is a damaged sound"), "is a damaged sound"),
        (MemoryError(), "needs more memory to decode than there is"),
        (ValueError("bad crc"), "cannot be decoded (bad crc)"),
        (KeyError(), "cannot be decoded (KeyError)"),
        (RuntimeError("first\nsecond"), "cannot be decoded (first)"),
        (OSError(5, "Input/output error", "/home/me/x"), "cannot be decoded (Input/output error)"),
        (OSError("no /home/me/private/x.png here"), "cannot be decoded (no … here)"),
        (
            OSError("reading <_io.BytesIO object at 0x7f00> failed"),
            "cannot be decoded (reading failed)",
        ),
        (ValueError("y" * 300), f"cannot be decoded ({'y' * 99}…)"),
    ],
)
def test_errors_become_reasons(error: Exception, reason: str) -> None:
    def decode(cell: object) -> object:
        raise error

    assert reason_of(error) == reason
    found = decode_all(decode, ["a.png", b"bytes"], 2, 10)
    assert [str(entry) for entry in found] == [f"'a.png': {reason}", reason]
    assert all(isinstance(entry, CellError) for entry in found)


def test_a_reason_names_its_cell_once() -> None:
    assert named("a.png", "'a.png': no such file") == "'a.png': no such file"
    assert named({"path": "b.png"}, "is empty") == "'b.png': is empty"


def test_a_slow_cell_is_given_up_and_the_others_go_on() -> None:
    release = threading.Event()

    def decode(cell: object) -> object:
        if str(cell).startswith("slow"):
            release.wait(20)
        return cell

    cells: list[object] = ["a", "slow 1", "b", "slow 2", "c", "slow 3", "d"]
    begun = time.monotonic()
    found = decode_all(decode, cells, 2, 0.1)
    took = time.monotonic() - begun
    release.set()
    assert took < 5
    assert found[::2] == ["a", "b", "c", "d"]
    assert [str(entry) for entry in found[1::2]] == [
        f"'slow {number}': took longer than 0.1 s to decode (max_decode_seconds)"
        for number in (1, 2, 3)
    ]
    time.sleep(0.05)
    assert isinstance(found[1], CellError)  # the late answer does not replace the verdict


def test_a_crash_of_the_interpreter_kind_is_raised() -> None:
    def decode(cell: object) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_all(decode, ["a"], 1, 10)


def test_a_hanging_codec_does_not_keep_the_process() -> None:
    code = (
        "import time\n"
        "from plait.data.modalities.decode import decode_all\n"
        "print(decode_all(lambda cell: time.sleep(60), ['a'], 1, 0.05))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=30, text=True, env=os.environ
    )
    assert done.returncode == 0 and "took longer than 0.05 s" in done.stdout


def test_a_single_cell_is_decoded_on_a_thread_that_is_kept():
    names = [
        decode_all(lambda cell: threading.current_thread().name, [None, "a"], 4, 5.0)
        for _ in range(3)
    ]
    assert names == [[None, "plait-decode-kept"]] * 3
    before = threading.active_count()
    for _ in range(20):
        decode_all(len, ["a"], 4, 5.0)
    assert threading.active_count() <= before


def test_a_single_cell_that_takes_too_long_is_left_behind():
    release = threading.Event()
    (late,) = decode_all(lambda cell: release.wait(20), ["slow.png"], 1, 0.05)
    assert str(late) == "'slow.png': took longer than 0.05 s to decode (max_decode_seconds)"
    assert decode_all(str.upper, ["b"], 1, 5.0) == ["B"]  # on another thread
    release.set()


def test_what_is_no_exception_of_a_codec_reaches_the_caller_of_a_single_cell():
    def stop(cell):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_all(stop, ["a"], 1, 5.0)
    assert decode_all(str.upper, ["b"], 1, 5.0) == ["B"]


def test_others_help_only_where_a_cell_takes_long():
    def decode(cell, seconds):
        time.sleep(seconds)
        return threading.current_thread().name

    quick = decode_all(partial(decode, seconds=0), range(2000), 4, 10)
    assert len(set(quick)) == 1
    slow = decode_all(partial(decode, seconds=0.004), range(40), 4, 10)
    assert len(set(slow)) == 4


def test_one_light_cell_is_decoded_where_the_caller_is():
    def decode(cell):
        if cell == b"bad":
            raise ValueError("no")
        return threading.current_thread()

    here = threading.current_thread()
    assert decode_all(decode, [None, b"x"], 2, 10, lambda cell: True) == [None, here]
    assert decode_all(decode, [b"x"], 2, 10, lambda cell: False) != [here]
    (error,) = decode_all(decode, [b"bad"], 2, 10, lambda cell: True)
    assert str(error) == "cannot be decoded (no)"


def test_what_is_light():
    image, audio, text = (registry.get(name) for name in ("image", "audio", "text"))
    picture = BytesIO()
    Image.new("RGB", (600, 400)).save(picture, "PNG")
    assert image.is_light(picture.getvalue())
    assert image.is_light({"bytes": picture.getvalue(), "path": "x.png"})
    assert not image.is_light({"bytes": None, "path": "x.png"})
    assert not image.is_light("x.png")
    assert not image.is_light(b"\x89PNG\r\n broken")
    assert not image.is_light(picture.getvalue() + b"x" * 100_000)  # many bytes
    large = BytesIO()
    Image.new("1", (3000, 3000)).save(large, "PNG")
    assert len(large.getvalue()) < 65_536
    assert not image.is_light(large.getvalue())  # many pixels in few bytes
    other = BytesIO()
    Image.new("RGB", (8, 8)).save(other, "TIFF")
    assert not image.is_light(other.getvalue())
    scans = BytesIO()
    Image.new("RGB", (8, 8)).save(scans, "JPEG", progressive=True)
    assert not image.is_light(scans.getvalue())
    plain = BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "JPEG")
    assert image.is_light(plain.getvalue())
    assert audio.is_light(b"RIFF....")
    assert not audio.is_light(b"fLaC....")
    assert not audio.is_light(b"RIFF" + b"\0" * 300_000)
    assert text.is_light("word")
    assert not text.is_light("word " * 100_000)
    assert registry.get("numeric").is_light(3.0)
    assert not registry.get("video").is_light(b"x")


def test_a_small_file_that_says_its_size_or_pixels_twice_is_not_light():
    image = registry.get("image")
    png, jpeg = BytesIO(), BytesIO()
    Image.new("1", (8, 8)).save(png, "PNG")
    header = png.getvalue()[8:33]
    second = header[:8] + b"\0\0\x1f\x40" * 2 + header[16:]  # 8000 x 8000
    assert not image.is_light(png.getvalue()[:33] + second + png.getvalue()[33:])
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    scan = jpeg.getvalue()[jpeg.getvalue().index(b"\xff\xda") : -2]
    assert not image.is_light(jpeg.getvalue()[:-2] + scan * 1000 + b"\xff\xd9")
