"""Pretrained encoders from the table to the loaded bundle: frozen, tuned, embedded, and when they go missing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints_image_text import save_image, save_text
from PIL import Image

import plait
from plait.display.progress import Silent
from plait.errors import CheckpointError, ConfigError, StoreError

ROWS = 72


class Notes(Silent):
    def __init__(self):
        self.notes, self.stages = [], []

    def note(self, text):
        self.notes.append(text)

    def stage(self, title, total, unit):
        self.stages.append(title)
        return super().stage(title, total, unit)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A table of pictures and words that tell a label, and two tiny checkpoints."""
    folder = tmp_path_factory.mktemp("pretrained-fit")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = []
    for row in range(ROWS):
        label = row % 2
        pixels = rng.integers(0, 60, (20, 24, 3)) + 180 * label
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / f"{row}.png")
        rows.append(
            {
                "photo": "" if row % 9 == 8 else f"photos/{row}.png",
                "note": "" if row % 7 == 6 else ("a red bird sings", "the blue fish swims")[label],
                "price": float(row % 5),
                "label": ("no", "yes")[label],
            }
        )
    lines = [",".join(rows[0])] + [",".join(str(v) for v in row.values()) for row in rows]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    save_image(folder / "vit", "vit")
    save_text(folder / "bert", "bert")
    return folder


COLUMNS = {"photo": "image", "note": "text", "price": "numeric"}


def fit(place: Path, *, progress=False, encoders=None, **options):
    torch.manual_seed(0)
    names = {"photo": str(place / "vit"), "note": str(place / "bert")}
    given = {"preset": "fast", "epochs": 2, "columns": COLUMNS, "golden_rows": 3, "device": "cpu"}
    return plait.fit(
        place / "train.csv",
        target="label",
        progress=progress,
        encoders=names if encoders is None else encoders,
        **(given | options),
    )


def names_of(model) -> dict[str, int]:
    return {name: value.numel() for name, value in model.model.state_dict().items()}


def same_answers(one, other, place, tolerance=1e-6):
    a, b = (model.predict_proba(place / "train.csv") for model in (one, other))
    np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.fixture(scope="module")
def frozen(place, tmp_path_factory):
    """A model over frozen encoders, its folder, and what was reported on the way. Only read them."""
    out, notes = tmp_path_factory.mktemp("frozen") / "run", Notes()
    return fit(place, progress=notes, epochs=6, out=out), out, notes


