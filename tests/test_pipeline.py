"""From a table to a fitted, saved model: every kind of input, target, encoder and fusion."""

import io
import json
import warnings

import datasets
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import plait
from plait.config import configure
from plait.errors import ConfigError, PlaitWarning, SchemaError
from plait.model.encoders.registry import ENCODERS
from plait.model.fusion.registry import FUSIONS
from plait.training.fit import length

pytestmark = pytest.mark.usefixtures("few_resamples")

MODALITIES = {
    "photo": "image",
    "note": "text",
    "voice": "audio",
    "price": "numeric",
    "shop": "categorical",
    "day": "datetime",
    "pulse": "signal",
}


class Notes:
    """A reporter that remembers what it was told."""

    def __init__(self):
        from plait.display.progress import Silent

        self.told = []
        self.silent = Silent()

    def stage(self, title, total, unit):
        self.told.append(f"{title} {total} {unit}")
        return self.silent.stage(title, total, unit)

    def note(self, text):
        self.told.append(text)


def test_a_table_of_every_modality_becomes_a_model_that_is_saved_and_loaded(fitted, braid):
    model, out = fitted
    assert model.schema.inputs == MODALITIES
    assert model.blueprint.streams == {
        "photo": ["photo"],
        "note": ["note"],
        "voice": ["voice"],
        "pulse": ["pulse"],
        "tabular": ["price", "shop", "day"],
    }
    roles = {column.name: (column.role, column.reason) for column in model.schema.columns}
    assert roles["score"] == ("ignored", "as requested")
    assert roles["label"] == ("target", "the column to predict")
    assert model.classes_ == ["a", "b", "c"]
    assert [line["epoch"] for line in model.history] == [1, 2, 3, 4]
    assert model.history[-1]["train_loss"] < model.history[0]["train_loss"]
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "architecture.json",
        "bundle.json",
        "config.json",
        "golden.json",
        "held_out.json",
        "held_out.safetensors",
        "history.json",
        "metrics.json",
        "model.safetensors",
        "preprocessing.json",
        "quarantine.json",
        "record.json",
        "schema.json",
        "targets.json",
        "training",
    ]
    again = plait.load(out)
    assert again.verify() == 0.0
    before, after = model.answer(braid / "test.csv"), again.answer(braid / "test.csv")
    np.testing.assert_array_equal(before.scores["label"], after.scores["label"])
    assert before.values["label"].tolist() == after.values["label"].tolist()
    assert again.classes_ == model.classes_
    assert again.schema == model.schema
    assert again.config == model.config
    assert again.metrics == model.metrics
    np.testing.assert_array_equal(model.embed(braid / "test.csv"), again.embed(braid / "test.csv"))


def test_it_learns_and_the_evaluation_tells_each_stream_apart(fitted, braid):
    evaluation = fitted[0].evaluate(braid / "test.csv", resamples=3)
    result = evaluation.targets["label"]
    assert evaluation["accuracy"] > 0.6
    assert (
        set(result.alone) == set(result.without) == {"photo", "note", "voice", "pulse", "tabular"}
    )
    assert result.rows == 24
    low, high = result.intervals["accuracy"]
    assert 0 <= low <= high <= 1
    assert evaluation.source == "test.csv"
    json.dumps(evaluation.to_json(), allow_nan=False)


def test_every_decision_is_noted_with_its_reason(maker, tmp_path):
    notes = Notes()
    maker.fit(maker.csv(tmp_path, "t.csv", maker.plain(40)), "label", progress=notes, fusion="late")
    told = "\n".join(notes.told)
    assert "price: numeric (" in told
    assert "all 40 sampled cells are numbers" in told
    assert "target label: binary; 2 distinct values: 'no', 'yes'" in told
    assert (
        "encoders: note → transformer, tabular → tokens; fusion: late, width 64 (preset fast)"
        in told
    )
    assert "34 rows to train on, 6 to validate on: seeded, balanced by target (seed 0)" in told
    assert "optimizer adamw, peak lr 0.002, class weights auto, 1 thread" in told
    assert "device cpu: no GPU was found" in told or "device cuda" in told
    assert "prepare 120 cells" in notes.told


def test_the_same_seed_gives_the_same_model(maker, tmp_path):
    rows = maker.rows(tmp_path, 24)
    table = maker.csv(tmp_path, "t.csv", rows)
    options = {"ignore": ("score", "tags"), "epochs": 2}
    one, two, other = (maker.fit(table, "label", seed=seed, **options) for seed in (3, 3, 4))
    weights, same, different = (model.model.state_dict() for model in (one, two, other))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not all(torch.equal(weights[name], different[name]) for name in weights)
    assert one.metrics == two.metrics
    np.testing.assert_array_equal(one.predict_proba(table), two.predict_proba(table))


