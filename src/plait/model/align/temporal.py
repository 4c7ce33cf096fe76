"""Aligning in time, in plain numpy: a common clock, dynamic time warping, CTC forced alignment."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from plait.errors import AlignError
from plait.model.align.checks import numbers, shape


class Resampled(NamedTuple):
    """A signal on another clock. Where ``known`` is False there was nothing near; the value is zero."""

    values: Float[np.ndarray, "ticks *channels"]
    known: Bool[np.ndarray, " ticks"]


def resample(
    signal: Shaped[np.ndarray, "..."],
    times: Shaped[np.ndarray, "..."],
    clock: Shaped[np.ndarray, "..."],
    *,
    mask: Shaped[np.ndarray, "..."] | None = None,
    method: str = "linear",
    max_gap: float | None = None,
) -> Resampled:
    """A signal read at the ticks of another clock.

    ``linear`` draws a straight line between the two real steps around a tick. Before the first, after
    the last, and in a gap longer than ``max_gap``, nothing is known. ``mean`` takes the mean over a
    tick's window, which reaches half-way to its neighbours (at the ends as far out as in); use it to
    go to a slower clock, where lines between single steps would alias.

    Costs ``O(steps + ticks log steps)``.

    Args:
        signal: ``[steps]`` or ``[steps, channels...]``.
        times: when each step was taken, ``[steps]``, rising, in any unit.
        clock: when to read, ``[ticks]``, rising, in the same unit.
        mask: ``[steps]``, True where a step is real; the others are never looked at.
    """
    if method not in ("linear", "mean"):
        raise AlignError(f"method={method!r}; choose from linear, mean.")
    steps = np.asarray(signal)
    if steps.ndim < 1:
        raise AlignError("signal is a single number; expected [steps] or [steps, channels].")
    moments, ticks = rising("times", times), rising("clock", clock)
    if len(moments) != len(steps):
        raise AlignError(f"signal has {len(steps)} steps and times has {len(moments)} entries.")
    if mask is not None:
        real = np.asarray(mask)
        if real.shape != moments.shape or real.dtype != np.bool_:
            raise AlignError(
                f"mask is {real.dtype} {shape(real)}; expected one bool for each of the "
                f"{len(steps)} steps."
            )
        steps, moments = steps[real], moments[real]
    if not len(steps):
        return Resampled(np.zeros((len(ticks), *steps.shape[1:])), np.zeros(len(ticks), dtype=bool))
    values = numbers("signal", steps, tuple(range(1, 9)), "[steps] or [steps, channels]")
    flat = values.reshape(len(values), -1)
    drawn, known = (
        _lines(flat, moments, ticks, max_gap)
        if method == "linear"
        else _means(flat, moments, ticks)
    )
    drawn[~known] = 0
    return Resampled(drawn.reshape(len(ticks), *values.shape[1:]), known)


def rising(name: str, values: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, " n"]:
    """Times that rise, as float64."""
    moments = numbers(name, values, (1,), "one time a step")
    back = np.flatnonzero(np.diff(moments) <= 0)
    if len(back):
        at = int(back[0])
        raise AlignError(
            f"{name} must rise: entry {at + 1} is {moments[at + 1]:g}, after {moments[at]:g}. Sort the "
            "steps by time, and keep one of those that share a time."
        )
    return moments


def _lines(
    values: np.ndarray, moments: np.ndarray, ticks: np.ndarray, max_gap: float | None
) -> tuple[np.ndarray, np.ndarray]:
    after = np.searchsorted(moments, ticks).clip(0, len(moments) - 1)
    exact = moments[after] == ticks
    before = np.where(exact, after, (after - 1).clip(0))
    gap = moments[after] - moments[before]
    share = np.divide(ticks - moments[before], gap, out=np.zeros(len(ticks)), where=gap > 0)
    known = (ticks >= moments[0]) & (ticks <= moments[-1])
    if max_gap is not None:
        known &= gap <= max_gap
    return values[before] + share[:, None] * (values[after] - values[before]), known


def _means(
    values: np.ndarray, moments: np.ndarray, ticks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if len(ticks) < 2:
        raise AlignError(
            "clock has one tick; method='mean' takes its windows from between the ticks."
        )
    middle = (ticks[1:] + ticks[:-1]) / 2
    edges = np.concatenate([[2 * ticks[0] - middle[0]], middle, [2 * ticks[-1] - middle[-1]]])
    places = np.searchsorted(moments, edges)
    counts = np.diff(places)
    # Sums about the mean lose less to rounding than sums of the values.
    centre = values.mean(axis=0)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values - centre, axis=0)])
    means = np.diff(sums[places], axis=0) / counts.clip(1)[:, None] + centre
    return means, counts > 0


class Warping(NamedTuple):
    """``cost`` along the best ``path``: pairs of a step of ``a`` and one of ``b``, from start to end."""

    cost: float
    path: Int64[np.ndarray, "pairs 2"]


def dtw(
    a: Shaped[np.ndarray, "..."],
    b: Shaped[np.ndarray, "..."],
    window: int | None = None,
    *,
    metric: str = "euclidean",
) -> Warping:
    """Dynamic time warping (Sakoe & Chiba 1978, their symmetric form with weights of one).

    ``D(i, j) = d(a_i, b_j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1))``; the cost is D at both ends.
    Ties go along the diagonal. ``O(steps of a · steps of b)`` in time and memory; cells of one
    anti-diagonal are computed together.

    Args:
        a: ``[steps]`` or ``[steps, channels]``; b likewise, of any other length.
        window: how far, in steps, the path may leave the diagonal ``i = j`` (their band); None: any.
        metric: the distance d of two steps; ``squared`` is what `SoftDTW` smooths.
    """
    first, second = (
        numbers(name, part, (1, 2), "[steps] or [steps, channels]")
        for name, part in (("a", a), ("b", b))
    )
    first, second = (part.reshape(len(part), -1) for part in (first, second))
    if first.shape[1] != second.shape[1]:
        raise AlignError(
            f"a has {first.shape[1]} channels and b has {second.shape[1]}; both need the same."
        )
    if metric not in ("euclidean", "squared"):
        raise AlignError(f"metric={metric!r}; choose from euclidean, squared.")
    n, m = len(first), len(second)
    if window is not None and window < abs(n - m):
        raise AlignError(
            f"window={window} leaves no path between {n} and {m} steps; pass at least {abs(n - m)}, or "
            "None for no band."
        )
    costs = _distances(first, second, metric)
    if window is not None:
        away = np.abs(np.arange(n)[:, None] - np.arange(m))
        costs[away > window] = np.inf
    total = _accumulate(costs)
    return Warping(float(total[n, m]), _walk_back(total))


def _distances(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    # Differences, not a² + b² - 2ab: equal steps must be exactly 0 apart.
    costs = np.empty((len(a), len(b)))
    rows = max(1, 1_000_000 // b.size)
    for start in range(0, len(a), rows):
        part = np.square(a[start : start + rows, None] - b).sum(axis=-1)
        costs[start : start + rows] = part if metric == "squared" else np.sqrt(part)
    return costs


def _accumulate(costs: np.ndarray) -> np.ndarray:
    """``D`` with a border of infinity, ``[n + 1, m + 1]``; an anti-diagonal is a slice of step m."""
    n, m = costs.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    flat, cost = total.reshape(-1), costs.reshape(-1)
    for k in range(n + m - 1):
        low, high = max(0, k - m + 1), min(n - 1, k)
        here = (low + 1) * (m + 1) + k - low + 1
        end = here + (high - low) * m + 1
        up, left, corner = here - m - 1, here - 1, here - m - 2
        reach = end - here
        best = np.minimum(flat[up : up + reach : m], flat[left : left + reach : m])
        best = np.minimum(best, flat[corner : corner + reach : m])
        at = low * m + k - low
        stride = max(1, m - 1)
        flat[here:end:m] = best + cost[at : at + (high - low) * stride + 1 : stride]
    return total


def _walk_back(total: np.ndarray) -> Int64[np.ndarray, "pairs 2"]:
    i, j = total.shape[0] - 1, total.shape[1] - 1
    path = [(i - 1, j - 1)]
    while i > 1 or j > 1:
        corner, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if corner <= up and corner <= left:
            i, j = i - 1, j - 1
        elif up <= left:
            i -= 1
        else:
            j -= 1
        path.append((i - 1, j - 1))
    return np.array(path[::-1], dtype=np.int64)


class Span(NamedTuple):
    """One label's frames, ``start`` to before ``stop``, and the geometric mean of its chance in them."""

    label: int
    start: int
    stop: int
    score: float