def test_frozen_from_table_to_loaded_bundle(place, frozen):
    model, out, notes = frozen
    assert notes.stages[:3] == ["prepare", "encode photo", "encode note"]
    told = next(note for note in notes.notes if note.startswith("encoders:"))
    assert f"photo → {place / 'vit'} (licence not stated, frozen)" in told
    assert not any(
        "backbone" in name for name in names_of(model)
    )  # training knew fusion and heads only
    assert (
        model.predict(place / "train.csv") == np.array(["no", "yes"] * (ROWS // 2))
    ).mean() > 0.9
    loaded = plait.load(out)
    assert loaded.verify() <= 1e-6
    same_answers(model, loaded, place)
    record = loaded.blueprint.records["photo"]
    assert record.how == "frozen" and record.hidden == 32 and len(record.digest) == 64


def test_the_same_seed_gives_the_same_model_and_the_tokens_are_read_again(place, frozen):
    other = fit(place, epochs=6)
    for name, value in frozen[0].model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


@pytest.mark.parametrize("how", ["full", "last-1", "lora"])
def test_tuned_from_table_to_loaded_bundle(place, tmp_path, how):
    model = fit(place, tune={"photo": how}, out=tmp_path / "run")
    loaded = plait.load(tmp_path / "run")
    same_answers(model, loaded, place)
    size = (tmp_path / "run" / "model.safetensors").stat().st_size
    whole = sum(4 * count for count in names_of(model).values())
    assert size < whole if how != "full" else size >= 0.9 * whole


def test_tuning_resumes_to_the_same_weights(place, tmp_path):
    options = {"tune": {"photo": "lora", "note": "last-1"}, "unfreeze": "gradual", "epochs": 3}
    whole = fit(place, **options)

    class Stop(Notes):
        def stage(self, title, total, unit):
            outer = super().stage(title, total, unit)
            return _Stopping(outer) if title == "train" else outer

    with pytest.raises(KeyboardInterrupt):
        fit(place, out=tmp_path / "run", progress=Stop(), checkpoint_seconds=0.0, **options)
    resumed = fit(place, out=tmp_path / "run", resume=True, checkpoint_seconds=0.0, **options)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


class _Stopping:
    """A stage that is interrupted at its third step."""

    def __init__(self, outer):
        self.outer, self.steps = outer, 0

    def __enter__(self):
        self.stage = self.outer.__enter__()
        return self

    def __exit__(self, *problem):
        return self.outer.__exit__(*problem)

    def advance(self, amount=1, **metrics):
        if metrics:
            self.steps += 1
            if self.steps == 3:
                raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["frozen", "lora"])
def test_an_embedded_bundle_needs_no_checkpoint(place, tmp_path, how):
    copy = tmp_path / "vit"
    shutil.copytree(place / "vit", copy)
    model = fit(
        place,
        encoders={"photo": str(copy)},
        tune={"photo": how},
        embed_weights=True,
        out=tmp_path / "run",
    )
    shutil.rmtree(copy)
    loaded = plait.load(tmp_path / "run")
    same_answers(model, loaded, place)
    loaded.save(tmp_path / "again")
    same_answers(model, plait.load(tmp_path / "again"), place)


def test_a_checkpoint_that_went_away_or_changed_is_said(place, tmp_path):
    copy = tmp_path / "vit"
    shutil.copytree(place / "vit", copy)
    fit(place, encoders={"photo": str(copy)}, out=tmp_path / "run")
    save_image(copy, "vit", do_normalize=False)  # the same weights: only the settings differ
    plait.load(tmp_path / "run")
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        plait.load(tmp_path / "run")
    assert f"{copy} is not the checkpoint that the model was made with" in str(caught.value)
    assert "--embed-weights makes a bundle that needs no checkpoint" in str(caught.value)
    shutil.rmtree(copy)
    with pytest.raises(CheckpointError) as caught:
        plait.load(tmp_path / "run")
    assert str(caught.value).startswith(
        f"this model reads image with {copy}, which is not at hand: "
    )
    assert str(caught.value).endswith(
        "Put it back where it was, or fit again with --embed-weights, which makes a model that needs no "
        "checkpoint."
    )


def test_two_columns_of_one_checkpoint_share_a_frozen_encoder(place, tmp_path):
    table = (place / "train.csv").read_text().splitlines()
    lines = [f"{table[0]},more"] + [f"{line},a fish in the river" for line in table[1:]]
    (place / "two.csv").write_text("\n".join(lines) + "\n")
    model = plait.fit(
        place / "two.csv",
        target="label",
        preset="fast",
        epochs=1,
        columns=COLUMNS | {"more": "text"},
        encoders={"text": str(place / "bert")},
    )
    frozen = model.frozen.encoders
    assert frozen["note"].backbone is frozen["more"].backbone
    model.save(tmp_path / "run")
    assert plait.load(tmp_path / "run").verify() <= 1e-6


def test_shared_encoders_are_tuned_as_one(place):
    table = (place / "train.csv").read_text().splitlines()
    lines = [f"{table[0]},more"] + [f"{line},{line.split(',')[1]}" for line in table[1:]]
    (place / "shared.csv").write_text("\n".join(lines) + "\n")
    model = plait.fit(
        place / "shared.csv",
        target="label",
        preset="fast",
        epochs=1,
        columns=COLUMNS | {"more": "text"},
        encoders={"text": str(place / "bert")},
        tune={"text": "lora"},
        share=("text",),
    )
    at = dict(zip(model.model.streams, model.model.encoders, strict=True))
    assert at["note"] is at["more"]


def test_views_are_stored_and_used(place):
    model = fit(place, views=2)
    assert model.blueprint.records["photo"].views == 2
    assert len(model.predict(place / "train.csv")) == ROWS


def test_masked_pretraining_and_rebuilding_go_with_frozen_encoders(place, tmp_path):
    model = fit(place, pretrain="masked", pretrain_epochs=1, epochs=1, out=tmp_path / "run")
    assert "reconstruction" in model.metrics
    filled = plait.load(tmp_path / "run").impute(place / "train.csv")
    assert len(filled) == ROWS and filled.filled["photo"].sum() == ROWS // 9


def test_unreadable_cells_are_listed_once_and_answered(place, frozen):
    model = frozen[0]
    (place / "photos" / "broken.png").write_bytes(b"no picture")
    rows = [
        {"photo": "photos/broken.png", "note": "a red bird sings", "price": 1.0},
        {"note": "fish"},
    ]
    answers = model.answer(rows, root=place)
    assert len(answers) == 2
    assert [(e.row, e.column) for e in answers.quarantine.entries] == [(0, "photo")]


def test_comparing_takes_frozen_encoders(place, tmp_path, inline):
    found = plait.compare(
        place / "train.csv",
        "label",
        fusion=["concat"],
        seeds=1,
        out=tmp_path,
        jobs=1,
        preset="fast",
        epochs=1,
        columns=COLUMNS,
        encoders={"photo": str(place / "vit")},
    )
    row = next(row for row in found.rows if row.method == "concat")
    assert np.isfinite(row.mean) and not row.problems and len(inline) == 1 + len(row.without)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"tune": {"photo": "loro"}},
            "tune: 'loro' is not a way to tune a pretrained encoder. Did you mean 'lora'?",
        ),
        ({"tune": {"price": "lora"}}, "tune: 'price' has no pretrained encoder to tune. Name one"),
        ({"tune": {"photo": "last-9"}}, "tune: last-9 asks for more blocks than the"),
        (
            {"align": {"photo": "stn"}},
            "align: photo has a pretrained encoder, which wants its cells as they are",
        ),
        (
            {"encoders": {"price": "hf:a/b"}},
            "encoders: price is numeric; tabular columns have one encoder only",
        ),
    ],
)
def test_options_that_do_not_fit(place, options, words):
    with pytest.raises(ConfigError) as caught:
        fit(place, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("encoders", "words"),
    [
        ({"photo": "bert"}, "is a 'bert' model, which takes text"),
        ({"note": "vit"}, "is a 'vit' model, which takes image"),
        ({"photo": "nowhere"}, "does not exist"),
        (
            {"note": "pip:efficientnet-lite0"},
            "pip:efficientnet-lite0 encodes image, and is asked to encode text",
        ),
        ({"photo": "pip:nothing"}, "unknown packaged model 'nothing'"),
    ],
)
def test_checkpoints_that_do_not_fit(place, encoders, words):
    named = {k: v if v.startswith("pip:") else str(place / v) for k, v in encoders.items()}
    with pytest.raises(CheckpointError) as caught:
        fit(place, encoders=named)
    assert words in str(caught.value)


