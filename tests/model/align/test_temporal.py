"""Clocks, warping and forced alignment, against recursions and searches written out."""

from itertools import product

import numpy as np
import pytest

from plait.errors import AlignError
from plait.model.align import ctc_align, dtw, resample

# A common clock.


def test_lines_are_those_of_numpy(rng):
    times = np.sort(rng.uniform(0, 10, 30))
    signal = rng.normal(size=30)
    clock = np.sort(np.concatenate([rng.uniform(times[0], times[-1], 50), times[[0, 7, -1]]]))
    got = resample(signal, times, clock)
    assert got.known.all()
    np.testing.assert_allclose(got.values, np.interp(clock, times, signal))


def test_beyond_the_ends_nothing_is_known():
    got = resample(np.array([[1.0, 2], [3, 4]]), np.array([0.0, 1]), np.array([-0.1, 0.5, 1, 1.1]))
    assert got.known.tolist() == [False, True, True, False]
    assert got.values.tolist() == [[0, 0], [2, 3], [3, 4], [0, 0]]


def test_masked_steps_are_never_looked_at():
    signal = np.array([0.0, np.nan, 4, 1e9])
    mask = np.array([True, False, True, False])
    got = resample(signal, np.arange(4), np.arange(4), mask=mask)
    assert got.values.tolist() == [0, 2, 4, 0]
    assert got.known.tolist() == [True, True, True, False]


def test_a_long_gap_is_not_bridged():
    times = np.array([0, 1, 5, 6])
    got = resample(times * 10, times, np.array([0.5, 1, 3, 5, 5.5]), max_gap=2.0)
    assert got.known.tolist() == [True, True, False, True, True]
    assert got.values.tolist() == [5, 10, 0, 50, 55]


def test_means_are_over_windows_that_meet_half_way(rng):
    times = np.sort(rng.uniform(0, 10, 200))
    signal = rng.normal(size=(200, 2, 3)) + 1e6
    clock = np.array([1.0, 2, 5, 9])
    got = resample(signal, times, clock, method="mean")
    for tick, (low, high) in enumerate([(0.5, 1.5), (1.5, 3.5), (3.5, 7), (7, 11)]):
        inside = (times >= low) & (times < high)
        np.testing.assert_allclose(got.values[tick], signal[inside].mean(axis=0), rtol=1e-12)
    assert got.known.all()


def test_an_empty_window_is_not_known():
    got = resample(np.array([5.0]), np.array([0.1]), np.arange(3), method="mean")
    assert got.known.tolist() == [True, False, False]
    assert got.values.tolist() == [5, 0, 0]


def test_a_signal_all_masked_is_not_known():
    got = resample(np.ones((2, 3)), np.arange(2), np.arange(4), mask=np.zeros(2, dtype=bool))
    assert not got.known.any()
    assert got.values.shape == (4, 3)


# Dynamic time warping.


def slow_dtw(costs):
    n, m = costs.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return total[n, m]


@pytest.mark.parametrize("window", [None, 4, 20])
@pytest.mark.parametrize("metric", ["euclidean", "squared"])
@pytest.mark.parametrize(("n", "m"), [(7, 9), (9, 6), (1, 3), (4, 1), (1, 1), (8, 8)])
def test_dtw_is_the_recursion(rng, n, m, metric, window):
    a, b = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    costs = np.square(a[:, None] - b).sum(axis=-1)
    costs = costs if metric == "squared" else np.sqrt(costs)
    cost, path = dtw(a, b, window, metric=metric)
    if window is not None:
        away = np.abs(np.arange(n)[:, None] - np.arange(m)) > window
        costs = np.where(away, np.inf, costs)
    assert cost == pytest.approx(slow_dtw(costs))
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(cost)
    steps = np.diff(path, axis=0).tolist()
    assert all(step in ([1, 1], [1, 0], [0, 1]) for step in steps)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [n - 1, m - 1]


def test_dtw_undoes_a_delay():
    tone = np.sin(np.arange(40) / 4)
    cost, path = dtw(tone, np.concatenate([np.repeat(tone[0], 5), tone]))
    assert cost == 0
    assert (path[:, 1] - path[:, 0]).tolist()[-30:] == [5] * 30
    narrow, _ = dtw(tone, np.concatenate([np.repeat(tone[0], 5), tone[:-5]]), window=2)
    assert narrow > 1


def test_equal_sequences_are_exactly_zero_apart(rng):
    a = rng.normal(size=(50, 3)) * 1e4
    cost, path = dtw(a, a)
    assert cost == 0
    assert (path[:, 0] == path[:, 1]).all()
    assert len(path) == 50


# CTC.


def collapse(path, blank):
    return [k for n, k in enumerate(path) if k != blank and (n == 0 or path[n - 1] != k)]


def best_path(log_probs, targets, blank):
    """By trying every path there is."""
    steps, classes = log_probs.shape
    spelling = [
        path
        for path in product(range(classes), repeat=steps)
        if collapse(path, blank) == list(targets)
    ]
    scores = [sum(log_probs[t, k] for t, k in enumerate(path)) for path in spelling]
    return spelling[int(np.argmax(scores))], max(scores)


