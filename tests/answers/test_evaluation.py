"""Evaluation: every subset of streams from one pass of the encoders."""

import json
import math

import numpy as np
import pytest
import torch

from plait.answers.evaluation import (
    ALL,
    Evaluation,
    Result,
    measure,
    subsets,
    validation_score,
)
from plait.data.store import PreparedColumn
from plait.data.targets.classes import Classes, classification
from plait.data.targets.numbers import Numbers, regression
from plait.errors import PlaitError
from plait.model.encoders.base import Encoder
from plait.model.fusion import build_fusion
from plait.model.heads import build_head
from plait.model.infer import BATCH, infer
from plait.model.model import Model
from plait.model.tokens import Tokens

ROWS = 2 * BATCH + 3
KIND = Classes("kind", ("a", "b", "c"))
SIZE = Numbers("size", mean=5.0, scale=2.0)


class Copy(Encoder):
    """An encoder that gives its column's numbers as one token, and counts its calls."""

    width = 4

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, *columns):
        (column,) = columns
        self.calls += 1
        return Tokens(column.values.unsqueeze(1), column.mask.unsqueeze(1))


@pytest.fixture
def columns(rng):
    return {
        name: PreparedColumn(
            rng.normal(size=(ROWS, 4)).astype(np.float32), None, rng.random(ROWS) < 0.8
        )
        for name in ("left", "right")
    }


@pytest.fixture
def model():
    return Model(
        streams={"left": ["left"], "right": ["right"]},
        encoders={"left": Copy(), "right": Copy()},
        fusion=build_fusion("weighted", {"left": 4, "right": 4}, width=8, dropout=0.3),
        heads={
            "kind": build_head("classify", width=8, outputs=3, dropout=0.3),
            "size": build_head("regress", width=8, outputs=1, dropout=0.3),
        },
        modality_dropout=0.5,
    ).train()


def test_subsets_are_all_each_alone_and_all_but_each():
    assert subsets(["a", "b", "c"]) == {
        "all": None,
        "alone a": ["a"],
        "alone b": ["b"],
        "alone c": ["c"],
        "without a": ["b", "c"],
        "without b": ["a", "c"],
        "without c": ["a", "b"],
    }
    assert subsets(["a"]) == {"all": None}


def test_encoders_run_once_for_all_subsets(model, columns):
    infer(model, columns, np.arange(ROWS), subsets=subsets(["left", "right"]))
    assert [encoder.calls for encoder in model.encoders] == [3, 3]


