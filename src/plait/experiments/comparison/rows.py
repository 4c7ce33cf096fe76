"""From the results of runs to one row a method."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from plait.answers.plain import plain
from plait.answers.statistics import bootstrap, holm, interval, p_value
from plait.data.targets.target import Target

NAN = float("nan")
REFERENCE = "concat"
"""The method that all others are compared with."""


@dataclass(frozen=True)
class Row:
    """One method's figures; NaN where there is none.

    Attributes:
        role: ``fusion``, ``alone`` (a model of one stream only) or ``constant``.
        seeds: runs that finished.
        mean, std: of the primary metric over seeds; ``std`` is that of a sample, NaN for one seed.
        low, high: 95 % bootstrap interval over test rows of the mean over seeds.
        difference: mean minus the reference's, over the seeds that both finished, with its interval.
        p, p_holm: of the difference, and corrected for the number of fusions; fusions only.
        latency_ms: a row through a Predictor; ``forward_ms``: through the model alone.
        metrics: every metric, mean over seeds.
        without: stream → the primary metric where that stream is missing from every row.
        gaps: share → the primary metric where that share of the streams is missing at random.
        problems: why runs failed.
    """

    method: str
    role: str
    seeds: int = 0
    mean: float = NAN
    std: float = NAN
    low: float = NAN
    high: float = NAN
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    p: float = NAN
    p_holm: float = NAN
    parameters: float = NAN
    fusion_parameters: float = NAN
    flops: float = NAN
    fusion_flops: float = NAN
    rows_per_second: float = NAN
    epochs: float = NAN
    latency_ms: float = NAN
    forward_ms: float = NAN
    metrics: dict[str, float] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)
    gaps: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def flat(self) -> dict[str, Any]:
        """One level of named values, as a line of a CSV has them; None for NaN."""
        nested = ("metrics", "without", "gaps", "problems")
        flat_row = {name: value for name, value in asdict(self).items() if name not in nested}
        flat_row |= dict(self.metrics)
        flat_row |= {f"without {name}": value for name, value in self.without.items()}
        flat_row |= {f"{float(share):.0%} missing": value for share, value in self.gaps.items()}
        flat_row["problems"] = "; ".join(self.problems)
        return dict(plain(flat_row))

    def to_json(self) -> dict[str, Any]:
        """JSON values only; None for NaN."""
        return dict(plain(asdict(self)))


def aggregate(
    target: Target,
    truth: tuple[np.ndarray, np.ndarray],
    results: Sequence[dict[str, Any]],
    times: dict[str, dict[str, Any]],
    *,
    resamples: int,
    seed: int,
) -> list[Row]:
    """One row a method: fusions from best to worst, then models of one stream, then the constant.

    Every model is resampled on the same rows. A resample's figure for a method is the mean over its
    seeds; its difference from the reference is the mean over the seeds that both finished.

    Args:
        truth: the test rows' encoded targets, and which rows have one.
        results: what the runs wrote, ``method`` included.
        times: method → latencies.
    """
    good = [result for result in results if "error" not in result]
    drawn: dict[str, dict[int, np.ndarray]] = {}
    if good:
        values, present = truth
        known = target.in_units(values[present])
        guesses = np.array([result["answers"] for result in good])
        figures = bootstrap(target, known, guesses, resamples=resamples, seed=seed)
        for result, line in zip(good, figures, strict=True):
            drawn.setdefault(result["method"], {})[result["seed"]] = line
    by_method: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_method.setdefault(result["method"], []).append(result)
    main = target.primary
    rows = [
        _row(runs, main, drawn.get(name, {}), drawn.get(REFERENCE, {}), times.get(name, {}))
        for name, runs in by_method.items()
    ]
    references = [r for r in by_method.get(REFERENCE, []) if "error" not in r]
    rows = [_compared(row, by_method[row.method], references, main) for row in rows]
    return _ordered(_corrected(rows))


def _row(
    runs: Sequence[dict[str, Any]],
    main: str,
    mine: dict[int, np.ndarray],
    reference: dict[int, np.ndarray],
    times: dict[str, Any],
) -> Row:
    good = [run for run in runs if "error" not in run]
    method, role = runs[0]["method"], runs[0]["role"]
    reasons = [f"seed {run['seed']}: {run['error']}" for run in runs if "error" in run]
    if not good:
        return Row(method, role, problems=reasons)
    reached = [_number(run["metrics"][main]) for run in good]
    low, high = interval(np.mean(list(mine.values()), axis=0))
    both = sorted(mine.keys() & reference.keys())
    averages: dict[str, float] = {}
    if both and method != REFERENCE:
        gap = np.mean([mine[seed] - reference[seed] for seed in both], axis=0)
        averages["difference_low"], averages["difference_high"] = interval(gap)
        if role == "fusion":
            averages["p"] = p_value(gap)
    costs = ("parameters", "fusion_parameters", "flops", "fusion_flops", "rows_per_second")
    return Row(
        method,
        role,
        seeds=len(good),
        mean=float(np.mean(reached)),
        std=float(np.std(reached, ddof=1)) if len(good) > 1 else NAN,
        low=low,
        high=high,
        **averages,
        **{name: _average([run.get(name) for run in good]) for name in (*costs, "epochs")},
        **{name: _number(times.get(name)) for name in ("latency_ms", "forward_ms")},
        metrics=_averages([run["metrics"] for run in good]),
        without=_averages([run["without"] for run in good]),
        gaps=_averages([run["gaps"] for run in good]),
        problems=reasons,
    )


def _compared(
    row: Row, runs: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]], main: str
) -> Row:
    """The row with its difference from the reference, over the seeds that both finished."""
    theirs = {run["seed"]: _number(run["metrics"][main]) for run in references}
    gaps = [
        _number(run["metrics"][main]) - theirs[run["seed"]]
        for run in runs
        if "error" not in run and run["seed"] in theirs
    ]
    if not gaps or row.method == REFERENCE:
        return row
    return replace(row, difference=float(np.mean(gaps)))


def _corrected(rows: list[Row]) -> list[Row]:
    tested = [row for row in rows if not math.isnan(row.p)]
    corrected = dict(zip((r.method for r in tested), holm([r.p for r in tested]), strict=True))
    return [
        replace(row, p_holm=corrected[row.method]) if row.method in corrected else row
        for row in rows
    ]


def _ordered(rows: list[Row]) -> list[Row]:
    """Fusions first, then streams alone, then the constant; the best first, failed ones last."""
    roles = ("fusion", "alone", "constant")
    return sorted(
        rows,
        key=lambda row: (roles.index(row.role), -row.mean if row.mean == row.mean else math.inf),
    )


def _number(value: float | None) -> float:
    return NAN if value is None else float(value)


def _average(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else NAN


def _averages(figures: Sequence[dict[str, float | None]]) -> dict[str, float]:
    return {name: _average([figure[name] for figure in figures]) for name in figures[0]}