@pytest.fixture(scope="module")
def three(maker, braid):
    """A model of classes, numbers and labels at once."""
    return maker.fit(braid / "train.csv", ["label", "score", "tags"], ignore=("photo", "voice"))


def test_several_targets_train_several_heads(three, braid, tmp_path):
    assert {target.name: target.kind for target in three.targets} == {
        "label": "multiclass",
        "score": "regression",
        "tags": "multilabel",
    }
    answers = three.predict(braid / "test.csv")
    assert set(answers) == {"label", "score", "tags"}
    assert {len(values) for values in answers.values()} == {24}
    assert answers["score"].dtype == np.float64
    assert set(answers["label"]) <= {"a", "b", "c"}
    assert all(set(labels) <= {"red", "green", "blue"} for labels in answers["tags"])
    chances = three.predict_proba(braid / "test.csv")
    assert {name: values.shape for name, values in chances.items()} == {
        "label": (24, 3),
        "tags": (24, 3),
    }
    evaluation = three.evaluate(braid / "test.csv", resamples=0)
    assert list(evaluation.targets) == ["label", "score", "tags"]
    assert set(evaluation.targets["score"].metrics) == {"r2", "mae", "rmse"}
    assert "map" in evaluation.targets["tags"].metrics
    with pytest.raises(KeyError, match=r"several targets \(label, score, tags\)"):
        evaluation["accuracy"]
    again = plait.load(three.save(tmp_path / "run"))
    assert again.verify() == 0.0
    columns = again.answer(braid / "test.csv").to_columns()
    assert list(columns) == [
        "label",
        "label_confidence",
        "label_p_a",
        "label_p_b",
        "label_p_c",
        "score",
        "tags",
        "tags_p_blue",
        "tags_p_green",
        "tags_p_red",
    ]
    assert isinstance(columns["tags"][0], str)


def test_several_targets_have_no_single_order_of_classes(three):
    with pytest.raises(
        plait.predictor.predictor.TableError, match=r"several targets \(label, score, tags\)"
    ):
        three.classes_  # noqa: B018


def test_rows_that_lack_one_of_several_targets_teach_the_others(maker):
    rows = maker.plain(40)
    for number, row in enumerate(rows):
        row["size"] = None if number % 4 == 0 else row["price"] * 2 + number % 3
        if number % 5 == 0:
            row["label"] = None
    notes = Notes()
    model = maker.fit(rows, ["label", "size"], progress=notes)
    assert "2 rows have no target and were left out" in notes.told
    assert len(model.predict(rows)["size"]) == 40
    assert np.isfinite(model.predict(rows)["size"]).all()


@pytest.mark.parametrize(
    ("cells", "options", "kind"),
    [
        (lambda n: n % 2 == 0, {}, "binary"),
        (lambda n: n % 4, {}, "multiclass"),
        (lambda n: n * 1.5, {}, "regression"),
        (lambda n: n % 4, {"target_kinds": {"y": "regression"}}, "regression"),
        (lambda n: ["x", "y"] if n % 2 else ["x"], {}, "multilabel"),
        (lambda n: ["x"] if n % 2 else ["y"], {}, "multilabel"),
        (lambda n: "x / y" if n % 2 else "x", {"separator": " / "}, "multilabel"),
    ],
)
def test_each_kind_of_target_alone(maker, cells, options, kind):
    rows = [{**row, "y": cells(n)} for n, row in enumerate(maker.plain(24))]
    model = maker.fit(rows, "y", ignore=("label",), **options)
    assert model.targets[0].kind == kind
    answers = model.predict(rows[:5])
    assert len(answers) == 5
    if kind == "regression":
        assert answers.dtype == np.float64
    elif kind == "multilabel":
        assert all(isinstance(labels, list) for labels in answers)
        assert model.predict_proba(rows[:5]).shape == (5, 2)
    else:
        assert set(answers) <= set(model.classes_)
        assert model.predict_proba(rows[:5]).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert np.isfinite(
        model.evaluate(rows, resamples=0)
        .targets["y"]
        .metrics["rmse" if kind == "regression" else "log_loss"]
    )


