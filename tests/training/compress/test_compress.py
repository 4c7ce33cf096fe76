"""A fitted model made smaller, from the table to a bundle that answers."""

import json

import numpy as np
import pytest

import plait
from plait.errors import CompressError, ConfigError, TableError
from plait.training.compress import compress
from plait.training.compress.narrow import learnt, without


@pytest.fixture(scope="module")
def table(maker, tmp_path_factory):
    """The rows that `plain_run` was fitted to."""
    return maker.csv(tmp_path_factory.mktemp("plain"), "train.csv", maker.plain(40))


@pytest.mark.parametrize("way", ["prune", "distil", "both"])
def test_a_smaller_model_answers_and_is_saved(plain_run, table, tmp_path, way, few_resamples):
    model, folder = plain_run
    found = compress(folder, table, to=0.3, way=way, out=tmp_path / "small", epochs=2)
    assert found.way == way and found.before.weights == learnt(model.model)
    assert found.after.weights == learnt(found.model.model) <= 0.3 * found.before.weights
    assert found.after.megabytes == pytest.approx(4e-6 * found.after.weights)
    assert found.rows == "the 6 rows of train.csv held out for validation"
    assert found.drop == found.before.score - found.after.score
    assert found.after.latency_ms > 0
    again = plait.load(tmp_path / "small")
    assert again.blueprint.scale < 1 and again.blueprint.width < model.blueprint.width
    np.testing.assert_array_equal(again.predict_proba(table), found.model.predict_proba(table))
    assert again.verify() < 1e-6
    told = json.loads(json.dumps(found.to_json()))
    assert told["after"]["weights"] == found.after.weights


def test_pruned_weights_are_a_better_start(plain_run, table, few_resamples):
    """With next to no training the pruned model answers as it was taught, the fresh one does not know."""
    model, _ = plain_run
    options = {"to": 0.6, "epochs": 1, "lr": 1e-7}
    pruned = compress(model, table, way="prune", **options).model
    fresh = compress(model, table, way="distil", **options).model
    whole = model.predict_proba(table)

    def gap(one):
        return np.abs(one.predict_proba(table) - whole).mean()

    assert gap(pruned) < gap(fresh)


def test_with_fewer_modalities(plain_run, table, few_resamples):
    model, _ = plain_run
    found = compress(model, table, to=0.3, streams=["note"], epochs=1, test=str(table))
    assert list(found.model.model.streams) == ["note"]
    assert list(found.model.features.modalities) == ["note"] and found.rows == "train.csv"
    assert len(found.model.predict([{"note": "cheap thing"}])) == 1


def test_a_share_owner_that_leaves_hands_its_encoder_on(plain_run):
    from dataclasses import replace

    model, _ = plain_run
    plan = replace(model.blueprint, shared={"note": "tabular", "tabular": "tabular"})
    assert without(plan, ["note"]).shared == {"note": "note"}
    assert without(plan, ["note"]).modality_dropout == 0.0


def test_a_drop_beyond_what_is_allowed_saves_nothing(plain_run, table, tmp_path, few_resamples):
    from dataclasses import replace

    model, _ = plain_run
    found = compress(model, table, to=0.3, epochs=1)
    worse = replace(found, after=replace(found.after, score=found.before.score - 0.1))
    with pytest.raises(CompressError) as caught:
        worse.check(0.05)
    assert f"the score fell from {found.before.score:.4f} to " in str(caught.value)
    assert "by 0.1000: more than max_drop=0.05. Nothing was saved." in str(caught.value)
    worse.check(0.2)
    worse.check(None)
    with pytest.raises(CompressError, match="more than max_drop=0.0"):
        replace(found, after=replace(found.after, score=float("nan"))).check(0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": 0.0}, "to=0.0: a share of the weights between 0 and 1, for example 0.25."),
        ({"to": 1.0}, "to=1.0: a share of the weights between 0 and 1, for example 0.25."),
        ({"way": "distill"}, "way: unknown way 'distill'. Did you mean 'distil'?"),
        ({"max_drop": 2.0}, "max_drop=2.0: a difference of scores between 0 and 1."),
        ({"streams": ["nota"]}, "streams: unknown stream 'nota'. Did you mean 'note'?"),
        ({"streams": []}, "streams: expected a list of names, got []"),
        ({"streams": "note"}, "streams: expected a list of names, got 'note'"),
        (
            {"fusion": "late"},
            "fusion: a compressed model keeps the fitted one's; what may be set: ",
        ),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_options_that_do_not_fit(plain_run, table, options, words):
    with pytest.raises(ConfigError) as caught:
        compress(plain_run[0], table, **options)
    assert words in str(caught.value)


def test_it_cannot_be_smaller_than_its_narrowest(plain_run, table):
    with pytest.raises(CompressError) as caught:
        compress(plain_run[0], table, to=0.001)
    assert "the narrowest model of this kind has " in str(caught.value)
    assert "Ask for a larger share, or leave streams out." in str(caught.value)


def test_another_table(plain_run, maker, tmp_path):
    model, _ = plain_run
    rows = maker.plain(40)
    for row in rows:
        del row["shop"]
    with pytest.raises(CompressError) as caught:
        compress(model, rows)
    assert "lacks 'shop', which the model reads. Pass the table that it was fitted to" in str(
        caught.value
    )
    with pytest.raises(CompressError) as caught:
        compress(
            model,
            [
                {**row, "label": "maybe"[: 4 + number % 2]}
                for number, row in enumerate(maker.plain(40))
            ],
        )
    assert "the target 'label' is another one in " in str(caught.value)
    assert "the model has binary no, yes, the table holds binary mayb, maybe." in str(caught.value)
    with pytest.raises(TableError, match="label"):
        compress(model, [{"price": 1.0}])


def test_the_command(run, plain_run, table, tmp_path, few_resamples):
    _, folder = plain_run
    asked = ("compress", folder, table, "--to", "0.3", "--epochs", "1", "--out", tmp_path / "c")
    code, out, err = run(*asked)
    assert code == 0, err
    assert "weights" in out and "ms per row" in out and "before" in out and "after" in out
    assert "Score: the main metric of the targets, on the 6 rows of train.csv held out" in out
    assert "weights of " in err
    code, _, err = run(*asked)
    assert code == 2 and "overwrite" in err
    code, out, _ = run(*asked, "--overwrite", "--json", "-q", "--way", "distil")
    assert code == 0 and json.loads(out)["way"] == "distil"
    code, _, err = run("compress", folder, table, "--way", "squeeze", "--out", tmp_path / "d")
    assert code == 2 and "unknown way 'squeeze'" in err
    asked = ("compress", folder, table, "--epochs", "1", "--out", tmp_path / "d")
    code, _, err = run(*asked, "--stream", "nota")
    assert code == 2 and "unknown stream 'nota'" in err
    assert not (tmp_path / "d").exists()  # nothing is left of what failed