def test_scores_are_those_of_the_model_in_the_order_of_the_rows(model, columns, rng):
    rows = rng.permutation(ROWS)
    found = infer(model, columns, rows)[ALL]
    assert found["kind"].shape == (ROWS, 3)
    assert found["size"].shape == (ROWS, 1)
    np.testing.assert_allclose(found["kind"].sum(axis=1), 1, atol=1e-5)
    for place in (0, ROWS // 2, ROWS - 1):
        one = infer(model, columns, rows[place : place + 1])[ALL]
        np.testing.assert_allclose(one["kind"][0], found["kind"][place], atol=1e-5)


def test_ragged_rows_come_back_in_the_order_asked_for(model, columns, rng):
    """They are visited by length; the answers must not be."""
    lengths = rng.integers(0, 9, size=ROWS)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = rng.normal(size=(offsets[-1], 4)).astype(np.float32)
    ragged = columns | {"extra": PreparedColumn(values, offsets, lengths > 0)}
    rows = rng.permutation(ROWS)
    plain, mixed = (infer(model, given, rows)[ALL]["kind"] for given in (columns, ragged))
    np.testing.assert_allclose(mixed, plain, atol=1e-6)


def test_a_stream_alone_equals_a_table_that_lacks_the_others(model, columns):
    rows = np.arange(ROWS)
    found = infer(model, columns, rows, subsets=subsets(["left", "right"]))
    gone = columns | {"right": PreparedColumn(columns["right"].values, None, np.zeros(ROWS, bool))}
    lacking = infer(model, gone, rows)[ALL]["kind"]
    for name in ("alone left", "without right"):
        np.testing.assert_allclose(found[name]["kind"], lacking, atol=1e-6)
    assert not np.allclose(found["alone right"]["kind"], lacking)


def test_a_device_may_be_named(model, columns):
    rows = np.arange(5)
    named = infer(model, columns, rows, device=torch.device("cpu"))[ALL]["kind"]
    np.testing.assert_array_equal(named, infer(model, columns, rows)[ALL]["kind"])


def test_no_gradient_is_kept(model, columns):
    infer(model, columns, np.arange(5))
    assert all(weight.grad is None for weight in model.parameters())


@pytest.fixture
def encoded(rng):
    present = rng.random(ROWS) < 0.9
    return {
        "kind": (rng.integers(0, 3, ROWS), present),
        "size": (rng.normal(size=ROWS).astype(np.float32), ~present | (rng.random(ROWS) < 0.5)),
    }


def test_metrics_are_over_the_rows_that_have_the_target(model, columns, encoded):
    scores = infer(model, columns, np.arange(ROWS), subsets=subsets(["left", "right"]))
    results = measure([KIND, SIZE], encoded, scores, seed=1, resamples=20)
    values, present = encoded["kind"]
    kind = results["kind"]
    assert kind.rows == present.sum()
    assert kind.primary == "balanced_accuracy"
    assert kind.metrics == classification(values[present], scores["all"]["kind"][present])
    assert kind.alone["left"] == classification(
        values[present], scores["alone left"]["kind"][present]
    )
    assert kind.without["left"] == kind.alone["right"]
    assert list(kind.alone) == list(kind.without) == ["left", "right"]
    assert kind.intervals.keys() == kind.metrics.keys()


def test_numbers_are_told_in_their_own_units(model, columns, encoded):
    scores = infer(model, columns, np.arange(ROWS))
    (result,) = measure([SIZE], encoded, scores, seed=1, resamples=0).values()
    values, present = encoded["size"]
    guess = scores[ALL]["size"][present, 0].astype(float) * 2 + 5
    assert result.metrics == pytest.approx(regression(values[present].astype(float) * 2 + 5, guess))
    assert result.intervals == {}
    assert KIND.in_units(values) is values


def test_a_target_that_no_row_has_is_left_out(model, columns, encoded):
    encoded["kind"] = (encoded["kind"][0], np.zeros(ROWS, bool))
    scores = infer(model, columns, np.arange(ROWS))
    assert list(measure([KIND, SIZE], encoded, scores, seed=0, resamples=0)) == ["size"]
    alone = validation_score([SIZE], encoded, scores[ALL])
    assert validation_score([KIND, SIZE], encoded, scores[ALL]) == alone


def test_the_validation_score_is_the_mean_over_targets(model, columns, encoded):
    scores = infer(model, columns, np.arange(ROWS))
    found = validation_score([KIND, SIZE], encoded, scores[ALL])
    results = measure([KIND, SIZE], encoded, scores, seed=0, resamples=0)
    kind, size = results["kind"].metrics, results["size"].metrics
    assert found["score"] == pytest.approx((kind["balanced_accuracy"] + size["r2"]) / 2)
    assert found["loss"] == pytest.approx((kind["log_loss"] + 1 - size["r2"]) / 2)


def test_a_metric_without_a_value_does_not_hide_the_other_targets(model, columns, encoded):
    """One row of numbers has no R²; the classes still steer the training."""
    only = np.zeros(ROWS, bool)
    only[3] = True
    encoded["size"] = (encoded["size"][0], only)
    scores = infer(model, columns, np.arange(ROWS))[ALL]
    both, kind = (validation_score(targets, encoded, scores) for targets in ([KIND, SIZE], [KIND]))
    assert both == kind


def test_a_validation_score_without_any_value_is_the_worst(model, columns, encoded):
    only = np.zeros(ROWS, bool)
    encoded["size"] = (encoded["size"][0], only)
    scores = infer(model, columns, np.arange(ROWS))[ALL]
    found = validation_score([SIZE], encoded, scores)
    assert found["score"] == -1
    assert math.isfinite(found["loss"])


def test_no_row_at_all_gives_no_scores(model, columns):
    found = infer(model, columns, np.arange(0), subsets=subsets(["left", "right"]))
    assert found["alone left"]["kind"].shape == (0, 3)
    assert found[ALL]["size"].shape == (0, 1)


def evaluation(**targets):
    return Evaluation("test.csv", 10, 0, targets or {"kind": RESULT})


RESULT = Result(
    "multiclass", 10, {"accuracy": 0.5, "auroc": float("nan")}, {"accuracy": (0.4, 0.6)}
)


def test_a_metric_of_the_only_target_by_name():
    assert evaluation()["accuracy"] == 0.5


def test_with_several_targets_a_metric_needs_its_target():
    with pytest.raises(
        (KeyError, PlaitError), match=r"there are several targets \(kind, size\); use .targets"
    ):
        evaluation(kind=RESULT, size=RESULT)["accuracy"]


def test_json_has_null_where_there_is_no_value():
    told = json.loads(json.dumps(evaluation().to_json(), allow_nan=False))
    assert told["targets"]["kind"]["metrics"] == {"accuracy": 0.5, "auroc": None}
    assert told["targets"]["kind"]["intervals"] == {"accuracy": [0.4, 0.6]}
