"""A table of clips from end to end: proposed, fitted, answered, imputed."""

import csv
import json

import av
import numpy as np
import pytest
from clips import encode, square

import plait
from plait import pipeline
from plait.cli.inspect import inspect_table
from plait.data.features import Features
from plait.data.table.quarantine import Quarantine
from plait.predictor.filled_table import Filled, write_filled
from plait.predictor.impute import _rates

pytestmark = pytest.mark.usefixtures("few_resamples")
WORDS = ("left", "right")


def moving(folder, rows, seed):
    """Squares that start anywhere and move left or right: one frame tells nothing, two do."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(rows):
        step = 2 if number % 2 else -2
        clip = square(16, step=step, start=int(rng.integers(32)), top=int(rng.integers(24)))
        (folder / f"{seed}-{number}.mp4").write_bytes(encode(clip))
        made.append({"film": f"{seed}-{number}.mp4", "label": WORDS[number % 2]})
    path = folder / f"{seed}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["film", "label"])
        writer.writeheader()
        writer.writerows(made)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    moving(folder, 40, 1)
    moving(folder, 40, 2)
    return folder


@pytest.fixture(scope="module")
def fitted(folder):
    return pipeline.fit(
        folder / "1.csv", "label", preset="fast", epochs=16, batch_size=8, out=folder / "run",
        reconstruct=0.05, golden_rows=2, threads=1,
    )  # fmt: skip


def right(model, path):
    with path.open(newline="") as file:
        truth = [row["label"] for row in csv.DictReader(file)]
    return np.mean([found == want for found, want in zip(answers(model, path), truth, strict=True)])


def answers(model, source):
    return model.predict(source).tolist()


def test_a_column_of_clips_is_proposed(folder, run):
    (column,) = [
        column
        for column in inspect_table(folder / "1.csv", ["label"])["schema"]["columns"]
        if column["name"] == "film"
    ]
    assert column["modality"] == "video" and column["role"] == "input"
    assert "end in .mp4, and 8 of 8 opened are video files" in column["reason"]
    code, out, _ = run("inspect", folder / "1.csv", "--target", "label")
    assert code == 0 and "video" in out


def test_a_folder_of_clips_is_a_table(folder, tmp_path):
    for word in WORDS:
        (tmp_path / word).mkdir()
        for number in range(6):
            clip = (folder / f"1-{number}.mp4").read_bytes()
            (tmp_path / word / f"{number}.mp4").write_bytes(clip)
    columns = {c["name"]: c for c in inspect_table(tmp_path, ["label"])["schema"]["columns"]}
    assert columns["video"]["modality"] == "video"


@pytest.mark.slow
def test_which_way_a_square_moves_is_learnt_from_forty_clips(fitted, folder):
    assert right(fitted, folder / "2.csv") >= 0.9


@pytest.mark.slow
def test_a_saved_model_answers_the_same(fitted, folder):
    again = plait.load(folder / "run")
    assert answers(again, folder / "2.csv") == answers(fitted, folder / "2.csv")


@pytest.mark.slow
def test_broken_clips_are_missing_and_listed(fitted, folder, tmp_path):
    rows = [{"film": (folder / "2-1.mp4").read_bytes()}, {"film": b"no film"}, {"film": None}]
    with pytest.warns(plait.errors.UnreadableCellsWarning, match="film"):
        assert len(answers(fitted, rows)) == 3


@pytest.mark.slow
def test_a_missing_clip_is_filled_and_written_as_a_video(fitted, folder, run):
    with (folder / "gaps.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["film", "label"], ["2-0.mp4", "left"], ["", "right"]])
    filled = fitted.impute(folder / "gaps.csv")
    assert filled.rates == {"film": 4}  # eight frames in the two seconds that a clip lasts
    (shape,) = {cell.shape for cell in filled.columns["film"] if isinstance(cell, np.ndarray)}
    assert shape == (8, 32, 32, 3)
    code, _, _ = run("impute", folder / "run", folder / "gaps.csv", "-o", folder / "whole.csv")
    assert code == 0
    with (folder / "whole.csv").open(newline="") as file:
        cells = [row["film"] for row in csv.DictReader(file)]
    assert cells == ["2-0.mp4", "whole_media/film/1.mp4"]
    with av.open(folder / cells[1]) as container:
        assert len(list(container.decode(video=0))) == 8
    assert len(answers(fitted, folder / "whole.csv")) == 2


def test_written_clips_look_like_what_was_written(tmp_path):
    clip, grey = square(6), square(6)[..., :1]
    found = Filled(
        {"a": [clip], "b": [grey]}, {name: np.array([True]) for name in "ab"},
        {"a": "video", "b": "video"}, {"a": 3, "b": 3}, Quarantine(),
    )  # fmt: skip
    write_filled(tmp_path / "t.csv", found, tmp_path / "t_media", tmp_path)
    for name, want in (("a", clip), ("b", np.repeat(grey, 3, axis=3))):
        with av.open(tmp_path / "t_media" / name / "0.mp4") as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 3
        assert np.abs(np.stack(frames).astype(int) - want).mean() < 6


def test_filled_clips_play_as_long_as_clips_usually_last():
    states = {
        "a": {"frames": 8, "seconds": 2.0}, "b": {"rate": 8000}, "c": {"frames": 8, "seconds": 600},
        "d": {}, "e": {"frames": 16},
    }  # fmt: skip
    kinds = {"a": "video", "b": "audio", "c": "video", "d": "text", "e": "video"}
    assert _rates(Features(kinds, states)) == {"a": 4, "b": 8000, "c": 1, "e": 16}


@pytest.mark.parametrize("how", ["frozen", "lora"])
def test_clips_are_read_by_a_pretrained_encoder(folder, tmp_path, how):
    """Its weights have five axes, for which processors have no quicker layout."""
    from transformers import VideoMAEConfig, VideoMAEModel

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    clip = {"image_size": 16, "patch_size": 8, "num_frames": 4, "tubelet_size": 2}
    config = VideoMAEConfig(**size, **clip, intermediate_size=64)
    VideoMAEModel(config).save_pretrained(tmp_path / "videomae")
    settings = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True}
    (tmp_path / "videomae" / "preprocessor_config.json").write_text(json.dumps(settings))
    model = pipeline.fit(
        folder / "1.csv",
        "label",
        preset="fast",
        epochs=1,
        encoders={"video": str(tmp_path / "videomae")},
        tune={"video": how},
        out=tmp_path / "run",
        golden_rows=1,
    )
    loaded = plait.load(tmp_path / "run")
    np.testing.assert_allclose(
        model.predict_proba(folder / "2.csv"), loaded.predict_proba(folder / "2.csv"), atol=1e-5
    )