def test_labels_of_one_length_are_answers_too(maker):
    """numpy would take lists of one length for a second axis."""
    rows = [{**row, "y": ["yes", "big"] if n % 2 else []} for n, row in enumerate(maker.plain(40))]
    model = maker.fit(rows, "y", ignore=("label",), epochs=3)
    for some in (rows[:1], rows[1:2], rows[:2], rows[1::2]):
        answers = model.predict(some)
        assert answers.shape == (len(some),)
        assert all(set(labels) <= {"yes", "big"} for labels in answers)


def test_a_group_stays_on_one_side(maker):
    rows = [{**row, "owner": f"owner {n // 5}"} for n, row in enumerate(maker.plain(60))]
    notes = Notes()
    model = maker.fit(rows, "label", group="owner", progress=notes)
    assert "owner" not in model.schema.inputs
    assert model.schema.group == "owner"
    from plait.config import configure
    from plait.training.dataset import read_dataset

    data = read_dataset(plait.open_table(rows), ["label"], configure(group="owner"))
    sides = [{rows[row]["owner"] for row in side} for side in (data.train, data.validation)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]
    assert any("whole groups of 'owner' (seed 0)" in note for note in notes.told)


def test_columns_may_share_an_encoder(maker):
    rows = [{**row, "title": row["note"][::-1]} for row in maker.plain(24)]
    alone = maker.fit(rows, "label", columns={"title": "text"})
    shared = maker.fit(rows, "label", columns={"title": "text"}, share=("text",))
    assert shared.blueprint.shared == {"note": "note", "title": "note", "tabular": "tabular"}
    streams = list(shared.model.streams)
    note, title = streams.index("note"), streams.index("title")
    assert shared.model.encoders[note] is shared.model.encoders[title]
    assert alone.model.encoders[note] is not alone.model.encoders[title]
    assert shared.features.states["note"] == shared.features.states["title"]
    assert len(shared.predict(rows)) == 24


@pytest.fixture(scope="module")
def media(maker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return maker.csv(folder, "t.csv", maker.rows(folder, 18))


# Clips have a table of their own, in test_video_rows.py.
CHOICES = [
    (modality, name)
    for modality, names in ENCODERS.items()
    for name in names
    if modality in MODALITIES.values()
]


@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_every_encoder_trains_saves_and_answers(maker, media, tmp_path, modality, name):
    column = next(key for key, kind in MODALITIES.items() if kind == modality)
    others = tuple(key for key in [*MODALITIES, "score", "tags"] if key not in (column, "shop"))
    model = maker.fit(media, "label", encoders={modality: name}, ignore=others, golden_rows=1)
    assert model.blueprint.encoders == {column: name, "tabular": "tokens"}
    again = plait.load(model.save(tmp_path / "run"))
    assert again.verify() <= 1e-4
    assert np.isfinite(again.predict_proba(media)).all()


def test_an_encoder_is_chosen_by_column_too(maker, media):
    ignore = ("photo", "voice", "day", "price", "shop", "score", "tags")
    model = maker.fit(media, "label", encoders={"pulse": "patch", "signal": "gru"}, ignore=ignore)
    assert model.blueprint.encoders == {"note": "transformer", "pulse": "patch"}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_trains_and_answers_with_any_stream_missing(maker, media, tmp_path, fusion):
    ignore = ("voice", "pulse", "day", "score", "tags")
    model = maker.fit(media, "label", fusion=fusion, ignore=ignore, golden_rows=1)
    assert model.blueprint.fusion == fusion
    assert plait.load(model.save(tmp_path / "run")).verify() <= 1e-4
    nothing = {"photo": None, "note": None, "price": None, "shop": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chances = model.predict_proba(
            [nothing, {**nothing, "note": "apple"}, {**nothing, "price": 1.0}]
        )
    assert chances.shape == (3, 3)
    assert np.isfinite(chances).all()


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "gd", "lr": 0.05},
        {"optimizer": "sgd", "schedule": "onecycle"},
        {"optimizer": "rmsprop", "schedule": "linear", "class_weights": "balanced"},
        {"optimizer": "adam", "schedule": "constant", "ema": None, "clip": None},
        {"class_weights": "sqrt", "regression_loss": "mse", "augment": False, "accumulate": 2},
        {
            "width": 32,
            "dropout": 0.0,
            "modality_dropout": 0.0,
            "unimodal_loss": 0.0,
            "max_minutes": 5.0,
        },
        {"precision": "bf16", "device": "cpu"},
    ],
)
def test_training_options_reach_the_training(maker, options):
    rows = maker.plain(24)
    model = maker.fit(rows, "label", **options)
    assert np.isfinite(model.predict_proba(rows)).all()
    for name, value in options.items():
        assert getattr(model.config, name) == value
    if "width" in options:
        assert model.embed(rows).shape == (24, 32)


