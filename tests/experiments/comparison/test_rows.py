"""From runs to rows, against plain numpy."""

import json
import math

import numpy as np
import pytest

from plait.answers.statistics import draws
from plait.data.targets.classes import Classes
from plait.data.targets.numbers import Numbers
from plait.experiments.comparison.rows import aggregate

TARGET = Classes("label", ("a", "b", "c"))
ROWS = 60


def run(method, seed, answers, truth, role="fusion", **others):
    right = answers == truth
    score = float(np.mean([right[truth == label].mean() for label in range(3)]))
    return {
        "method": method,
        "role": role,
        "seed": seed,
        "metrics": {"balanced_accuracy": score, "auroc": None},
        "without": {"image": 0.5, "text": None},
        "gaps": {"0.5": 0.4},
        "answers": answers.tolist(),
        "parameters": 10,
        "rows_per_second": None,
        "epochs": 2,
        **others,
    }


@pytest.fixture
def lot(rng):
    """Truth, presence, and runs of concat, a better and a failing method, a stream, a constant."""
    truth, present = rng.integers(0, 3, ROWS + 5), np.arange(ROWS + 5) < ROWS
    known = truth[present]
    made = []
    for seed in (0, 1, 2):
        for method, right in (("concat", 0.5), ("good", 0.9)):
            hit = rng.random(ROWS) < right
            made.append(run(method, seed, np.where(hit, known, (known + 1) % 3), known))
    made.append(run("image alone", 0, (known + 1) % 3, known, role="alone"))
    made.append(run("majority", 0, np.zeros(ROWS, int), known, role="constant"))
    made += [
        {"method": "partly", "role": "fusion", "seed": 0, "error": "TrainError: diverged"},
        run("partly", 1, known, known),
        {"method": "broken", "role": "fusion", "seed": 0, "error": "no room"},
    ]
    return truth, present, made


def rows_of(lot, resamples=400):
    truth, present, made = lot
    times = {"good": {"latency_ms": 4.0, "forward_ms": 2.0}, "concat": {"latency_ms": None}}
    found = aggregate(TARGET, (truth, present), made, times, resamples=resamples, seed=7)
    return {row.method: row for row in found}


def test_means_deviations_and_costs(lot):
    rows = rows_of(lot)
    scores = [r["metrics"]["balanced_accuracy"] for r in lot[2] if r["method"] == "good"]
    good = rows["good"]
    assert good.mean == pytest.approx(np.mean(scores))
    assert good.std == pytest.approx(np.std(scores, ddof=1))
    assert (good.seeds, good.parameters, good.epochs) == (3, 10, 2)
    assert (good.latency_ms, good.forward_ms) == (4.0, 2.0)
    assert math.isnan(rows["concat"].latency_ms) and math.isnan(good.rows_per_second)
    assert good.without["image"] == 0.5 and math.isnan(good.without["text"])
    assert good.gaps == pytest.approx({"0.5": 0.4})
    assert math.isnan(good.metrics["auroc"])


def test_intervals_and_differences_against_plain_numpy(lot):
    truth, present, made = lot
    known = truth[present]
    weights = np.concatenate(list(draws(ROWS, 400, seed=7))).astype(int)
    drawn = {}
    for found in made:
        if "error" in found:
            continue
        scores = np.eye(3)[found["answers"]]
        drawn[found["method"], found["seed"]] = [
            TARGET.metrics(known[rows], scores[rows])["balanced_accuracy"]
            for rows in (np.repeat(np.arange(ROWS), counts) for counts in weights)
        ]
    good = np.mean([drawn["good", seed] for seed in (0, 1, 2)], axis=0)
    gap = good - np.mean([drawn["concat", seed] for seed in (0, 1, 2)], axis=0)
    rows = rows_of(lot)
    row = rows["good"]
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(good, [2.5, 97.5])))
    told = (row.difference_low, row.difference_high)
    assert told == pytest.approx(tuple(np.percentile(gap, [2.5, 97.5])))
    assert row.difference == pytest.approx(row.mean - rows["concat"].mean)
    assert row.p == pytest.approx(2 * (1 + (gap <= 0).sum()) / 401)


def test_a_method_is_compared_over_the_seeds_that_both_finished(lot):
    rows = rows_of(lot)
    theirs = next(r for r in lot[2] if (r["method"], r["seed"]) == ("concat", 1))
    expected = 1.0 - theirs["metrics"]["balanced_accuracy"]
    assert rows["partly"].seeds == 1
    assert rows["partly"].difference == pytest.approx(expected)
    assert rows["partly"].problems == ["seed 0: TrainError: diverged"]
    assert math.isnan(rows["partly"].std)


def test_only_fusions_are_tested_and_holm_counts_them(lot):
    rows = rows_of(lot)
    assert rows["good"].p_holm == pytest.approx(
        min(1.0, 2 * rows["good"].p)
    )  # the family is of two
    for name in ("concat", "image alone", "majority", "broken"):
        assert math.isnan(rows[name].p) and math.isnan(rows[name].p_holm)
    assert math.isnan(rows["concat"].difference)
    assert rows["image alone"].difference < 0


def test_fusions_come_first_the_best_above_and_failed_ones_last(lot):
    assert list(rows_of(lot)) == ["partly", "good", "concat", "broken", "image alone", "majority"]
    assert rows_of(lot)["broken"].problems == ["seed 0: no room"]


def test_without_concat_there_is_no_difference(lot):
    truth, present, made = lot
    rows = rows_of((truth, present, [r for r in made if r["method"] != "concat"]))
    assert math.isnan(rows["good"].difference) and math.isnan(rows["good"].p)
    assert rows["good"].low < rows["good"].mean < rows["good"].high


def test_nothing_finished(lot):
    truth, present, made = lot
    rows = rows_of((truth, present, [r for r in made if "error" in r]))
    assert [(row.method, row.seeds) for row in rows.values()] == [("partly", 0), ("broken", 0)]


def test_json_and_flat_hold_no_nan(lot):
    row = rows_of(lot)["partly"]
    text = json.dumps(row.to_json(), allow_nan=False)
    assert json.loads(text)["std"] is None
    flat = row.flat()
    assert flat["without text"] is None and flat["50% missing"] == 0.4
    assert flat["auroc"] is None and flat["problems"] == "seed 0: TrainError: diverged"
    json.dumps(flat, allow_nan=False)


def test_numbers_are_resampled_in_their_own_units(rng):
    target = Numbers("size", mean=50.0, scale=10.0)
    encoded = rng.normal(0, 1, 30).astype(np.float32)
    answers = encoded * 10 + 50 + rng.normal(0, 1, 30)
    made = {
        "method": "concat", "role": "fusion", "seed": 0, "metrics": {"r2": 0.99}, "without": {},
        "gaps": {}, "answers": answers.tolist(),
    }  # fmt: skip
    present = np.ones(30, dtype=bool)
    (row,) = aggregate(target, (encoded, present), [made], {}, resamples=50, seed=0)
    assert 0.95 < row.low <= row.high < 1.0
