"""Parts of a report in states that whole small pages do not reach."""

import copy
from dataclasses import replace

import numpy as np
import pytest

import plait
from plait.data.modalities.base import Prepared
from plait.data.targets.classes import Classes
from plait.data.targets.labels import Labels
from plait.insight.report import album as album_module
from plait.insight.report import contributions, prediction_sets, training, trust, within
from plait.insight.report.context import Context
from tests.insight.report.conftest import QUICK


@pytest.fixture
def context(plain_run, maker):
    model, _ = plain_run
    table = plait.open_table(maker.plain(20, seed=4))
    return Context(copy.copy(model), table, np.arange(20), 20, limits=QUICK)


def test_temperatures_are_undone(rng):
    logits, temperature = rng.normal(size=(9, 4)), 2.5
    for target in (Classes("y", tuple("abcd")), Labels("y", tuple("abcd"))):
        if isinstance(target, Labels):
            calibrated, plain = (1 / (1 + np.exp(-logits / t)) for t in (temperature, 1.0))
        else:
            calibrated, plain = (
                np.exp(logits / t) / np.exp(logits / t).sum(axis=1, keepdims=True)
                for t in (temperature, 1.0)
            )
        found = trust.uncalibrated(target, calibrated, temperature)
        np.testing.assert_allclose(found, plain, rtol=1e-9)


@pytest.mark.parametrize(
    ("kept", "temperature", "told"),
    [
        (False, 1.0, "has no calibration"),
        (True, 1.0, "scaling did not help"),
        (True, 0.5, "0.500, fitted to the validation rows: the model was underconfident before"),
        (True, 2.0, "2.000, fitted to the validation rows: the model was overconfident before"),
    ],
)
def test_temperatures_in_words(context, kept, temperature, told):
    assert told in trust._temperature(context, kept, temperature)


def test_a_broken_promise_is_a_warning(context):
    target = context.model.targets[0]
    kept = {"lac": np.linspace(0, 0.5, 200), "aps": np.linspace(0.5, 1, 200)}
    context.model.held = replace(context.model.held, conformal={target.name: kept})
    truth, right = np.zeros(60, np.int64), np.tile([0.9, 0.1], (60, 1))
    assert "significantly below" not in prediction_sets.coverage_sets(context, target, truth, right)
    told = prediction_sets.coverage_sets(context, target, truth, right[:, ::-1])
    assert "The measured coverage is significantly below the requested one" in told
    assert 'class="bad"' in told


def test_more_than_eight_streams_are_estimates(context):
    context.contributions = replace(context.contributions, sampled=True)
    found = contributions.section(context)
    assert found is not None and "estimates from random orders" in found.body


def test_pairs_that_cannot_be_told_say_so(context):
    found = context.contributions
    shares = found.targets["label"]
    metrics = {
        name: replace(one, interactions=np.full_like(one.interactions, np.nan))
        for name, one in shares.metrics.items()
    }
    context.contributions = replace(found, targets={"label": replace(shares, metrics=metrics)})
    told = contributions.section(context)
    assert told is not None and "too few orders were sampled" in told.body


def test_long_trainings_are_listed_in_part(context):
    context.model.history = [
        {
            "epoch": n + 1,
            "train_loss": 1 / (n + 1),
            "loss": 1.0,
            "score": min(n, 40) / 50,
            "lr": 0.1,
        }
        for n in range(95)
    ]
    context.model.record = {"seconds": {"odd stage": 3.0}, "notes": []}
    found = training.section(context)
    assert found is not None
    assert (
        found.body.count("<tr") < 40
        and '<tr class="strong"><th scope="row" class="text">41<' in found.body
    )
    assert "odd stage" in found.body and "rows per second" not in found.body
    assert "Gradient per stream" not in found.body and "Decisions" not in found.body


def test_tokens_without_words_are_told_by_number(context):
    marks = np.array([0.1, -0.7, 0.0, 0.3], np.float32)
    told = within._drawn(context, "tokens", "note", 0, marks, None)
    assert "strongest at token 2 (−0.700), 4 (+0.300), 1 (+0.100) of 4" in told


def test_columns_without_maps_are_named(context, monkeypatch):
    whole = within.explained

    def without(*given):
        found, words = whole(*given)
        return replace(found, left=["shop"]), words

    monkeypatch.setattr(within, "explained", without)
    told = within.maps(context, context.model.targets[0], np.array([0]))
    assert "Without maps: <bdi>shop</bdi>" in told


def test_videos_are_a_few_frames(context, monkeypatch):
    frames = Prepared(np.zeros((1, 6, 8, 8, 3), np.uint8), None, np.array([True]))
    album = context.album
    monkeypatch.setattr(album, "arrays", lambda column, row: frames)
    monkeypatch.setattr(album, "display", lambda column: "frames")
    assert album.cell("note", 0).count("<img") == album_module.FRAMES
    assert within._field(context, "note", 0).count("<img") == album_module.FRAMES


def test_cells_of_other_kinds_have_a_name():
    assert album_module._short({"path": "a.png", "bytes": b"x"}) == "a.png"
    assert album_module._short({"bytes": b"x"}) == "bytes"
    assert album_module._short(b"abc") == "3 bytes"


def test_no_rows_no_parts(context):
    none = Context(context.model, context.table.slice(0, 0), np.arange(0), 0, limits=QUICK)
    assert within.section(none) is None and trust.section(none) is None
    assert contributions.section(none) is None
