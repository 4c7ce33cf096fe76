"""What every registered modality keeps. A new one is covered once `GOOD` and `BAD` name cells for it."""

import json
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

from plait.data.modalities.base import Modality, Prepared, Settings, State
from plait.data.modalities.registry import MODALITIES, get
from plait.errors import SchemaError


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
MISSING: list[object] = [None, float("nan"), "", "  ", np.float32("nan"), np.datetime64("NaT")]


@pytest.fixture(params=MODALITIES)
def modality(request: pytest.FixtureRequest) -> Modality:
    return MODALITIES[request.param]


@pytest.fixture
def good(modality: Modality, tmp_path: Path) -> list[object]:
    return GOOD[modality.name](tmp_path)


@pytest.fixture
def state(modality: Modality, good: list[object], settings: Settings) -> State:
    return modality.fit(good, settings)


def same(left: Prepared, right: Prepared) -> None:
    np.testing.assert_array_equal(left.values, right.values)
    assert left.values.dtype == right.values.dtype
    np.testing.assert_array_equal(left.present, right.present)
    assert (left.lengths is None) == (right.lengths is None)
    if left.lengths is not None:
        np.testing.assert_array_equal(left.lengths, right.lengths)
    assert left.problems == right.problems


def check_form(prepared: Prepared, rows: int) -> None:
    assert prepared.present.shape == (rows,) and prepared.present.dtype == bool
    if prepared.lengths is None:
        assert len(prepared.values) == rows
        assert not prepared.values[~prepared.present].any()
    else:
        assert prepared.lengths.dtype == np.int64
        assert len(prepared.values) == prepared.lengths.sum()
        np.testing.assert_array_equal(prepared.lengths > 0, prepared.present)
    assert all(not prepared.present[problem.row] for problem in prepared.problems)
    if prepared.values.dtype.kind == "f":
        assert np.isfinite(prepared.values).all()


def test_registered_under_its_own_name(modality: Modality) -> None:
    assert get(modality.name) is modality
    assert type(modality).__doc__ and vars(modality) == {}


def test_unknown_name() -> None:
    with pytest.raises(SchemaError) as caught:
        get("imgae")
    assert str(caught.value) == (
        "unknown modality 'imgae'. Did you mean 'image'? Choose from: "
        "audio, categorical, datetime, image, numeric, signal, text, video."
    )


def test_rows_in_are_rows_out(
    modality: Modality, good: list[object], state: State, settings: Settings, rows_of
) -> None:
    cells: list[object] = []
    for number, cell in enumerate(good):
        cells += [cell, MISSING[number % len(MISSING)], BAD[modality.name][number % 3]]
    mixed = modality.prepare(cells, state, settings)
    check_form(mixed, len(cells))
    assert mixed.present.tolist() == [True, False, False] * len(good)
    assert [problem.row for problem in mixed.problems] == list(range(2, len(cells), 3))
    alone = modality.prepare(good, state, settings)
    for left, right in zip(rows_of(mixed)[::3], rows_of(alone), strict=True):
        np.testing.assert_array_equal(left, right)


def test_reasons_are_short_sentences(modality: Modality, state: State, settings: Settings) -> None:
    prepared = modality.prepare(BAD[modality.name], state, settings)
    assert len(prepared.problems) == len(BAD[modality.name])
    for problem in prepared.problems:
        assert 10 < len(problem.reason) < 160
        assert "Traceback" not in problem.reason and "0x" not in problem.reason
        assert str(settings.media.root) not in problem.reason


def test_state_survives_json(
    modality: Modality, good: list[object], state: State, settings: Settings
) -> None:
    again = json.loads(json.dumps(state, allow_nan=False))
    assert again == state
    same(modality.prepare(good, state, settings), modality.prepare(good, again, settings))


def test_deterministic(
    modality: Modality, good: list[object], state: State, settings: Settings
) -> None:
    assert modality.fit(good, settings) == state
    assert modality.fit(iter(good), settings) == state
    same(modality.prepare(good, state, settings), modality.prepare(good, state, settings))


def test_chunks_are_the_whole(
    modality: Modality, good: list[object], state: State, settings: Settings
) -> None:
    cells = [*good, None, *BAD[modality.name], *good[::-1]]
    whole = modality.prepare(cells, state, settings)
    parts = [
        modality.prepare(cells[at : at + 4], state, settings) for at in range(0, len(cells), 4)
    ]
    np.testing.assert_array_equal(whole.values, np.concatenate([part.values for part in parts]))
    np.testing.assert_array_equal(whole.present, np.concatenate([part.present for part in parts]))
    reasons = [problem.reason for part in parts for problem in part.problems]
    assert [problem.reason for problem in whole.problems] == reasons


def test_threads_change_nothing(
    modality: Modality, good: list[object], state: State, settings: Settings
) -> None:
    alone = Settings(settings.media, settings.preset, threads=1)
    crowd = Settings(settings.media, settings.preset, threads=8)
    cells = good * 40
    same(modality.prepare(cells, state, alone), modality.prepare(cells, state, crowd))


def test_nothing_at_all(modality: Modality, state: State, settings: Settings) -> None:
    check_form(modality.prepare([], state, settings), 0)
    assert modality.matches("column", [], settings) is None


@pytest.mark.parametrize("cells", [[], MISSING])
def test_fitted_on_nothing(
    modality: Modality, good: list[object], cells: list[object], settings: Settings
) -> None:
    blank = modality.fit(cells, settings)
    check_form(modality.prepare(MISSING, blank, settings), len(MISSING))
    assert not modality.prepare(MISSING, blank, settings).present.any()
    check_form(modality.prepare(good, blank, settings), len(good))
    assert modality.describe(blank)


def test_fitted_on_broken_cells_only(
    modality: Modality, good: list[object], settings: Settings
) -> None:
    state = modality.fit(BAD[modality.name], settings)
    check_form(modality.prepare(good, state, settings), len(good))


def test_recognises_its_own(modality: Modality, good: list[object], settings: Settings) -> None:
    numbers_are_clear = [cell for cell in good if not isinstance(cell, bool)]
    evidence = modality.matches("column", numbers_are_clear, settings)
    assert evidence is not None and 0 < evidence.strength <= 1 and evidence.reason
    if modality.name not in ("text", "categorical"):
        others = [
            other.matches("column", numbers_are_clear, settings)
            for name, other in MODALITIES.items()
            if name != modality.name
        ]
        assert evidence.strength > max(found.strength if found else 0 for found in others)


def test_describes_itself(modality: Modality, state: State) -> None:
    assert 3 < len(modality.describe(state)) < 100


def test_every_preset_fits(modality: Modality, good: list[object], settings: Settings) -> None:
    for preset in ("fast", "balanced", "best"):
        sized = Settings(settings.media, preset)
        check_form(modality.prepare(good, modality.fit(good, sized), sized), len(good))


def test_knows_no_torch() -> None:
    code = (
        "import sys, plait.data.modalities.registry\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'pyarrow', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
