"""What is left of the metrics when streams are absent or degraded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from plait.config import Config
from plait.devices import compute_threads, torch_threads
from plait.errors import TableError
from plait.evaluate import ALL, infer, natural
from plait.explain.degrade import degradations, degrade
from plait.explain.plain import plain
from plait.explain.shapley import EXACT
from plait.explain.subsets import score_subsets
from plait.features import Features, settings_for
from plait.frozen import Frozen
from plait.metrics import METRICS, PRIMARY, Metrics
from plait.model import Model
from plait.progress import Reporter, Silent
from plait.store import PreparedColumn
from plait.table.source import Table, open_table
from plait.table.target import Target

MOST = 2000
"""Rows at most that are degraded; evenly spaced where a table has more."""

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

Truths = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Curve:
    """A metric as one column gets worse.

    Attributes:
        column, how: what is degraded, and by which of `plait.explain.degrade.degradations`.
        metric: the primary one of the target.
        levels, values: from 0, untouched, to 1.
    """

    target: str
    column: str
    how: str
    metric: str
    levels: list[float]
    values: list[float]

    @property
    def relative(self) -> float:
        """Its relative robustness."""
        return relative_robustness(self.levels, self.values)


@dataclass(frozen=True)
class Robustness:
    """Metrics with streams absent, and as columns get worse.

    Attributes:
        source, rows: the table, and how many of its rows were used.
        present: target → for every subset of streams, the metrics when only those are seen. Every
            subset for up to eight streams; beyond, all of them, each alone and all but each.
        curves: one for each target, column and degradation.
        notes: what a reader must know.
    """

    source: str
    rows: int
    present: dict[str, dict[tuple[str, ...], Metrics]]
    curves: list[Curve]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        present = {
            name: [{"streams": streams, "metrics": told} for streams, told in found.items()]
            for name, found in self.present.items()
        }
        curves = [{**asdict(curve), "relative": curve.relative} for curve in self.curves]
        return dict(plain({**vars(self), "present": present, "curves": curves}))


def relative_robustness(levels: Sequence[float], values: Sequence[float]) -> float:
    """The mean of a metric over all levels of a degradation (MultiBench; Liang et al. 2021, appendix).

    ``τ = ∫ f(σ) dσ / (σ_max - σ_min)``, by trapezoids: the area under the curve of performance against
    imperfection.
    """
    heights, widths = np.asarray(values, float), np.diff(np.asarray(levels, float))
    return float((widths * (heights[1:] + heights[:-1]) / 2).sum() / widths.sum())


def effective_robustness(
    levels: Sequence[float], values: Sequence[float], baseline: Sequence[float]
) -> float:
    """How much better a model keeps up than a baseline that starts as well (the same appendix).

    ``ρ = ∫ (f(σ) - β(σ)) dσ / (σ_max - σ_min)`` with ``β(σ) = b(σ) + f(0) - b(0)`` and b the baseline's
    curve; MultiBench's baseline is late fusion. It sums over its levels where this integrates, so that
    the number of levels does not count. 0: as fast a decline as the baseline's.
    """
    shifted = [at + values[0] - baseline[0] for at in baseline]
    return relative_robustness(levels, values) - relative_robustness(levels, shifted)


@runtime_checkable
class _Fitted(Protocol):
    """What robustness needs of a `plait.predict.Predictor`."""

    config: Config
    features: Features
    model: Model
    frozen: Frozen
    targets: list[Target]


def robustness(
    fitted: _Fitted,
    source: Any,
    *,
    root: Path | str | None = None,
    levels: Sequence[float] = LEVELS,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Robustness:
    """Measure a model with streams absent and columns degraded, on a table with answers.

    Degradation is of prepared arrays: cells are decoded once.

    Args:
        source: anything `plait.fit` takes, with the targets.
        levels: from 0 up to 1, rising.
        columns: those to degrade; None: all.
        seed: of what chance does to the cells.

    Raises:
        TableError: the table lacks a target column, or no row has a known answer.

    Cost: ``2^streams`` fusions, then an answer of all rows for each column, degradation and level.
    """
    table = open_table(source, root=root)
    table.require([target.name for target in fitted.targets])
    notes = []
    if table.rows > MOST:
        notes.append(f"{MOST} of {table.rows} rows were used, evenly spaced")
        table = table.take(np.unique(np.linspace(0, table.rows - 1, MOST).astype(np.int64)))
    truths = _truths(fitted.targets, table)
    with torch_threads(fitted.config.threads or compute_threads()):
        cells = fitted.features.prepare(table, settings_for(table, fitted.config))
        prepared = fitted.frozen.encode(cells)
        notes += prepared.quarantine.summary()
        present = _present(fitted, prepared.columns, truths, table.rows)
        told = reporter or Silent()
        curves = list(_curves(fitted, prepared.columns, truths, levels, columns, seed, told))
    return Robustness(table.name, table.rows, present, curves, notes)


def _truths(targets: Sequence[Target], table: Table) -> Truths:
    found = {target.name: target.encode(table.cells(target.name))[:2] for target in targets}
    if not any(present.any() for _, present in found.values()):
        raise TableError(
            f"{table.name} has no row with a known answer in {', '.join(found)}: nothing can be "
            "measured."
        )
    return found


def _figures(target: Target, truths: Truths, scores: Float[np.ndarray, "rows outputs"]) -> Metrics:
    values, known = truths[target.name]
    truth: Shaped[np.ndarray, "rows ..."] = natural(target, values[known])
    return METRICS[target.kind](truth, natural(target, scores[known]))


def _present(
    fitted: _Fitted, columns: Mapping[str, PreparedColumn], truths: Truths, rows: int
) -> dict[str, dict[tuple[str, ...], Metrics]]:
    streams = list(fitted.model.streams)
    count = len(streams)
    every = (np.arange(2 ** min(count, EXACT))[:, None] >> np.arange(count) & 1).astype(bool)
    if count > EXACT:
        one = np.eye(count, dtype=bool)
        every = np.concatenate([one, ~one, np.ones((1, count), dtype=bool)])
    found = {
        target.name: np.zeros((len(every), rows, max(1, len(target.classes))), np.float32)
        for target in fitted.targets
    }
    for part in score_subsets(fitted.model, columns, np.arange(rows), every):
        for name, scores in part.scores.items():
            found[name][:, part.rows] = scores
    names = [tuple(np.array(streams, dtype=object)[kept].tolist()) for kept in every]
    return {
        target.name: {
            name: _figures(target, truths, scores)
            for name, scores in zip(names, found[target.name], strict=True)
        }
        for target in fitted.targets
        if truths[target.name][1].any()
    }


def _curves(
    fitted: _Fitted,
    columns: Mapping[str, PreparedColumn],
    truths: Truths,
    levels: Sequence[float],
    chosen: Sequence[str] | None,
    seed: int,
    reporter: Reporter,
) -> Iterator[Curve]:
    rows = np.arange(len(next(iter(columns.values()))))
    known = [target for target in fitted.targets if truths[target.name][1].any()]
    plans = [
        (name, how)
        for name in columns
        if chosen is None or name in chosen
        for how in degradations(fitted.features.modalities[name], columns[name])
    ]
    with reporter.stage("degrade", len(plans) * len(levels), "passes") as stage:
        for name, how in plans:
            values: dict[str, list[float]] = {target.name: [] for target in known}
            for level in levels:
                modality = fitted.features.modalities[name]
                worse = degrade(columns[name], modality, how, level, seed=seed)
                scores = infer(fitted.model, {**columns, name: worse}, rows)[ALL]
                for target in known:
                    told = _figures(target, truths, scores[target.name])
                    values[target.name].append(told[PRIMARY[target.kind]])
                stage.advance(1)
            for target in known:
                metric = PRIMARY[target.kind]
                yield Curve(target.name, name, how, metric, list(levels), values[target.name])