@pytest.mark.parametrize("targets", [[1], [2, 1], [1, 1], [2, 2, 1], []], ids=str)
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_is_the_best_of_all_paths(rng, targets, blank):
    for _ in range(5):
        logits = rng.normal(size=(6, 4)) * 2
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        want, score = best_path(log_probs, targets, blank)
        spans, total = ctc_align(log_probs, np.array(targets, dtype=int), blank)
        assert total == pytest.approx(score)
        assert [span.label for span in spans] == targets
        drawn = [blank] * 6
        for label, start, stop, chance in spans:
            assert stop > start
            drawn[start:stop] = [label] * (stop - start)
            assert chance == pytest.approx(np.exp(log_probs[start:stop, label].mean()))
        assert tuple(drawn) == want


def test_ctc_finds_spans_that_are_plain_to_see():
    shown = [0, 2, 2, 0, 0, 1, 1, 1, 0]
    probs = np.full((9, 3), 0.05)
    probs[range(9), shown] = 0.9
    spans, total = ctc_align(np.log(probs).astype(np.float32), np.array([2, 1]))
    assert [(s.label, s.start, s.stop) for s in spans] == [(2, 1, 3), (1, 5, 8)]
    assert [s.score for s in spans] == pytest.approx([0.9, 0.9], abs=1e-6)
    assert total == pytest.approx(9 * np.log(0.9), abs=1e-5)


def test_ctc_allows_probabilities_of_zero():
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[0, 1, 0], [0, 0, 1.0]]))
    spans, total = ctc_align(log_probs, np.array([1, 2]))
    assert [(s.start, s.stop) for s in spans] == [(0, 1), (1, 2)]
    assert total == 0
    with pytest.raises(AlignError) as caught:
        ctc_align(log_probs, np.array([2]))
    assert str(caught.value) == (
        "no path spells the targets: every one has a step of probability zero."
    )


# What is said when something does not fit.

STEP = np.arange(3.0)
EVEN = np.log(np.full((4, 3), 1 / 3))
ERRORS = {
    "method": (
        lambda: resample(STEP, STEP, STEP, method="cubic"),
        "method='cubic'; choose from linear, mean.",
    ),
    "number": (
        lambda: resample(np.array(1.0), STEP, STEP),
        "signal is a single number; expected [steps] or [steps, channels].",
    ),
    "times": (
        lambda: resample(STEP, np.array([0, 2, 1]), STEP),
        "times must rise: entry 2 is 1, after 2. Sort the steps by time, and keep one of those that "
        "share a time.",
    ),
    "clock": (
        lambda: resample(STEP, STEP, np.array([1, 1])),
        "clock must rise: entry 1 is 1, after 1. Sort the steps by time, and keep one of those that "
        "share a time.",
    ),
    "length": (
        lambda: resample(np.arange(4), STEP, STEP),
        "signal has 4 steps and times has 3 entries.",
    ),
    "mask": (
        lambda: resample(STEP, STEP, STEP, mask=np.ones(3)),
        "mask is float64 [3]; expected one bool for each of the 3 steps.",
    ),
    "nan": (
        lambda: resample(np.array([0, np.nan, 1]), STEP, STEP),
        "signal holds 1 NaN or infinite value, the first at [1]. Leave those rows or steps out, or "
        "fill them in, first.",
    ),
    "one tick": (
        lambda: resample(STEP, STEP, np.array([1]), method="mean"),
        "clock has one tick; method='mean' takes its windows from between the ticks.",
    ),
    "channels": (
        lambda: dtw(np.zeros((3, 2)), np.zeros((3, 1))),
        "a has 2 channels and b has 1; both need the same.",
    ),
    "metric": (
        lambda: dtw(STEP, STEP, metric="cosine"),
        "metric='cosine'; choose from euclidean, squared.",
    ),
    "window": (
        lambda: dtw(np.arange(9), STEP, 5),
        "window=5 leaves no path between 9 and 3 steps; pass at least 6, or None for no band.",
    ),
    "dtw shape": (
        lambda: dtw(np.zeros((2, 2, 2)), STEP),
        "a has shape [2, 2, 2]; expected [steps] or [steps, channels].",
    ),
    "few steps": (
        lambda: ctc_align(EVEN, np.array([1, 1, 2, 2])),
        "4 labels with 2 repeated next to each other need at least 6 steps, log_probs has 4.",
    ),
    "fewer steps": (
        lambda: ctc_align(EVEN, np.array([1, 2, 1, 2, 1])),
        "5 labels need at least 5 steps, log_probs has 4.",
    ),
    "logits": (
        lambda: ctc_align(EVEN + 3, np.array([1])),
        "log_probs holds no logarithms of probabilities: step 0 sums to 20.1 instead of 1. Apply "
        "log_softmax over the classes first.",
    ),
    "whole": (
        lambda: ctc_align(np.zeros((2, 2), dtype=int), np.array([1])),
        "log_probs is int64 [2, 2]; expected floats, [steps, classes].",
    ),
    "ctc nan": (
        lambda: ctc_align(np.full((2, 2), np.nan), np.array([1])),
        "log_probs is NaN at step 0.",
    ),
    "targets": (
        lambda: ctc_align(EVEN, np.array([1.5])),
        "targets is float64 [1]; expected whole numbers, [labels].",
    ),
    "blank": (
        lambda: ctc_align(EVEN, np.array([1]), blank=3),
        "blank=3; log_probs has the classes 0 to 2.",
    ),
    "target": (
        lambda: ctc_align(EVEN, np.array([1, 0])),
        "target 1 is 0; expected a class from 0 to 2 other than the blank 0.",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_is_wrong_and_how_to_mend_it(case):
    make, message = ERRORS[case]
    with pytest.raises(AlignError) as caught:
        make()
    assert str(caught.value) == message
