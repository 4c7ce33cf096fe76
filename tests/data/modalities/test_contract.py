"""What every registered modality keeps. A new one is covered once `GOOD` and `BAD` name cells for it."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clips import encode, square
from PIL import Image

from plait.data.modalities.base import Modality
from plait.data.modalities.registry import MODALITIES, get
from plait.errors import SchemaError
from plait.testing import check_modality


def images(folder: Path) -> list[object]:
    random = np.random.default_rng(0)
    for number in range(6):
        pixels = random.integers(0, 255, (20 + number, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [f"{number}.png" for number in range(6)]


def sounds(folder: Path) -> list[object]:
    random = np.random.default_rng(0)
    for number in range(6):
        wave = random.normal(0, 0.1, 900 + 400 * number)
        soundfile.write(folder / f"{number}.wav", wave, 8000 if number else 11025)
    return [f"{number}.wav" for number in range(6)]


def videos(folder: Path) -> list[object]:
    kinds = [
        ("mp4", "mpeg4"),
        ("mov", "mjpeg"),
        ("mkv", "ffv1"),
        ("avi", "mjpeg"),
        ("webm", "libvpx"),
    ]
    for number in range(6):
        ending, codec = kinds[number % 5]
        clip = encode(square(frames=1 + 3 * number), ending, codec)
        (folder / f"{number}.{ending}").write_bytes(clip)
    return [f"{number}.{kinds[number % 5][0]}" for number in range(6)]


def signals(folder: Path) -> list[object]:
    random = np.random.default_rng(0)
    for number in range(6):
        np.save(folder / f"{number}.npy", random.normal(size=(30 + number, 2)))
    return [f"{number}.npy" for number in range(6)]


GOOD: dict[str, Callable[[Path], list[object]]] = {
    "image": images,
    "audio": sounds,
    "video": videos,
    "signal": signals,
    "text": lambda _: ["a red bird", "猫在睡觉", "two 🐦 birds", "a red fish", "Ünïcode", "[PAD] x"],
    "numeric": lambda _: [1, 2.5, "3", True, -4.0, "1e3"],
    "categorical": lambda _: ["red", "blue", "red", 1, 1.0, False],
    "datetime": lambda _: ["2024-01-31", "2024-02-01 10:30", date(2020, 1, 1), "1999-12-31", "2024-3-4",
                           "2025-01-01"],
}  # fmt: skip
BAD: dict[str, list[object]] = {
    "image": ["gone.png", b"<html>", b"", 7],
    "audio": ["gone.wav", b"<html>", b"", 7],
    "video": ["gone.mp4", b"<html>", b"", 7],
    "signal": ["gone.npy", b"\x93NUMPY", [1, "x"], 7],
    "text": ["\ud800", b"\xff\xfe\xfd", "x" * 1_000_001],
    "numeric": ["seven", float("inf"), 1 + 2j, b"1"],
    "categorical": [["a"], "\ud800", {"a": 1}],
    "datetime": ["tomorrow", 20240131, "2024-13-01", "31/31/2024"],
}


@pytest.fixture(params=MODALITIES)
def modality(request: pytest.FixtureRequest) -> Modality:
    return MODALITIES[request.param]


@pytest.fixture
def good(modality: Modality, tmp_path: Path) -> list[object]:
    return GOOD[modality.name](tmp_path)


def test_registered_under_its_own_name(modality: Modality) -> None:
    assert get(modality.name) is modality
    assert type(modality).__doc__ and vars(modality) == {}


def test_it_keeps_the_contract(modality: Modality, good: list[object], tmp_path: Path) -> None:
    distinct = modality.name not in ("text", "categorical")
    check_modality(modality, good, BAD[modality.name], root=tmp_path, distinct=distinct)


def test_unknown_name() -> None:
    with pytest.raises(SchemaError) as caught:
        get("imgae")
    assert str(caught.value) == (
        "unknown modality 'imgae'. Did you mean 'image'? Choose from: "
        "audio, categorical, datetime, image, numeric, signal, text, video."
    )


def test_knows_no_torch() -> None:
    code = (
        "import sys, plait.data.modalities.registry\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'pyarrow', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
