"""Contributions of a fitted model against the same subsets asked for one by one."""

import json
from functools import cache, partial
from itertools import permutations

import numpy as np
import pytest

import plait
import plait.insight.explain.contributions as module
from plait.data.features import settings_for
from plait.insight.explain.contributions import INDEPENDENT, REDUNDANCY, SYNERGY, UNKNOWN, reading
from plait.insight.explain.shapley import Game
from plait.model.infer import infer, score_views

TARGETS = ("label", "score", "tags")


@pytest.fixture(scope="module")
def told(several, braid):
    model, _ = several
    return model, model.contributions(braid / "test.csv")


@pytest.fixture(scope="module")
def asked(several, braid):
    """Each subset's scores by `infer`, one subset a call."""
    model, _ = several
    table = plait.open_table(braid / "test.csv")
    columns = model.features.prepare(table, settings_for(table, model.config)).columns
    streams, found = list(model.model.streams), {}
    for row in Game(len(streams)).subsets:
        names = frozenset(name for name, kept in zip(streams, row, strict=True) if kept)
        found[names] = infer(model.model, columns, np.arange(24), subsets={"it": list(names)})["it"]
    return table, streams, found


def by_orders(streams, value):
    """The Shapley value as the mean over all orders of arrival."""
    value = cache(value)
    total = dict.fromkeys(streams, 0.0)
    orders = list(permutations(streams))
    for order in orders:
        for place, name in enumerate(order):
            total[name] = (
                total[name] + value(frozenset(order[: place + 1])) - value(frozenset(order[:place]))
            )
    return np.stack([total[name] / len(orders) for name in streams], axis=-1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_row_sums_to_what_all_streams_change(told, target):
    _, found = told
    shares = found.targets[target]
    np.testing.assert_allclose(shares.values.sum(axis=1), shares.fused - shares.empty, atol=1e-5)
    assert shares.error is None and shares.interaction_error is None and not found.sampled
    for name, one in shares.metrics.items():
        assert one.values.sum() == pytest.approx(one.fused - one.empty, abs=1e-9), name


def test_shares_of_a_class_are_those_of_its_probability(told, asked):
    model, found = told
    _, streams, scores = asked
    whole = scores[frozenset(streams)]["label"]
    answered = whole.argmax(axis=1)
    shares = found.targets["label"]
    assert shares.answers == [model.targets[0].classes[index] for index in answered]
    value = lambda names: scores[names]["label"][np.arange(24), answered].astype(float)  # noqa: E731
    np.testing.assert_allclose(shares.values, by_orders(streams, value), atol=1e-5)
    np.testing.assert_allclose(shares.fused, whole.max(axis=1), atol=1e-6)
    assert shares.unit == 1.0


def test_shares_of_a_number_are_in_its_own_units(told, asked, braid):
    model, found = told
    _, streams, scores = asked
    target, shares = model.targets[1], found.targets["score"]
    value = lambda names: target.original(scores[names]["score"][:, 0])  # noqa: E731
    np.testing.assert_allclose(shares.values, by_orders(streams, value), atol=1e-5)
    np.testing.assert_allclose(
        shares.fused, model.answer(braid / "test.csv").values["score"], atol=1e-5
    )
    assert shares.unit == target.scale


def test_shares_of_labels_are_of_the_mean_probability_of_what_was_answered(told, asked):
    _, found = told
    _, streams, scores = asked
    yes = scores[frozenset(streams)]["tags"] >= 0.5

    def value(names):
        chances = scores[names]["tags"].astype(float)
        return np.where(yes, chances, 1 - chances).mean(axis=1)

    np.testing.assert_allclose(found.targets["tags"].values, by_orders(streams, value), atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_metrics_are_shared_out_too(told, asked, target):
    model, found = told
    table, streams, scores = asked
    one = next(each for each in model.targets if each.name == target)
    values, present, _ = one.encode(table.cells(target))

    def value(names):
        told = one.measure(values[present], scores[names][target][present])
        return np.array(list(told.values()))

    right = by_orders(streams, value)
    shares = found.targets[target].metrics
    np.testing.assert_allclose(np.stack([one.values for one in shares.values()]), right, atol=1e-4)
    assert all(one.better == (-1 if name in ("log_loss", "calibration_error", "mae", "rmse") else 1) for name, one in shares.items())  # fmt: skip
    assert all(one.unit == (model.targets[1].scale if name in ("mae", "rmse") else 1) for name, one in shares.items())  # fmt: skip


def test_a_missing_stream_gets_exactly_nothing(told):
    _, found = told
    assert not found.present.all()
    for shares in found.targets.values():
        assert (shares.values[~found.present] == 0).all()
        assert (np.abs(shares.values[found.present]) > 0).mean() > 0.9
        for number, (one, two) in enumerate(found.pairs):
            there = (
                found.present[:, found.streams.index(one)]
                & found.present[:, found.streams.index(two)]
            )
            assert (shares.interactions[~there, number] == 0).all()


def test_sampled_shares_sum_up_and_have_errors(told, several, braid, monkeypatch):
    model, exact = told
    monkeypatch.setattr(module, "Game", partial(Game, exact=3))
    found = model.contributions(braid / "test.csv", orders=48, seed=3)
    assert found.sampled and not exact.sampled
    for name, shares in found.targets.items():
        np.testing.assert_allclose(shares.values.sum(1), shares.fused - shares.empty, atol=1e-5)
        assert (shares.values[~found.present] == 0).all() and (
            shares.error[~found.present] == 0
        ).all()
        off = np.abs(shares.values - exact.targets[name].values)
        assert (off <= 5 * shares.error + 1e-6).mean() > 0.95
    assert (found.targets["label"].metrics["accuracy"].error >= 0).all()


def test_tables_without_answers_have_no_metrics(several, braid):
    model, _ = several
    rows = plait.open_table(braid / "test.csv")
    bare = {name: rows.cells(name) for name in rows.columns if name not in TARGETS}
    found = model.contributions(bare, root=braid)
    assert all(not shares.metrics for shares in found.targets.values())
    told = model.contributions(braid / "test.csv", metrics=False)
    assert all(not shares.metrics for shares in told.targets.values())
    gone = model.contributions({**bare, "label": [None] * 24}, root=braid)
    assert gone.targets["label"].metrics == {}


def test_an_empty_table_and_one_of_many_rows(several, braid, monkeypatch):
    model, _ = several
    table = plait.open_table(braid / "test.csv")
    none = model.contributions(table.slice(0, 0))
    assert len(none) == 0 and none.targets["label"].values.shape == (0, 5)
    assert none.importance("label") == {} and none.to_json()["targets"]["label"]["answers"] == []
    monkeypatch.setattr(module, "MAX_METRIC_ROWS", 6)
    few = model.contributions(table)
    assert few.notes[-1] == "metrics are shared out over 6 of the 24 rows"
    assert len(few) == 24


def test_what_went_wrong_is_told(several, braid):
    model, _ = several
    found = model.contributions([{"photo": str(braid / "gone.png"), "note": "apple"}])
    assert "the table has no column 'price'; it counted as missing in every row" in found.notes
    assert any(note.startswith("row 0, column 'photo': ") and note.endswith("; counted as missing") for note in found.notes)  # fmt: skip
    place = found.streams.index("photo")
    assert not found.present[0, place] and found.targets["label"].values[0, place] == 0


def test_results_are_json(told):
    _, found = told
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["streams"] == found.streams and len(data["present"]) == 24
    shares = data["targets"]["label"]
    assert shares["readings"][0][0][:2] == [*found.pairs[0]] and shares["error"] is None
    assert shares["importance"] == found.importance("label")
    assert set(shares["metrics"]["accuracy"]) >= {"fused", "empty", "values", "readings", "better"}


def test_importance_is_the_mean_size(told):
    _, found = told
    means = np.abs(found.targets["label"].values).mean(axis=0)
    assert found.importance("label") == pytest.approx(dict(zip(found.streams, means, strict=True)))


def test_subsets_are_fused_as_memory_allows(several, braid, monkeypatch):
    model, _ = several
    table = plait.open_table(braid / "test.csv")
    columns = model.features.prepare(table, settings_for(table, model.config)).columns
    subsets = Game(5).subsets
    once = score_views(model.model, columns, np.arange(24), subsets[:, None])
    monkeypatch.setattr("plait.model.infer.MAX_COPIED_BYTES", 1)
    one_by_one = score_views(model.model, columns, np.arange(24), subsets[:, None])
    for name in once.scores:
        np.testing.assert_allclose(once.scores[name], one_by_one.scores[name], atol=1e-5)


def test_readings_in_words():
    assert reading(0.2, 0.5) == SYNERGY and reading(-0.2, 0.5) == REDUNDANCY
    assert reading(0.009, 0.1) == INDEPENDENT  # below a hundredth of one
    assert reading(0.04, 1.0) == INDEPENDENT  # below a twentieth of what the two add
    assert reading(-0.06, 1.0) == REDUNDANCY
    assert reading(0.9, 1.0, unit=100.0) == INDEPENDENT
    assert reading(float("nan"), 1.0) == UNKNOWN


def test_a_metric_that_should_be_low_is_read_the_other_way_round(told):
    _, found = told
    one = found.targets["label"].metrics["log_loss"]
    words = list(found.metric_readings("label", "log_loss").values())
    for number, word in enumerate(words):
        if word == SYNERGY:
            assert one.interactions[number] < 0
        if word == REDUNDANCY:
            assert one.interactions[number] > 0
    assert set(words) - {INDEPENDENT}
