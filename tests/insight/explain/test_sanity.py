"""The two checks, on models whose right answer is known, and on a fitted one."""

import json
import math

import numpy as np
import pytest
import torch

import plait
from plait.data.features import settings_for
from plait.insight.explain.sanity import (
    FIELDS,
    Deletion,
    Randomised,
    _likeness,
    deletion_check,
    randomisation_check,
)
from plait.insight.explain.within import attribute


@pytest.fixture(scope="module")
def given(fitted, braid):
    model = plait.load(fitted[1])
    for head in model.model.heads:  # scores that move
        head.temperature = 2.0
    table = plait.open_table(braid / "test.csv")
    columns = model.features.prepare(table, settings_for(table, model.config)).columns
    return model, columns, np.arange(24), model.targets[0]


def test_the_marked_part_matters_more_than_a_random_one(given):
    found = {one.group: one for one in deletion_check(*given, steps=8, draws=3)}
    assert set(found) == {"photo", "note", "voice", "pulse", FIELDS}
    assert all(1 < one.rows <= 24 for one in found.values())
    assert sum(one.difference for one in found.values()) > 0
    best = max(found.values(), key=lambda one: one.interval[0])
    assert best.passed and best.marked > best.random
    for one in found.values():
        assert one.difference == pytest.approx(one.marked - one.random)
        assert one.interval[0] <= one.difference <= one.interval[1]
    assert json.loads(json.dumps(best.to_json()))["passed"] is True


def test_deleting_a_random_part_is_what_chance_marks(given):
    """With maps that are noise, the marked part is one more random part."""
    from unittest.mock import patch

    from plait.insight.explain import sanity

    def noisy(*args, **named):
        maps, *rest = integrated(*args, **named)
        return {name: torch.randn_like(values) for name, values in maps.items()}, *rest

    integrated = sanity.integrated
    with patch.object(sanity, "integrated", noisy):
        found = deletion_check(*given, steps=1, draws=6)
    assert sum(one.passed for one in found) <= 1


def test_all_of_it_gone_is_the_baseline(given, monkeypatch):
    """With the whole share, every piece goes, and marked and random parts are the same."""
    monkeypatch.setattr("plait.insight.explain.sanity.SHARE", 1.0)
    for one in deletion_check(*given, steps=1, draws=1):
        assert one.difference == pytest.approx(0, abs=1e-6) and not one.passed


def test_one_row_has_no_interval(given):
    found = deletion_check(*given[:2], np.arange(1), *given[3:], steps=1, draws=1)
    assert all(math.isnan(one.interval[0]) and not one.passed for one in found)
    assert found[0].to_json()["interval"] == [None, None]
    assert deletion_check(*given[:2], np.arange(0), *given[3:]) == []


def test_the_seed_decides(given):
    one, same, other = (deletion_check(*given, steps=1, draws=1, seed=seed) for seed in (0, 0, 1))
    assert one == same and one != other


def test_shuffled_weights_give_other_maps(given):
    found = {one.column: one for one in randomisation_check(*given, steps=4)}
    assert set(found) == {"photo", "note", "voice", "pulse"}  # a field has one mark
    assert all(0 <= one.correlation < 0.9 for one in found.values())
    assert json.dumps(found["photo"].to_json())
    before = {name: value.clone() for name, value in given[0].model.state_dict().items()}
    randomisation_check(*given, steps=1)
    assert all(
        torch.equal(value, before[name]) for name, value in given[0].model.state_dict().items()
    )


def test_a_model_is_like_itself(given):
    model, *rest = given
    maps = attribute(model.model, *rest, model.features, steps=2).maps["photo"]
    some = [one for one in maps if one is not None and np.ptp(np.abs(one)) > 0]
    assert _likeness(some[0], -some[0]) == pytest.approx(1)
    assert math.isnan(_likeness(some[0], np.zeros_like(some[0])))


def test_the_rank_correlation_is_spearmans(rng):
    from scipy.stats import spearmanr

    one, two = rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    right = abs(spearmanr(np.abs(one).ravel(), np.abs(two).ravel()).statistic)
    assert _likeness(one, two) == pytest.approx(right)


def test_results_are_plain():
    assert Deletion("a", 2, 0.2, 0.1, 0.1, (0.05, 0.15)).passed
    assert not Deletion("a", 2, 0.2, 0.1, 0.1, (-0.05, 0.25)).passed
    assert Randomised("a", 1, 0.5, (float("nan"),) * 2).to_json()["interval"] == [None, None]
