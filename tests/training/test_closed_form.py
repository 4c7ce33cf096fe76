"""Reduction and alignment inside a fit: fitted once, to training rows, saved with the weights."""

import json

import numpy as np
import pytest
import torch

import plait
from plait.config import configure
from plait.display.progress import Silent
from plait.errors import ConfigError
from plait.model.encoders.aligned import Resampled, Straightened
from plait.model.encoders.projected import Projected
from plait.predictor.predictor import load
from plait.training.closed_form import MAX_ROWS, fit_encoders

ALL = ("photo", "note", "voice", "price", "shop", "day", "pulse", "score", "tags")


class Notes(Silent):
    def __init__(self):
        self.told = []

    def note(self, text):
        self.told.append(text)


@pytest.fixture(scope="module")
def media(maker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return maker.csv(folder, "t.csv", maker.rows(folder, 40, gaps=0.1))


def fit(maker, media, *used, target="label", **options):
    ignore = tuple(name for name in ALL if name not in used and name != target)
    return maker.fit(media, target, ignore=ignore, golden_rows=2, **options)


def projections(model):
    return [part for part in model.model.modules() if isinstance(part, Projected)]


def test_projections_are_fitted_to_training_rows_and_saved(maker, media, tmp_path):
    notes = Notes()
    model = fit(
        maker,
        *(media, "photo", "voice", "pulse", "shop"),
        encoders={"image": "pca", "audio": "lda", "signal": "pca"},
        out=tmp_path / "run",
        progress=notes,
    )
    told = [note for note in notes.told if "fitted to" in note and "training rows" in note]
    assert [note.split(":")[0] for note in told] == ["photo", "voice", "pulse"]
    assert "pca keeps" in told[0] and "of 768 dimensions" in told[0] and "variance" in told[0]
    assert "lda keeps 2 of 400 dimensions, fitted to" in told[1]
    again = load(tmp_path / "run")
    for part, twin in zip(projections(model), projections(again), strict=True):
        assert torch.equal(part.projection, twin.projection)
        assert torch.equal(part.centre, twin.centre)
        assert (part.centre != 0).any()
    assert again.verify() <= 1e-5
    assert len(again.predict(media)) == 40


def test_a_projection_is_that_of_the_training_rows_alone(maker, media):
    model = fit(maker, media, "photo", "shop", encoders={"photo": "pca"})
    from plait.data.features import settings_for
    from plait.data.table.source import open_table
    from plait.training.dataset import read_dataset

    config = configure(ignore=tuple(n for n in ALL if n not in ("photo", "shop")))
    table = open_table(media)
    data = read_dataset(table, ["label"], config)
    column = model.features.prepare(table, settings_for(table, config)).columns["photo"]
    rows = data.train[column.rows_present[data.train]]
    pixels = column.batch(rows)[0].astype(np.float64).transpose(0, 3, 1, 2) / 127.5 - 1
    (part,) = projections(model)
    np.testing.assert_allclose(
        part.centre.numpy(), pixels.reshape(len(rows), -1).mean(axis=0), atol=1e-5
    )
    z = (pixels.reshape(len(rows), -1) - part.centre.numpy()) @ part.projection.numpy()
    spread = z.std(axis=0, ddof=1)
    kept = len(rows) - 1
    assert 0.9 < spread[0] < 1
    assert (np.diff(spread[:kept]) <= 1e-4).all()
    assert (part.projection[:, kept:] == 0).all()


def test_a_resumed_run_keeps_its_projection_and_its_weights(maker, media, tmp_path, monkeypatch):
    options = {"encoders": {"image": "pca"}, "epochs": 2}
    whole = fit(maker, media, "photo", "shop", **options)
    state = whole.model.state_dict()
    stopped = {"seen": 0}
    from plait.training.loop import Trainer

    close = Trainer._close_epoch

    def stop_after_one(self):
        close(self)
        stopped["seen"] += 1
        if stopped["seen"] == 1:
            self.save()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_close_epoch", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            fit(maker, media, "photo", "shop", out=tmp_path / "run", **options)
    notes = Notes()
    again = fit(
        maker, media, "photo", "shop", out=tmp_path / "run", resume=True, progress=notes, **options
    )
    assert any(note.startswith("resumed at epoch 2") for note in notes.told)
    assert not any("training rows" in note and "pca" in note for note in notes.told)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_resume_without_a_checkpoint_fits_anew(maker, media, tmp_path):
    model = fit(maker, media, "photo", encoders={"image": "pca"}, out=tmp_path / "run", resume=True)
    assert (projections(model)[0].centre != 0).any()


def test_columns_that_share_an_encoder_are_fitted_together(maker, tmp_path):
    rows = maker.rows(tmp_path, 24)
    rows = [{"a": row["photo"], "b": row["photo"], "label": row["label"]} for row in rows]
    path, notes = maker.csv(tmp_path, "t.csv", rows), Notes()
    model = maker.fit(
        path,
        "label",
        encoders={"image": "pca"},
        share=("image",),
        tokens_per_stream=3,
        progress=notes,
    )
    assert len(projections(model)) == 1
    assert any(note.startswith("a and b: pca keeps") for note in notes.told)
    (twice,) = (note for note in notes.told if note.startswith("a and b: pca"))
    assert int(twice.split("fitted to ")[1].split()[0]) == 2 * 20


def test_many_rows_are_drawn_from(maker):
    """No more than a share of the rows is read, the same for the same seed."""
    from plait.data.store import PreparedColumn
    from plait.model.model import Model

    class Small(Projected):
        seen = None

        def fit_rows(self, batches, targets):
            self.seen = torch.cat([column.values.flatten() for (column,) in batches]).tolist()
            return "done"

    def run(seed):
        part = Small(kind="pca", channels=1, size=1, width=8)
        model = Model.__new__(Model)
        torch.nn.Module.__init__(model)
        model.streams, model.encoders = {"x": ("x",)}, torch.nn.ModuleList([part])
        values = np.arange(3000, dtype=np.int32).reshape(-1, 1, 1, 1)
        column = PreparedColumn(values, None, np.arange(3000) % 10 > 0)
        rows = np.arange(100, 3000)
        notes = fit_encoders(model, {"x": column}, rows, np.zeros(3000), seed=seed)
        assert notes == ["x: done"]
        return part.seen

    seen = run(0)
    assert len(seen) == len(set(seen)) == MAX_ROWS
    assert seen == sorted(seen) and min(seen) >= 100
    assert not any(row % 10 == 0 for row in seen)
    assert seen == run(0) != run(1)


@pytest.mark.parametrize(("target", "kind"), [("score", "regression"), ("tags", "multilabel")])
def test_lda_needs_classes(maker, media, target, kind):
    with pytest.raises(ConfigError) as caught:
        fit(maker, media, "photo", target=target, encoders={"image": "lda"})
    assert str(caught.value) == (
        "1 option is wrong:\n  - encoders: lda of photo is fitted to the classes of the first "
        f"target, and '{target}' is {kind}. Take pca, or put a target of classes first."
    )
    fit(maker, media, "photo", target=target, encoders={"image": "pca"})


def test_rows_without_a_class_are_left_out(maker, tmp_path):
    rows = maker.rows(tmp_path, 30)
    for number in range(0, 30, 3):
        rows[number]["label"] = None
    keep = ("photo", "label", "score")
    path = maker.csv(tmp_path, "t.csv", [{name: row[name] for name in keep} for row in rows])
    notes = Notes()
    maker.fit(path, ["label", "score"], encoders={"image": "lda"}, progress=notes)
    (told,) = (note for note in notes.told if note.startswith("photo: lda"))
    assert told.startswith("photo: lda keeps 1 of 768 dimensions, fitted to ")
    assert int(told.split("fitted to ")[1].split()[0]) <= 20


def test_too_few_cells_are_an_error_with_the_column(maker, tmp_path):
    rows = maker.rows(tmp_path, 24)
    for row in rows[1:]:
        row["photo"] = None
    keep = ("photo", "price", "label")
    path = maker.csv(tmp_path, "t.csv", [{name: row[name] for name in keep} for row in rows])
    with pytest.raises(ConfigError) as caught:
        maker.fit(path, "label", encoders={"image": "pca"}, columns={"photo": "image"})
    assert "encoders: photo has" in str(caught.value)
    assert str(caught.value).endswith(
        " readable training cells with a target; a projection needs 2 at least. Choose another "
        "encoder or ignore the column."
    )


def test_classes_that_a_column_does_not_have_are_an_error_with_the_column(maker, tmp_path):
    rows = maker.rows(tmp_path, 24)
    for row in rows:
        if row["label"] != "a":
            row["photo"] = None
    keep = ("photo", "price", "label")
    path = maker.csv(tmp_path, "t.csv", [{name: row[name] for name in keep} for row in rows])
    with pytest.raises(ConfigError) as caught:
        maker.fit(path, "label", encoders={"image": "lda"})
    assert "  - encoders: photo cannot be fitted: all " in str(caught.value)
    assert "rows are of class 0; LDA needs two classes." in str(caught.value)


# Aligning inside a fit.


def test_a_spatial_transformer_is_trained_with_the_encoder(maker, media, tmp_path):
    model = fit(
        maker, media, "photo", "shop", align={"image": "stn"}, epochs=2, out=tmp_path / "run"
    )
    encoder = model.model.encoders[0]
    assert isinstance(encoder, Straightened)
    assert (encoder.transformer.change.weight != 0).any()
    assert model.blueprint.align == {"photo": "stn"}
    again = load(tmp_path / "run")
    assert again.verify() <= 1e-5
    assert json.loads((tmp_path / "run" / "architecture.json").read_text())["align"] == {
        "photo": "stn"
    }


def test_a_clock_gives_streams_one_number_of_tokens(maker, media, tmp_path):
    model = fit(
        maker,
        media,
        "photo",
        "voice",
        "note",
        tokens_per_stream=5,
        fusion="attention",
        out=tmp_path / "run",
    )
    assert all(isinstance(part, Resampled) for part in model.model.encoders)
    seen = []
    model.model.fusion.register_forward_pre_hook(
        lambda _, args: seen.append({stream.values.shape[1] for stream in args[0].values()})
    )
    model.predict(media)
    assert seen and all(counts == {5} for counts in seen)
    again = load(tmp_path / "run")
    assert again.blueprint.tokens_per_stream == 5
    assert again.verify() <= 1e-5


def test_all_of_it_at_once(maker, media):
    model = fit(
        maker,
        *(media, "photo", "pulse", "shop"),
        encoders={"image": "pca", "signal": "lda"},
        align={"photo": "stn"},
        tokens_per_stream=2,
    )
    inner = model.model.encoders[0].encoder
    assert isinstance(inner, Straightened)
    assert isinstance(inner.encoder, Projected)
    assert (inner.encoder.centre != 0).any()
    assert np.isfinite(model.predict_proba(media)).all()


def test_bundles_from_before_have_neither(plain_run):
    from plait.model.blueprint import Blueprint

    data = plain_run[0].blueprint.to_json()
    assert (data.pop("align"), data.pop("tokens_per_stream")) == ({}, None)
    assert Blueprint.from_json(data) == plain_run[0].blueprint


@pytest.mark.parametrize(
    ("align", "share", "message"),
    [
        ({"photos": "stn"}, (), "there is no column or modality 'photos'. Did you mean 'photo'?"),
        (
            {"text": "stn"},
            (),
            "text has no aligner; these have: image (stn).",
        ),
        (
            {"note": "stn"},
            (),
            "note is text, which has no aligner; these have: image (stn).",
        ),
        (
            {"shop": "stn"},
            (),
            "shop is categorical, which has no aligner; these have: image (stn).",
        ),
        (
            {"photo": "snt"},
            (),
            "unknown image aligner 'snt'. Did you mean 'stn'? Choose from: stn.",
        ),
        (
            {"photo": "stn"},
            ("image",),
            "photo shares its encoder with all image columns; write image instead.",
        ),
    ],
)
def test_aligners_that_do_not_fit(maker, media, align, share, message):
    with pytest.raises(ConfigError) as caught:
        fit(maker, media, "photo", "note", "shop", align=align, share=share)
    assert str(caught.value) == f"1 option is wrong:\n  - align: {message}"


@pytest.mark.parametrize("clock", [0, 5000, "often"])
def test_a_clock_has_bounds(clock):
    with pytest.raises(ConfigError) as caught:
        configure(tokens_per_stream=clock)
    assert f"tokens_per_stream={clock!r}: input should be" in str(caught.value)


def test_the_face_has_align():
    assert plait.model.align.__name__ == "plait.model.align"
    assert "align" in dir(plait)
    assert set(plait.model.align.__all__) <= set(dir(plait.model.align))
    for name in plait.model.align.__all__:
        assert getattr(plait.model.align, name).__module__.startswith("plait.model.align.")
    with pytest.raises(AttributeError) as caught:
        _ = plait.model.align.PCB
    assert str(caught.value) == "module 'plait.model.align' has no attribute 'PCB'"