def test_regression_and_labels_take_class_weights_too(maker, braid):
    model = maker.fit(
        braid / "train.csv",
        ["score", "tags"],
        class_weights="balanced",
        regression_loss="mse",
        ignore=("photo", "voice", "pulse", "label"),
    )
    assert [target.kind for target in model.targets] == ["regression", "multilabel"]


# Kinds of input


def _frames(rows):
    return {
        "pandas": pandas.DataFrame(rows),
        "polars": polars.DataFrame(rows),
        "pyarrow": pa.Table.from_pylist(rows),
        "list of dicts": rows,
        "dict of lists": {name: [row[name] for row in rows] for name in rows[0]},
        "datasets": datasets.Dataset.from_list(rows),
        "opened": plait.open_table(rows),
    }


@pytest.mark.parametrize("kind", list(_frames([{"a": 1}])))
def test_every_kind_of_table_in_memory_gives_the_same_model_and_answers(maker, plain_run, kind):
    model, _ = plain_run
    rows = maker.plain(40)
    np.testing.assert_allclose(
        model.predict_proba(_frames(rows)[kind]), model.predict_proba(rows), atol=1e-6
    )
    if kind in ("pandas", "polars", "datasets"):
        fitted = maker.fit(_frames(rows)[kind], "label", golden_rows=2)
        weights, expected = fitted.model.state_dict(), model.model.state_dict()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("struct", [False, True])
def test_bytes_in_parquet(maker, tmp_path, struct):
    rows = maker.rows(tmp_path, 18)
    cells = [
        {
            "photo": (tmp_path / row["photo"]).read_bytes(),
            "voice": (tmp_path / row["voice"]).read_bytes(),
            "pulse": np.load(tmp_path / row["pulse"]).tolist(),
            "label": row["label"],
        }
        for row in rows
    ]
    if struct:
        for row in cells:
            row["photo"] = {"bytes": row["photo"], "path": "x.png"}
    path = tmp_path / "inline.parquet"
    pq.write_table(pa.Table.from_pylist(cells), path)
    model = maker.fit(path, "label", out=tmp_path / "run", golden_rows=2)
    assert model.schema.inputs == {"photo": "image", "voice": "audio", "pulse": "signal"}
    by_path = [{key: tmp_path / row[key] for key in ("photo", "voice", "pulse")} for row in rows]
    np.testing.assert_allclose(model.predict_proba(path), model.predict_proba(by_path), atol=1e-6)
    assert len(model.golden) == 2
    assert plait.load(tmp_path / "run").verify() == 0.0


def test_signals_as_text_in_cells_are_golden_too(maker, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"beat": " ".join(f"{x:.3f}" for x in rng.normal(n % 2, 1, 40)), "label": "ab"[n % 2]}
        for n in range(24)
    ]
    path = maker.csv(tmp_path, "t.csv", rows)
    model = maker.fit(path, "label", golden_rows=2)
    assert model.schema.inputs == {"beat": "signal"}
    assert len(model.golden) == 2
    assert model.verify() == 0.0


def test_a_folder_of_folders(maker, tmp_path, rng):
    for number in range(16):
        maker.image(tmp_path / "set" / "xy"[number % 2] / f"{number}.png", 100 * (number % 2), rng)
    model = maker.fit(tmp_path / "set", "label")
    assert model.classes_ == ["x", "y"]
    assert len(model.predict(tmp_path / "set")) == 16


def test_a_root_elsewhere(maker, tmp_path):
    maker.csv(tmp_path / "tables", "t.csv", maker.rows(tmp_path / "files", 18))
    table = tmp_path / "tables" / "t.csv"
    ignore = ("voice", "pulse", "note", "score", "tags")
    model = maker.fit(table, "label", root=tmp_path / "files", ignore=ignore)
    assert len(model.quarantine) == 0
    with pytest.warns(plait.errors.UnreadableCellsWarning, match=r"photo: 18 unreadable cells"):
        lost = model.predict_proba(table)
    assert not np.allclose(lost, model.predict_proba(table, root=tmp_path / "files"))


# Folders and options of a run


def test_a_finished_model_is_not_replaced_unasked(maker, plain_run, tmp_path):
    rows = maker.plain(24)
    out = tmp_path / "run"
    maker.fit(rows, "label", out=out)
    with pytest.raises(
        ConfigError, match=r"already holds a model; name another folder, or pass overwrite=True"
    ):
        maker.fit(rows, "label", out=out)
    model = maker.fit(rows, "label", out=out, overwrite=True, seed=5)
    assert plait.load(out).config.seed == 5
    np.testing.assert_array_equal(plait.load(out).predict_proba(rows), model.predict_proba(rows))


