"""The demo's tables: complete, honest about voices and handwriting, and in need of fusion."""

import csv
import hashlib
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from plait.errors import MissingExtra, PlaitError, TableError
from plait.recipes.demo import table as demo
from plait.recipes.demo.speech import Utterance, speak

pytest.importorskip("espeakng_loader", reason='needs pip install "plait[demo]"')

ROWS = 400
INPUTS = ("image", "audio", "text", "number", "day", "channel", "pulse")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> demo.DemoTables:
    return demo.build(tmp_path_factory.mktemp("demo") / "new" / "folder", rows=ROWS)


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_tables_have_the_stated_columns_and_rows(tables: demo.DemoTables) -> None:
    for path, count in ((tables.train, ROWS), (tables.test, ROWS // 4)):
        rows = read(path)
        assert len(rows) == count
        assert tuple(rows[0]) == demo.COLUMNS
        labels = [row["label"] for row in rows]
        assert {labels.count(word) for word in demo.WORDS} <= {count // 10}
        assert all(row["voice"] for row in rows)
    assert tables.summary["train rows"] == ROWS
    assert tables.summary["test rows"] == ROWS // 4


def test_one_cell_in_twenty_is_missing_and_leaves_no_file(tables: demo.DemoTables) -> None:
    for path in (tables.train, tables.test):
        rows = read(path)
        for column in INPUTS:
            empty = sum(not row[column] for row in rows)
            assert empty == round(demo.MISSING_SHARE * len(rows)), column
    named = {
        row[column]
        for path in (tables.train, tables.test)
        for row in read(path)
        for column in ("image", "audio", "pulse")
        if row[column]
    }
    written = set(files(tables.train.parent)) - {"train.csv", "test.csv", "demo.json"}
    assert written == named


def test_every_medium_can_be_read_and_is_neither_silent_nor_blank(tables: demo.DemoTables) -> None:
    folder = tables.train.parent
    rates = set()
    for row in read(tables.train) + read(tables.test):
        if row["image"]:
            with Image.open(folder / row["image"]) as image:
                assert (image.size, image.mode) == ((28, 28), "L")
                assert np.asarray(image).std() > 5
        if row["audio"]:
            sound, rate = soundfile.read(folder / row["audio"])
            rates.add(rate)
            assert 0.3 < len(sound) / rate < 2.0
            assert sound.ndim == 1
            assert np.abs(sound).max() < 1.0
            assert np.sqrt(np.mean(sound**2)) > 0.01
        if row["pulse"]:
            pulse = np.load(folder / row["pulse"], allow_pickle=False)
            assert (pulse.shape, pulse.dtype) == ((128, 2), np.float32)
            assert np.isfinite(pulse).all()
        if row["day"]:
            assert 2021 <= date.fromisoformat(row["day"]).year <= 2024
        if row["number"]:
            assert abs(float(row["number"])) < 40
    assert rates == {8000, 16000}


def test_the_hint_names_three_digits_and_the_right_one_anywhere(tables: demo.DemoTables) -> None:
    places = [0, 0, 0]
    for row in read(tables.train):
        if row["text"]:
            words = row["text"].replace(",", " ").replace("?", " ").split()
            # "one of two, six and nine" begins with a word that is no candidate.
            named = [word for word in words[words[:2] == ["one", "of"] :] if word in demo.WORDS]
            assert len(set(named)) == 3, row["text"]
            places[named.index(row["label"])] += 1
    assert min(places) > ROWS // 5, places


def test_the_test_voices_are_not_heard_in_training(tables: demo.DemoTables) -> None:
    heard = {row["voice"] for row in read(tables.train)}
    unheard = {row["voice"] for row in read(tables.test)}
    assert heard == set(demo.TRAIN_VOICES)
    assert unheard == set(demo.TEST_VOICES)
    assert not {voice.partition("+")[2] for voice in heard} & {
        voice.partition("+")[2] for voice in unheard
    }


def test_the_handwriting_is_that_of_scikit_learn_and_disjoint() -> None:
    from sklearn.datasets import load_digits

    real = load_digits()
    train, test = demo._handwriting(0)
    for digit in range(10):
        parts = [{glyph.tobytes() for glyph in part[digit]} for part in (train, test)]
        expected = (real.images[real.target == digit] * (255 / 16)).astype(np.uint8)
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == {glyph.tobytes() for glyph in expected}


def test_pixels_alone_help_but_do_not_suffice(tables: demo.DemoTables) -> None:
    from sklearn.linear_model import LogisticRegression

    def pixels(table: Path) -> tuple[NDArray[np.float64], list[str]]:
        rows = [row for row in read(table) if row["image"]]
        images = [np.asarray(Image.open(table.parent / row["image"])).ravel() for row in rows]
        return np.stack(images) / 255, [row["label"] for row in rows]

    model = LogisticRegression(C=0.1, max_iter=500).fit(*pixels(tables.train))
    assert 0.3 < model.score(*pixels(tables.test)) < 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    demo.build(tmp_path / "a", rows=40, seed=3, progress=lambda done, of: seen.append((done, of)))
    demo.build(tmp_path / "b", rows=80, seed=4)
    other = files(tmp_path / "b")
    mine = tmp_path / "b" / "image" / "my-own.png"
    mine.write_bytes(b"mine")
    demo.build(tmp_path / "b", rows=40, seed=3)  # over a larger demo, whose files must go
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    assert files(tmp_path / "a") == files(tmp_path / "b") != other
    assert seen == [(done, 50) for done in range(1, 51)]


def test_words_and_voices_sound_different_and_repeat_exactly() -> None:
    asked = [
        Utterance(word, voice, 160, 50) for voice in ("en-us", "en-us+f3") for word in demo.WORDS
    ]
    rate, clips = speak(asked)
    assert len(set(clips)) == len(asked)
    for clip in clips:
        sound = np.frombuffer(clip, np.int16) / 32768
        assert 0.2 < len(sound) / rate < 1.0
        assert np.sqrt(np.mean(sound**2)) > 0.01
    assert speak(asked) == (rate, clips)


def test_a_voice_that_does_not_exist_is_named() -> None:
    with pytest.raises(PlaitError, match="could not find the voice 'xx-nobody': not found"):
        speak([Utterance("one", "xx-nobody", 160, 50)])
    with pytest.raises(PlaitError, match="no voice variant 'nobody'"):
        speak([Utterance("one", "en-us+nobody", 160, 50)])


def test_a_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "demo.json").write_text(json.dumps({"made_by": "someone else"}))
    before = files(tmp_path)
    with pytest.raises(TableError) as caught:
        demo.build(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not empty and holds no earlier demo, so nothing was written. "
        "Name a new or empty folder for the demo."
    )
    assert files(tmp_path) == before


def test_a_file_or_too_few_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(TableError, match=r"is a file\. Name a new or empty folder"):
        demo.build(path)
    with pytest.raises(TableError, match=r"rows=3 and seed=0\. Give at least 40 rows"):
        demo.build(tmp_path / "new", rows=3)
    with pytest.raises(TableError, match=r"cannot write the demo into .*inside"):
        demo.build(path / "inside")
    assert not (tmp_path / "new").exists()


def test_a_missing_speech_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtra, match=r'pip install "plait\[demo\]"'):
        demo.build(tmp_path / "new")
    assert not (tmp_path / "new").exists()
