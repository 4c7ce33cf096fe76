"""A table beside the one a model learnt from, where that table is, and the figures of a fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import plait
from plait.data.features import settings_for
from plait.data.origin import FILE, Gone, Origin, recall, remember
from plait.data.table.source import open_table
from plait.data.targets.classes import Classes
from plait.data.targets.labels import Labels
from plait.data.targets.numbers import Numbers
from plait.insight.diagnose import columns
from plait.insight.diagnose.brief import brief
from plait.insight.diagnose.table_check import compare_tables
from plait.insight.diagnose.vectors import vectors
from plait.insight.explain.held_out import HeldOut
from plait.sealed import TRAINING
from plait.training import board


def prepared(model, table):
    return model.features.prepare(table, settings_for(table, model.config))


def looked(model, table, origin):
    seen = vectors(model.model, prepared(model, table).columns, np.arange(table.rows))
    return compare_tables(model, table, seen, origin)


# Vectors.


def test_vectors_are_the_fused_ones_and_the_mean_of_the_tokens(fitted, braid):
    model, _ = fitted
    table = open_table(braid / "test.csv")
    found = vectors(model.model, prepared(model, table).columns, np.arange(table.rows))
    np.testing.assert_allclose(found.fused, model.embed(table), atol=1e-5)
    missing = np.array([cell is None for cell in table.cells("photo")])
    np.testing.assert_array_equal(found.present["photo"], ~missing)
    assert (found.streams["photo"][missing] == 0).all()
    assert found.all_streams.shape == (24, sum(one.shape[1] for one in found.streams.values()))
    from plait.model.loader import collate

    with torch.no_grad():
        tokens = model.model.encode(collate(prepared(model, table).columns, np.array([5])))["note"]
    np.testing.assert_allclose(
        found.streams["note"][5], tokens.values[0][tokens.mask[0]].mean(dim=0), atol=1e-5
    )
    assert len(found) == 24


# Where the table is.


def test_a_fit_writes_down_where_its_table_is(fitted, braid):
    _, out = fitted
    found = recall(out)
    assert isinstance(found, Origin) and found.table.name == "train.csv"
    assert found.table.rows == 72 and 0 < len(found.validation) < 36
    assert str(braid) not in (out / "bundle.json").read_text()  # it is no part of the bundle


@pytest.fixture
def remembered(maker, tmp_path):
    path = maker.csv(tmp_path, "train.csv", maker.plain(12))
    run = tmp_path / "run"
    remember(run / TRAINING, path, None, open_table(path), np.array([1, 5]))
    return path, run


def why(found):
    assert isinstance(found, Gone) and found.why_zh
    return found.why


def test_the_table_is_found_again(remembered):
    found = recall(remembered[1])
    assert found.table.rows == 12 and found.validation.tolist() == [1, 5]
    given = recall(remembered[1], remembered[0])
    assert given.validation.tolist() == [1, 5]
    assert recall(None, remembered[0]).validation.tolist() == []
    other = recall(remembered[1], open_table(remembered[0]).slice(0, 3))
    assert other.table.rows == 3 and other.validation.tolist() == []


def test_it_says_why_the_table_is_gone(remembered, maker, tmp_path):
    path, run = remembered
    assert (
        why(recall(None)) == "the run's folder does not record which table the model was trained on"
    )
    assert why(recall(tmp_path)) == why(recall(None))
    remember(
        tmp_path / "memory" / TRAINING, [{"a": 1}], None, open_table([{"a": 1}]), np.array([0])
    )
    assert (
        why(recall(tmp_path / "memory")) == "the model learnt from a table in memory, which is gone"
    )
    text = path.read_text()
    path.write_text(text + text.splitlines()[1] + "\n")
    changed = "the table the model learnt from, train.csv, has been changed since"
    assert why(recall(run)) == changed
    path.unlink()
    assert (
        why(recall(run)) == "the table the model learnt from, train.csv, is no longer where it was"
    )


@pytest.mark.parametrize("cells", ["", "a,b\n", "a,b\n1,2\n3,4\n"])
def test_a_table_that_is_another_one_now(remembered, cells):
    path, run = remembered
    path.write_text(cells)
    told = json.loads((run / TRAINING / FILE).read_text())
    status = path.stat()
    told["changed"] = [status.st_size, status.st_mtime_ns]
    (run / TRAINING / FILE).write_text(json.dumps(told))
    assert why(recall(run)) == "the table the model learnt from, train.csv, has been changed since"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": 3}', '{"source": "/nowhere/t.csv"}'])
def test_a_damaged_note_is_no_table(tmp_path, text):
    (tmp_path / TRAINING).mkdir()
    (tmp_path / TRAINING / FILE).write_text(text)
    assert isinstance(recall(tmp_path), Gone)


def test_rows_that_are_none_are_left_out(remembered):
    _, run = remembered
    told = json.loads((run / TRAINING / FILE).read_text())
    for rows, right in (([3, 99, -1, "x"], [3]), (None, [])):
        (run / TRAINING / FILE).write_text(json.dumps({**told, "validation": rows}))
        assert recall(run).validation.tolist() == right


def test_a_folder_of_folders_is_found_again(maker, tmp_path, rng):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        maker.image(tmp_path / "photos" / name, 10, rng)
    table = open_table(tmp_path / "photos")
    remember(tmp_path / TRAINING, tmp_path / "photos", None, table, np.array([0]))
    assert recall(tmp_path).table.rows == 4


# Leaks and drift.


def test_planted_leaks_copies_and_drift_are_found(plain_run, maker):
    model, _ = plain_run
    train = maker.plain(40)
    held = [3, 7]
    fresh = maker.plain(30, seed=5)
    for row in fresh:
        row["price"] += 9
        row["shop"] = "west"
    table = [
        *fresh,
        train[0],
        {**train[1], "label": "no"},
        train[3],
        fresh[0],
        {**fresh[1], "label": "?"},
    ]
    found = looked(model, open_table(table), Origin(open_table(train), np.array(held)))
    leaks = found.leaks
    assert dict(zip(leaks.rows.rows.tolist(), leaks.rows.twins.tolist(), strict=True)) == {
        30: 0,
        31: 1,
    }
    assert (
        leaks.disagree == [1] and leaks.learnt == 38
    )  # row 3 was held out: nothing learnt from it
    assert (found.repeats.rows.tolist(), found.repeats.twins.tolist()) == ([33, 34], [0, 1])
    assert found.disagree == [1]
    assert leaks.cells["note"].rows.tolist() == [30, 31]
    assert not found.held_out and found.gone is None
    moved = {
        (one.name, drift.measure) for one in found.columns for drift in one.drift if drift.moved()
    }
    assert moved == {("price", "ks"), ("shop", "psi")}
    assert not set(leaks.near.rows) & {30, 31}


def test_the_held_out_rows_themselves_are_no_leak(plain_run):
    model, _ = plain_run
    train = open_table([{**row} for row in _rows(model, 40)])
    held = np.arange(0, 40, 4)
    found = looked(model, train.take(held), Origin(train, held))
    assert found.held_out and len(found.leaks.rows) == 0 and found.streams == {}


def _rows(model, count):
    rng = np.random.default_rng(1)
    return [
        {
            "price": float(rng.normal()),
            "shop": "north",
            "note": f"thing {n} {rng.integers(1e6)}",
            "label": "no",
        }
        for n in range(count)
    ]


def test_without_the_training_table_the_schema_still_tells(plain_run, maker):
    model, _ = plain_run
    found = looked(model, open_table(maker.plain(5)), recall(None))
    assert found.leaks is None and "does not record" in found.gone.why
    assert {one.name: one.missing_before for one in found.columns} == {
        "price": 0.0, "shop": 0.0, "note": 0.0, "label": 0.0,
    }  # fmt: skip
    assert all(not one.drift for one in found.columns)


def test_one_row_and_no_target(plain_run, maker):
    model, _ = plain_run
    row = {name: cell for name, cell in maker.plain(1)[0].items() if name != "label"}
    found = looked(model, open_table([row]), Origin(open_table(maker.plain(40)), np.array([1])))
    assert [one.name for one in found.columns] == ["price", "shop", "note"]
    assert found.looked_at == 1


def test_tables_without_a_column_in_common(plain_run, maker):
    model, _ = plain_run
    other = open_table([{"label": "no", "else": n} for n in range(9)])
    found = looked(model, open_table(maker.plain(6)), Origin(other, np.zeros(0, np.int64)))
    assert len(found.leaks.rows) == 0 and found.leaks.cells == {}


def test_media_and_pretend_drift(fitted, braid):
    model, out = fitted
    table = open_table(braid / "test.csv")
    found = looked(model, table, recall(out))
    assert set(found.leaks.cells) == {"photo", "voice", "pulse"}  # notes repeat
    assert len(found.leaks.rows) == 0
    assert "tabular" in found.streams
    sizes = {one.name: one.distribution.what for one in found.columns if one.distribution}
    assert sizes["photo"] == "size" and sizes["day"] == "time" and sizes["price"] == "value"


# Columns.


def described(cells, before=None, kind=None):
    table = open_table({"c": cells})
    from plait.config import Config
    from plait.data.table.schema import Schema

    kinds = {"c": kind} if kind else {}
    settings = settings_for(table, Config())
    own = columns.read(table, ["c", "absent"], kinds, settings)
    old = columns.read(open_table({"c": before}), ["c"], kinds, settings) if before else None
    (found,) = columns.describe(table, Schema(()), own, old)
    return found


def test_categories_are_shares_and_the_rest_is_one():
    cells = [f"c{number:02}" for number in range(15) for _ in range(15 - number + 2)]
    found = described(cells, ["c00"] * 3 + ["new"] * 3, "categorical").distribution
    assert found.labels == [*(f"c{number:02}" for number in range(12)), None]
    assert sum(found.here) == pytest.approx(1) and found.before == [0.5] + [0.0] * 11 + [0.5]
    few = described(["a", "a", "b"] * 4, None, "categorical").distribution
    assert (few.labels, few.before) == (["a", "b"], None)
    assert few.here == pytest.approx([2 / 3, 1 / 3])


def test_numbers_are_binned_between_their_hundredths():
    found = described([*map(float, range(200)), 1e9], [1.0] * 5, "numeric").distribution
    assert found.edges[0] >= 0 and found.edges[-1] < 300
    assert sum(found.here) == pytest.approx(1) and sum(found.before) == pytest.approx(1)
    assert found.here[-1] > found.here[1]  # what is beyond is in the outer bin
    assert described([0.0] * 300 + [7.0], None, "numeric").distribution.edges[-1] == 7.0


@pytest.mark.parametrize("cells", [[5.0] * 9, [None] * 9, ["one"]])
def test_columns_with_nothing_to_draw(cells):
    found = described(cells, None, "numeric" if cells[0] == 5.0 else None)
    assert found.distribution is None or cells == [None] * 9
    assert found.rows == len(cells)
    assert found.missing == (1.0 if cells[0] is None else 0.0)
    assert found.role == "new" and found.missing_before is None


# The figures of a fit.


def test_errors_by_kind():
    classes = Classes("t", ("a", "b"))
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert classes.errors(np.array([0, 0]), scores).tolist() == [0, 1]
    labels = Labels("t", ("a", "b"))
    assert labels.errors(np.array([[1, 1], [0, 1]], np.float32), scores).tolist() == [0.5, 0.0]
    number = Numbers("t", mean=10, scale=2)
    assert number.errors(np.array([0.0, 1.0]), np.array([[1.0], [0.5]])).tolist() == [2.0, 1.0]


def test_the_figures_agree_with_what_the_model_says(several_here):
    model, table = several_here
    encoded = {one.name: one.encode(table.cells(one.name))[:2] for one in model.targets}
    rows = np.arange(table.rows)
    found = brief(model, prepared(model, table).columns, table, rows, encoded)
    assert json.loads(json.dumps(found)) == found
    whole = model.contributions(table)
    for name, told in found.items():
        shares = whole.targets[name].metrics[told["contributions"]["metric"]]
        values = list(told["contributions"]["values"].values())
        np.testing.assert_allclose(values, shares.values, atol=1e-5)
        gained = told["contributions"]["fused"] - told["contributions"]["empty"]
        assert sum(values) == pytest.approx(gained, abs=1e-6)
        mean = whole.importance(name)
        assert told["contributions"]["importance"] == pytest.approx(mean, abs=1e-5)
    answers = model.answer(table)
    truth, known = encoded["label"]
    guess = answers.scores["label"].argmax(axis=1)
    assert np.sum(found["label"]["confusion"]) == known.sum()
    assert found["label"]["error"] == pytest.approx((guess != truth)[known].mean())
    assert "reliability" not in found["score"] and "confusion" not in found["tags"]


def test_many_streams_have_no_contributions_and_unknown_targets_no_figures(
    several_here, monkeypatch
):
    from plait.insight.diagnose import brief as module

    model, table = several_here
    monkeypatch.setattr(module, "MAX_EXACT", 1)
    encoded = {one.name: one.encode(table.cells(one.name))[:2] for one in model.targets}
    encoded["tags"][1][:] = False
    warm = replace(model, held=HeldOut())
    found = brief(warm, prepared(model, table).columns, table, np.arange(9), encoded)
    assert found.keys() == {"label", "score"}
    assert all("contributions" not in one and "calibration" not in one for one in found.values())


def test_a_fit_logs_scalars(several_here, several_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, _ = several_here
    events = EventAccumulator(str(several_run / TRAINING / "logs"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    assert {"train_loss", "label/held_out_error", "label/calibration_error"} <= set(scalars)
    streams = model.blueprint.streams
    assert {f"score/contribution/{stream}" for stream in streams} <= set(scalars)
    told = model.metrics["figures"]["label"]
    logged = events.Scalars(f"label/contribution/{next(iter(streams))}")[0].value
    assert logged == pytest.approx(next(iter(told["contributions"]["values"].values())), abs=1e-6)


SLICE = {"column": "shop", "rows": 9, "error": 0.5, "rest": 0.1, "p": 0.0, "q": 0.0}


def test_scalars_name_their_slices_and_leave_out_what_is_not_known():
    told = {
        "error": 0.2,
        "reliability": {"error": None},
        "slices": [
            {**SLICE, "how": "value", "value": "north"},
            {**SLICE, "how": "range", "low": 1.0, "high": 2.5},
            {**SLICE, "how": "missing"},
        ],
    }
    assert board.scalars(told) == {
        "held_out_error": 0.2,
        "slice_error/shop is north": 0.5,
        "slice_error/shop 1 to 2.5": 0.5,
        "slice_error/shop missing": 0.5,
    }


def test_predict_with_a_folder_that_was_moved(fitted, tmp_path, braid):
    """A bundle copied without its training folder has no origin, and loads all the same."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(fitted[1], copy, ignore=shutil.ignore_patterns(TRAINING))
    assert isinstance(recall(copy), Gone)
    assert plait.load(copy).metrics["figures"].keys() == {"label"}
    assert not list(Path(copy).glob("*table.json"))
