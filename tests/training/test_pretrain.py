"""Pretraining: learns to rebuild without reading a target, resumes to the bit, and serves the fit."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from rich.console import Console

import plait
from plait.cli.tables import show_evaluation
from plait.data.features import settings_for
from plait.errors import ConfigError
from plait.model.blueprint import Blueprint
from plait.model.loader import collate
from plait.model.model import AUXILIARY, FOLLOW
from plait.predictor.rebuild import measure_rebuilt
from plait.training.pretrain import Autoencoder, held_out_loss, rows_to_rebuild

pytestmark = pytest.mark.usefixtures("few_resamples")


class Recorder:
    """A reporter that keeps what it is told, and may stop the run at a step of a stage."""

    def __init__(self, stop=None):
        self.notes, self.steps, self.stop, self.now = [], [], stop, ""

    @contextmanager
    def stage(self, title, total, unit):
        self.now = title
        yield self

    def advance(self, amount=1, **metrics):
        if metrics:
            self.steps.append(self.now)
            if (self.now, self.steps.count(self.now)) == self.stop:
                raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def rows(maker):
    made = maker.plain(48)
    for row in made[::5]:
        row["price"] = None
    return made


@pytest.fixture(scope="module")
def pretrained(maker, rows, tmp_path_factory):
    """A model pretrained and fitted, its folder, and what was told on the way."""
    out, told = tmp_path_factory.mktemp("pretrained") / "run", Recorder()
    model = maker.fit(
        rows, "label", out=out, pretrain="reconstruct", pretrain_epochs=2, progress=told
    )
    return model, out, told


def prepared_columns(model, rows):
    table = plait.open_table(rows)
    return model.features.prepare(table, settings_for(table, model.config)).columns


# The model's own part.


def losses_of(predictor, rows):
    batch = collate(prepared_columns(predictor, rows), np.arange(16))
    return predictor.model.row_losses(batch, {"label": torch.zeros(16, dtype=torch.int64)})


def gradients(model):
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def test_decoders_follow_without_changing_what_the_others_learn(pretrained, rows):
    model = pretrained[0].model.eval()
    model.zero_grad()
    losses = losses_of(pretrained[0], rows)
    assert list(losses) == [
        "label",
        *(f"{AUXILIARY}rebuild {name}" for name in ("price", "shop", "note")),
    ]
    losses["label"].sum().backward(retain_graph=True)
    alone = gradients(model)
    sum(loss.sum() for name, loss in losses.items() if name != "label").backward()
    both = gradients(model)
    assert all(name.startswith("decoders.") for name in set(both) - set(alone))
    assert len([name for name in both if name.startswith("decoders.")]) > 10
    for name, gradient in alone.items():
        assert torch.equal(gradient, both[name]), name


def test_with_a_weight_rebuilding_teaches_encoders_too(pretrained, rows):
    model = pretrained[0].model.eval()
    model.zero_grad()
    plain = losses_of(pretrained[0], rows)
    model.reconstruct = 0.5
    try:
        losses = losses_of(pretrained[0], rows)
    finally:
        model.reconstruct = 0.0
    name = f"{AUXILIARY}rebuild shop"
    torch.testing.assert_close(losses[name] / 0.5, plain[name] / FOLLOW)
    losses[name].sum().backward()
    assert any(part.startswith("encoders.") for part in gradients(model))


# The autoencoder.


@pytest.mark.parametrize("masked", [False, True])
def test_rebuilding_reads_no_target_and_leaves_heads_alone(pretrained, rows, masked):
    model = pretrained[0].model
    model.zero_grad()
    autoencoder = Autoencoder(model, pretrained[0].features.modalities, masked=masked).train()
    batch = collate(prepared_columns(pretrained[0], rows), np.arange(16))
    losses = autoencoder.row_losses(batch, {})
    assert list(losses) == [f"{AUXILIARY}rebuild {name}" for name in ("price", "shop", "note")]
    missing = ~batch["price"].present
    assert missing.any() and (losses[f"{AUXILIARY}rebuild price"][missing] == 0).all()
    sum(loss.sum() for loss in losses.values()).backward()
    reached = gradients(model)
    assert not any(name.startswith(("heads.", "voices.")) for name in reached)
    assert any(name.startswith("encoders.") for name in reached)
    model.eval()


def test_what_a_fusion_wants_besides_is_learnt_as_well(pretrained, rows, monkeypatch):
    model = pretrained[0].model
    whole = model.fusion.forward
    monkeypatch.setattr(
        model.fusion,
        "forward",
        lambda tokens: whole(tokens)._replace(losses={"kl": torch.ones(16)}),
    )
    autoencoder = Autoencoder(model, pretrained[0].features.modalities, masked=False)
    batch = collate(prepared_columns(pretrained[0], rows), np.arange(16))
    assert autoencoder.row_losses(batch, {})[f"{AUXILIARY}kl"].tolist() == [1.0] * 16


def test_masked_hides_what_plain_shows(pretrained, rows):
    """And the same each time it measures held-out rows."""
    model, columns = pretrained[0], prepared_columns(pretrained[0], rows)
    told = {}
    for masked in (False, True):
        autoencoder = Autoencoder(model.model, model.features.modalities, masked=masked)
        told[masked] = [
            held_out_loss(autoencoder, columns, np.arange(48), seed=seed) for seed in (0, 0, 1)
        ]
    assert told[True][0] == told[True][1] != told[True][2]
    assert len(set(told[False])) == 1 and told[False][0] != told[True][0]


@pytest.mark.parametrize(
    ("groups", "want"),
    [(None, [0, 1, 4, 5, 6]), (["a", "a", "b", "b", "b", "c", None], [0, 1, 5, 6])],
)
def test_rows_without_a_target_are_rebuilt_too_unless_a_held_out_row_shares_their_group(
    groups, want
):
    train, validation = np.array([0, 1]), np.array([2, 3])
    assert rows_to_rebuild(7, train, validation, groups).tolist() == want


# The fit.


def test_a_fit_pretrains_first_and_says_so(pretrained):
    model, _, told = pretrained
    assert (
        "pretraining (reconstruct): reconstructs every cell of 41 rows, targets unused"
        in told.notes
    )
    assert told.steps == ["pretrain"] * 6 + ["train"] * 3
    assert [entry["epoch"] for entry in model.history] == [1]


def test_rows_without_a_target_are_told(maker, rows):
    told = Recorder()
    table = [
        row | {"label": None if number < 5 else row["label"]} for number, row in enumerate(rows)
    ]
    maker.fit(table, "label", pretrain="masked", pretrain_epochs=1, progress=told)
    assert any(
        note.startswith("pretraining (masked): reconstructs every cell of")
        and note.endswith("targets unused; 5 of them have no target")
        for note in told.notes
    )


def test_groups_stay_apart(maker, rows):
    table = [
        row | {"label": None if number % 4 == 0 else row["label"], "who": f"p{number % 5}"}
        for number, row in enumerate(rows)
    ]
    told = Recorder()
    maker.fit(table, "label", group="who", pretrain="reconstruct", pretrain_epochs=1, progress=told)
    (note,) = [note for note in told.notes if note.startswith("pretraining")]
    assert int(note.split("; ")[1].split()[0]) < 12


def test_pretraining_changes_the_start_and_the_seed_decides_the_rest(maker, rows):
    first, second = (
        maker.fit(rows, "label", pretrain="masked", pretrain_epochs=1).model.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_time_is_halved_between_the_two(maker, rows):
    told = Recorder()
    model = maker.fit(
        rows, "label", epochs=9, pretrain="reconstruct", max_minutes=1e-9, progress=told
    )
    assert told.steps.count("pretrain") == told.steps.count("train") == 3
    assert model.config.max_minutes == 1e-9


def test_figures_of_rebuilt_cells_are_among_the_metrics(pretrained):
    model = pretrained[0]
    found = model.metrics["reconstruction"]
    assert list(found) == ["price", "shop", "note"]
    assert found["price"]["modality"] == "numeric" and 0 < found["price"]["rows"] <= 7
    for name, figures in (
        ("price", {"mae"}),
        ("shop", {"accuracy"}),
        ("note", {"accuracy", "nats"}),
    ):
        assert set(found[name]["seen"]) == set(found[name]["hidden"]) == figures
    assert found["note"]["usual"] == {} and set(found["shop"]["usual"]) == {"accuracy"}
    assert json.loads(json.dumps(model.metrics)) == model.metrics
    console = Console(record=True, width=160)
    show_evaluation(console, model.metrics)
    shown = console.export_text()
    assert "reconstruction of this list of 48 rows, held out for validation with seed 0" in shown
    assert "cell seen  cell hidden  baseline" in shown
    assert "nats per subword" in shown


def test_the_usual_figure_is_that_of_the_commonest_category(pretrained, rows):
    model, columns = pretrained[0], prepared_columns(pretrained[0], rows)
    found = measure_rebuilt(model.model, columns, np.arange(48), model.features.modalities)
    share = np.mean([row["shop"] == model.features.states["shop"]["values"][0] for row in rows])
    assert found["shop"]["usual"]["accuracy"] == pytest.approx(share)
    assert found["price"]["rows"] == sum(row["price"] is not None for row in rows)
    nothing = measure_rebuilt(model.model, columns, np.arange(0), model.features.modalities)
    assert nothing == {}


def test_a_model_without_decoders_measures_none(plain_run):
    assert "reconstruction" not in plain_run[0].metrics
    assert plain_run[0].model.rebuilt == []


def test_decoders_are_in_the_bundle(pretrained, rows):
    model, out, _ = pretrained
    again = plait.load(out)
    assert again.model.rebuilt == model.model.rebuilt == ["price", "shop", "note"]
    want = model.model.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in again.model.state_dict().items())
    assert again.metrics["reconstruction"] == model.metrics["reconstruction"]
    drawn = json.loads((out / "architecture.json").read_text())
    assert drawn["decoders"] == {"price": {}, "shop": {}, "note": {}} and drawn["reconstruct"] == 0


def test_a_bundle_from_before_there_were_decoders_is_read(plain_run):
    told = plain_run[0].blueprint.to_json()
    assert told.pop("decoders") == {} and told.pop("reconstruct") == 0
    assert Blueprint.from_json(told) == plain_run[0].blueprint


def test_an_auxiliary_loss_needs_no_pretraining(maker, rows):
    told = Recorder()
    model = maker.fit(rows, "label", reconstruct=0.2, progress=told)
    assert set(told.steps) == {"train"}
    assert model.model.reconstruct == 0.2 and "reconstruction" in model.metrics


def test_an_unknown_way_of_pretraining_is_explained(maker, rows):
    with pytest.raises(ConfigError) as caught:
        maker.fit(rows, "label", pretrain="mask")
    assert "pretrain='mask': input should be 'none', 'reconstruct' or 'masked'." in str(
        caught.value
    )
    assert "Did you mean 'masked'?" in str(caught.value)


# Resuming.


RESUMED = {"epochs": 2, "pretrain": "masked", "pretrain_epochs": 2, "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def whole(maker, rows):
    """The weights of a run that nothing stopped."""
    return maker.fit(rows, "label", **RESUMED).model.state_dict()


@pytest.mark.parametrize("stop", [("pretrain", 4), ("pretrain", 6), ("train", 1), ("train", 4)])
def test_a_killed_run_resumes_to_the_same_weights(maker, rows, tmp_path, whole, stop):
    options = RESUMED
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        maker.fit(rows, "label", out=out, progress=Recorder(stop), **options)
    told = Recorder()
    resumed = maker.fit(rows, "label", out=out, resume=True, progress=told, **options)
    assert any(note.startswith("pretraining resumed at epoch") for note in told.notes)
    # The step at which it stopped is either saved or done again.
    left = 6 - stop[1] if stop[0] == "pretrain" else 0
    assert told.steps.count("pretrain") in (left, left + 1)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_a_fit_started_anew_takes_up_no_old_pretraining(maker, rows, tmp_path):
    out, options = tmp_path / "run", {"pretrain": "masked", "pretrain_epochs": 1}
    with pytest.raises(KeyboardInterrupt):
        maker.fit(rows, "label", out=out, progress=Recorder(("train", 1)), **options)
    assert (out / "training" / "pretrain" / "checkpoint" / "state.json").is_file()
    told = Recorder()
    maker.fit(rows, "label", out=out, progress=told, **options)
    assert told.steps.count("pretrain") == 3
    assert not any("resumed" in note for note in told.notes)
    shutil.rmtree(out)


def test_pretraining_otherwise_is_another_run(maker, rows, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        maker.fit(rows, "label", out=out, pretrain="masked", progress=Recorder(("pretrain", 1)))
    with pytest.raises(ConfigError) as caught:
        maker.fit(rows, "label", out=out, resume=True, pretrain="reconstruct")
    assert "with other values of pretrain." in str(caught.value)


# What it is for.


@pytest.mark.slow
def test_masked_pretraining_tells_a_category_from_a_text(maker):
    """Two words decide the category, whose commonest value is half of all."""
    rng = np.random.default_rng(0)
    words = {"crow": "dark wings", "swan": "white neck", "wren": "tiny brown"}
    table = []
    for number in range(120):
        bird = str(rng.choice(list(words), p=[0.5, 0.25, 0.25]))
        table.append(
            {
                "note": f"{words[bird]} by the {rng.choice(['lake', 'tree', 'road'])}",
                "bird": bird,
                "label": "ny"[number % 2],
            }
        )
    model = maker.fit(
        table,
        "label",
        pretrain="masked",
        pretrain_epochs=12,
        columns={"note": "text"},
        unimodal_loss=0.0,
    )
    figures = model.metrics["reconstruction"]["bird"]
    assert figures["usual"]["accuracy"] < 0.7
    assert figures["hidden"]["accuracy"] > 0.9
    asked = [{"note": f"{text} by the lake", "bird": None} for text in words.values()]
    assert model.impute(asked).columns["bird"] == list(words)