def test_out_must_be_a_folder(maker, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        maker.fit(maker.plain(24), "label", out=tmp_path / "file")
    with pytest.raises(
        ConfigError, match="cannot be written: '.*file' is not a folder that can be written to"
    ):
        maker.fit(maker.plain(24), "label", out=tmp_path / "file" / "below")


def test_resume_needs_a_folder_and_the_same_run(maker, tmp_path):
    rows = maker.plain(24)
    with pytest.raises(ConfigError, match="resume: name the folder to continue in with out="):
        maker.fit(rows, "label", resume=True)
    whole = maker.fit(rows, "label", out=tmp_path / "whole", epochs=3)
    model = maker.fit(
        rows, "label", out=tmp_path / "run", epochs=3, resume=True
    )  # nothing to resume
    weights, expected = model.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    with pytest.raises(
        ConfigError, match="was made with other values of seed, the columns, the rows"
    ):
        maker.fit(
            rows, "label", out=tmp_path / "run", epochs=3, seed=9, resume=True, overwrite=True
        )


class _Stop(Exception):
    pass


class _Killer(Notes):
    """Stops the training after some rows."""

    def __init__(self, rows):
        super().__init__()
        self.left = rows

    def stage(self, title, total, unit):
        if title != "train":
            return super().stage(title, total, unit)
        killer = self

        class Stage:
            def __enter__(self):
                return self

            def __exit__(self, *args):
                return None

            def advance(self, amount=1, **metrics):
                killer.left -= amount
                if killer.left < 0:
                    raise _Stop

        return Stage()


def test_a_run_that_was_stopped_continues_to_the_same_weights(maker, tmp_path):
    rows = maker.plain(40)
    options = {"epochs": 4, "checkpoint_seconds": 0, "augment": True}
    whole = maker.fit(rows, "label", **options)
    with pytest.raises(_Stop):
        maker.fit(rows, "label", out=tmp_path / "run", progress=_Killer(60), **options)
    with pytest.raises(
        plait.errors.BundleError, match="has not finished; continue it with --resume"
    ):
        plait.load(tmp_path / "run")
    notes = Notes()
    model = maker.fit(rows, "label", out=tmp_path / "run", resume=True, progress=notes, **options)
    assert any(note.startswith("resumed at epoch ") for note in notes.told)
    weights, expected = model.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [line["train_loss"] for line in model.history] == [
        line["train_loss"] for line in whole.history
    ]


def test_golden_rows_may_be_none(maker):
    model = maker.fit(maker.plain(24), "label", golden_rows=0)
    assert model.golden == []
    assert model.verify() == 0.0


def test_a_target_is_needed(maker):
    with pytest.raises(ConfigError, match="target: name at least one column to predict"):
        maker.fit(maker.plain(24), [])


def test_kinds_are_of_targets_only(maker):
    with pytest.raises(
        ConfigError, match=r"target_kinds: 'lable' is not a target. Did you mean 'label'\?"
    ):
        maker.fit(maker.plain(24), "label", target_kinds={"lable": "binary"})


def test_the_face_of_the_package():
    assert set(plait.__all__) <= set(dir(plait))
    assert plait.fit.__module__ == "plait.pipeline"
    with pytest.raises(AttributeError, match="module 'plait' has no attribute 'fiit'"):
        plait.fiit  # noqa: B018


def test_progress_may_be_a_bar(maker, capsys):
    maker.fit(maker.plain(24), "label", progress=True)
    told = capsys.readouterr()
    assert told.out == ""
    assert "target label: binary" in told.err
    assert io.StringIO(told.err).readline().startswith("price: numeric")


def test_warnings_are_plaits_own():
    assert issubclass(plait.errors.UnreadableCellsWarning, PlaitWarning)
    assert issubclass(SchemaError, plait.errors.PlaitError)


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({}, 54, (15, 8)),
        ({}, 36, (23, 12)),
        ({}, 1, (45, 24)),
        ({"preset": "fast"}, 100, (8, 5)),
        ({"epochs": 3}, 54, (3, 8)),
        ({"epochs": 3, "patience": 2}, 1, (3, 2)),
    ],
)
def test_small_tables_train_for_more_epochs(options, steps, expected):
    assert length(configure(**options), steps) == expected