class Alignment(NamedTuple):
    """Each target label's span, in order, and the log-probability of the whole path."""

    spans: list[Span]
    log_probability: float


def ctc_align(
    log_probs: Shaped[np.ndarray, "..."], targets: Shaped[np.ndarray, "..."], blank: int = 0
) -> Alignment:
    """CTC forced alignment: the likeliest path that spells the targets (Graves et al. 2006, section 3).

    The labels with blanks before, between and after are ``2 labels + 1`` states. From a state a path
    stays, moves on by one, or skips a blank between unlike labels; Viterbi finds
    ``argmax_π Σ_t log y_t(π_t)`` in ``O(steps · labels)``.

    Args:
        log_probs: ``[steps, classes]``, logarithms of probabilities (after log_softmax); -inf may be.
        targets: ``[labels]``, class numbers without blanks.
        blank: the class that stands for no label.
    """
    scores = _log_probabilities(log_probs)
    steps, classes = scores.shape
    labels = _labels(targets, classes, blank)
    repeats = int((labels[1:] == labels[:-1]).sum())
    if steps < len(labels) + repeats:
        raise AlignError(
            f"{len(labels)} labels"
            + (f" with {repeats} repeated next to each other" if repeats else "")
            + f" need at least {len(labels) + repeats} steps, log_probs has {steps}."
        )
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    path, total = _viterbi(scores[:, states], _skips(states, blank))
    spans = []
    for number, label in enumerate(labels.tolist()):
        inside = np.flatnonzero(path == 2 * number + 1)
        chance = float(np.exp(scores[inside, label].mean()))
        spans.append(Span(label, int(inside[0]), int(inside[-1]) + 1, chance))
    return Alignment(spans, total)


