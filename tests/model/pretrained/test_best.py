"""What preset best takes for a column, and the reason it gives."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import plait
from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.display.progress import Silent
from plait.errors import ConfigError
from plait.model.pretrained import best
from plait.model.pretrained.best import best_encoder

ENGLISH = [
    "a photo of a small red bird",
    "the house by the river",
    None,
    "two dogs playing with a ball",
]
CZECH = ["Počkej, něco mě napadlo, podíváme se dolů", "Myslím, že bychom měli být opatrnější"]
EFFICIENT, MINILM = "pip:efficientnet-lite0", "pip:all-minilm-l6-v2"


def pictures(folder: Path, side: int, grey: bool) -> list[str]:
    rng = np.random.default_rng(0)
    names = []
    for number in range(4):
        shape = (side, side) if grey else (side, side, 3)
        Image.fromarray(rng.integers(0, 255, shape).astype(np.uint8)).save(folder / f"{number}.png")
        names.append(f"{number}.png")
    return names


def settings(folder: Path) -> Settings:
    return Settings(Media(folder), "best", 1)


@pytest.mark.parametrize(
    ("side", "grey", "taken", "why"),
    [
        (64, False, EFFICIENT, "colour pictures of 48 px or more"),
        (28, False, None, "its pictures are 28 px wide, less than 48"),
        (64, True, None, "its pictures are grey, and the packaged model knows photographs"),
    ],
)
def test_pictures(tmp_path, side, grey, taken, why):
    assert best_encoder("image", pictures(tmp_path, side, grey), settings(tmp_path)) == (taken, why)


@pytest.mark.parametrize(
    ("texts", "taken", "why"),
    [
        (ENGLISH, MINILM, "1.00 subwords a word in the packaged model's vocabulary, at most 1.8"),
        (CZECH, None, "more than 1.8"),
        (["3 7 9", "17", b"\xff\xfe"], None, "it holds no words"),
    ],
)
def test_texts(tmp_path, texts, taken, why):
    name, told = best_encoder("text", texts, settings(tmp_path))
    assert name == taken and told.endswith(why)


def test_other_modalities_and_absent_packages(tmp_path, monkeypatch):
    assert best_encoder("audio", [], settings(tmp_path)) == (
        None,
        "no pretrained audio encoder comes by pip",
    )
    monkeypatch.setattr(best, "installed", lambda name: None)
    assert best_encoder("text", ENGLISH, settings(tmp_path)) == (
        None,
        'pip:all-minilm-l6-v2 is not installed; to have it weighed: pip install "plait[pretrained]"',
    )


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def rows(folder: Path) -> list[dict[str, object]]:
    names = pictures(folder, 64, False)
    words = ["a red bird in a tree", "the blue fish in the sea"]
    return [
        {
            "photo": names[n % 4],
            "note": f"{words[n % 2]} {'again ' * (n % 3)}",
            "label": "ab"[n % 2],
        }
        for n in range(40)
    ]


def test_a_fit_with_preset_best_says_what_it_takes(tmp_path):
    notes = Notes()
    options = {
        "preset": "best",
        "epochs": 1,
        "columns": {"photo": "image", "note": "text"},
        "golden_rows": 2,
    }
    model = plait.fit(rows(tmp_path), "label", root=tmp_path, progress=notes, **options)
    assert f"photo: preset best takes {EFFICIENT}: colour pictures of 48 px or more" in notes.notes
    assert any(note.startswith(f"note: preset best takes {MINILM}: 1.") for note in notes.notes)
    assert model.blueprint.encoders["photo"] == EFFICIENT
    assert model.blueprint.records["note"].how == "frozen"
    model.save(tmp_path / "run")
    assert plait.load(tmp_path / "run").verify() < 1e-4


def test_a_named_encoder_goes_before_the_presets(tmp_path):
    notes = Notes()
    model = plait.fit(
        rows(tmp_path),
        "label",
        root=tmp_path,
        progress=notes,
        preset="best",
        epochs=1,
        columns={"photo": "image", "note": "text"},
        encoders={"photo": "cnn", "text": "gru"},
        golden_rows=0,
    )
    assert model.blueprint.encoders == {"photo": "cnn", "note": "gru"}
    assert not any("preset best takes" in note for note in notes.notes)


def test_the_presets_encoder_can_be_tuned(tmp_path):
    with pytest.raises(ConfigError, match="tune: last-99 asks for more blocks than the"):
        plait.fit(
            rows(tmp_path),
            "label",
            root=tmp_path,
            preset="best",
            columns={"photo": "image", "note": "text"},
            tune={"text": "last-99"},
        )
