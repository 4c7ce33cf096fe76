"""A fitted model as a value: its way through a table, and what it gives for the rows."""

from dataclasses import fields, replace

import numpy as np
import pytest

import plait
from plait.answers.answerer import Met
from plait.answers.evaluation import ALL
from plait.errors import ConfigError, TableError
from plait.insight.explain.held_out import HeldOut
from plait.insight.fitted import Fitted
from plait.model.infer import score_views


@pytest.fixture(scope="module")
def model(fitted):
    return plait.load(fitted[1])


@pytest.fixture(scope="module")
def table(braid):
    return plait.open_table(braid / "test.csv")


def test_a_predictor_is_a_fitted_model_and_nothing_else(model):
    assert isinstance(model, Fitted)
    assert set(vars(model)) == {field.name for field in fields(Fitted)}


def test_batches_are_runs_of_prepared_rows(model, table, monkeypatch):
    monkeypatch.setattr("plait.answers.answerer.ROWS", 10)
    found = list(model.batches(table))
    assert [(one.start, one.rows) for one in found] == [(0, 10), (10, 10), (20, 4)]
    assert all(len(c) == one.rows for one in found for c in one.prepared.columns.values())
    with pytest.raises(TableError, match="has none of the model's input columns"):
        list(model.batches(plait.open_table([{"other": 1}])))


def test_scores_and_vectors_are_those_of_answer_and_embed(model, table, monkeypatch):
    scores = model.scores(table, {"all": None, "note": ["note"]})
    monkeypatch.setattr("plait.answers.answerer.ROWS", 7)
    for name, streams in (("all", None), ("note", ["note"])):
        want = model.answer(table, streams=streams).scores["label"]
        np.testing.assert_allclose(scores[name]["label"], want, atol=1e-5)
        vectors = model.vectors(table, streams)
        np.testing.assert_allclose(vectors, model.embed(table, streams=streams), atol=1e-5)
    assert list(model.scores(table)) == [ALL]
    with pytest.raises(ConfigError, match="streams: unknown stream 'nota'. Did you mean 'note'?"):
        model.vectors(table, ["nota"])


def test_what_a_pass_met_is_noted_under_the_numbers_of_the_table(model, monkeypatch):
    monkeypatch.setattr("plait.answers.answerer.ROWS", 2)
    rows = [{"price": 1.0}, {"price": 2.0}, {"price": "cheap"}]
    met = Met()
    vectors = model.vectors(plait.open_table(rows), met=met)
    assert len(vectors) == 3
    assert [(entry.row, entry.column) for entry in met.quarantine.entries] == [(2, "price")]
    assert "note" in met.absent and "price" not in met.absent


def test_a_fitted_model_with_one_thing_replaced(model, table):
    cold = replace(model, held=HeldOut())
    assert type(cold) is type(model) and cold.schema is model.schema
    assert cold.held.calibration == {} and model.held.calibration


def test_views_may_differ_from_row_to_row(model, table):
    (batch,) = model.batches(table)
    streams, rows = list(model.model.streams), np.arange(batch.rows)
    views = np.random.default_rng(0).random((3, batch.rows, len(streams))) < 0.5
    present, scores = score_views(model.model, batch.prepared.columns, rows, views)
    assert present.shape == (batch.rows, len(streams)) and present.any() and not present.all()
    for view, found in zip(views, scores["label"], strict=True):
        for row in (0, 11, batch.rows - 1):
            keep = [name for name, seen in zip(streams, view[row], strict=True) if seen]
            want = model.scores(table.slice(row, row + 1), {ALL: keep})[ALL]["label"][0]
            np.testing.assert_allclose(found[row], want, atol=1e-5)