def test_idle_options_are_noted(place):
    notes = Notes()
    fit(place, progress=notes, epochs=1, lora_rank=4, tune_lr=0.001)
    assert "lora_rank has no effect: no pretrained encoder is tuned" in notes.notes
    assert "tune_lr has no effect: no pretrained encoder is tuned" in notes.notes
    notes = Notes()
    fit(place, progress=notes, epochs=1, encoders={}, views=3)
    assert "views has no effect: no pretrained encoder is frozen" in notes.notes


def test_a_full_disk_while_encoding_is_said_and_resumed(place, tmp_path, monkeypatch):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    from plait.data import token_store as encoded

    note = encoded._note

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoded, "_note", full)
    with pytest.raises(StoreError, match="What was encoded is kept and taken up next time"):
        fit(place)
    monkeypatch.setattr(encoded, "_note", note)
    assert fit(place) is not None


def test_the_bundle_says_where_its_encoders_come_from(place, frozen):
    out = frozen[1]
    told = json.loads((out / "architecture.json").read_text())["pretrained"]["photo"]
    assert told["reference"] == str(place / "vit") and told["config"]["model_type"] == "vit"
    assert str(place / "vit") in (out / "README.md").read_text()


def test_answers_that_rest_on_frozen_encoders_are_explained(place, frozen):
    """Attribution goes over their tokens, and robustness drops them."""
    model = frozen[0]
    rows = place / "train.csv"
    shares = model.contributions(rows).targets["label"]
    np.testing.assert_allclose(shares.values.sum(axis=1), shares.fused - shares.empty, atol=1e-5)
    found = model.explain(rows, row=0)
    assert "\\u0000" not in json.dumps(found.to_json())
    pieces = found.words["note"][0]
    assert "".join(pieces).split() == ["a", "red", "bird", "sings"]  # without the marks around it
    assert len(pieces) == len(found.within["label"].maps["note"][0])
    assert len(model.predict_set(rows, coverage=0.8).targets["label"].sets) == ROWS
    from plait.insight.explain.robustness import robustness

    found = robustness(model, rows, levels=(0.0, 1.0))
    assert "photo" in json.dumps(found.to_json())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("label", "encoders: 'label' is not an input, it is target: the column to predict"),
        ("empty", "encoders: 'empty' is not an input, it is ignored: "),
        ("empty", "to read it: --column empty=text (or another modality)"),
    ],
)
def test_an_encoder_for_a_column_that_is_no_input(place, name, words):
    lines = (place / "train.csv").read_text().splitlines()
    table = [f"{lines[0]},empty"] + [f"{line}," for line in lines[1:]]
    (place / "empty.csv").write_text("\n".join(table) + "\n")
    with pytest.raises(ConfigError) as caught:
        plait.fit(
            place / "empty.csv",
            "label",
            columns=COLUMNS,
            encoders={name: str(place / "bert")},
        )
    assert words in str(caught.value)