def _log_probabilities(log_probs: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "steps classes"]:
    scores = np.asarray(log_probs)
    if scores.ndim != 2 or not scores.size or scores.dtype.kind != "f":
        raise AlignError(
            f"log_probs is {scores.dtype} {shape(scores)}; expected floats, [steps, classes]."
        )
    if np.isnan(scores).any():
        raise AlignError(f"log_probs is NaN at step {np.argwhere(np.isnan(scores))[0][0]}.")
    scores = scores.astype(np.float64)
    with np.errstate(over="ignore"):
        sums = np.exp(scores).sum(axis=1)
    if (sums > 1.01).any():
        at = int((sums > 1.01).argmax())
        raise AlignError(
            f"log_probs holds no logarithms of probabilities: step {at} sums to {sums[at]:.3g} "
            "instead of 1. Apply log_softmax over the classes first."
        )
    return scores


def _labels(targets: Shaped[np.ndarray, "..."], classes: int, blank: int) -> np.ndarray:
    labels = np.asarray(targets)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise AlignError(
            f"targets is {labels.dtype} {shape(labels)}; expected whole numbers, [labels]."
        )
    if not 0 <= blank < classes:
        raise AlignError(f"blank={blank}; log_probs has the classes 0 to {classes - 1}.")
    wrong = (labels < 0) | (labels >= classes) | (labels == blank)
    if wrong.any():
        at = int(wrong.argmax())
        raise AlignError(
            f"target {at} is {labels[at]}; expected a class from 0 to {classes - 1} other than the "
            f"blank {blank}."
        )
    return labels.astype(np.int64)


def _skips(states: np.ndarray, blank: int) -> Bool[np.ndarray, " states"]:
    """Which states may be entered from two before."""
    skips = np.zeros(len(states), dtype=bool)
    skips[2:] = (states[2:] != blank) & (states[2:] != states[:-2])
    return skips


def _viterbi(emit: np.ndarray, skips: np.ndarray) -> tuple[Int64[np.ndarray, " steps"], float]:
    """The state at each step of the best path, and its log-probability."""
    steps, count = emit.shape
    best = np.full(count, -np.inf)
    best[:2] = emit[0, :2]
    came = np.zeros((steps, count), dtype=np.int64)
    for step in range(1, steps):
        moves = np.full((3, count), -np.inf)
        moves[0] = best
        moves[1, 1:] = best[:-1]
        moves[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        came[step] = moves.argmax(axis=0)
        best = moves.max(axis=0) + emit[step]
    ends = best[-2:]
    total = float(ends.max())
    if total == -np.inf:
        raise AlignError("no path spells the targets: every one has a step of probability zero.")
    path = np.empty(steps, dtype=np.int64)
    path[-1] = count - len(ends) + int(ends.argmax())
    for step in range(steps - 1, 0, -1):
        path[step - 1] = path[step] - came[step, path[step]]
    return path, total
