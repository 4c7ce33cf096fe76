"""What is left of the metrics when streams are absent or degraded."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plait.answers.plain import plain
from plait.data.features import settings_for
from plait.data.store import PreparedColumn
from plait.data.table.source import Table, open_table
from plait.data.targets.target import Metrics, Target
from plait.display.progress import Reporter, Silent
from plait.errors import TableError
from plait.insight.explain.curves import (
    Curve,
    Truths,
    degraded_curves,
    judged,
    metrics_of,
)
from plait.insight.explain.shapley import MAX_EXACT
from plait.insight.fitted import Fitted
from plait.model.infer import score_views

MAX_DEGRADED_ROWS = 2000
"""Rows at most that are degraded; evenly spaced where a table has more."""

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


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
            name: [{"streams": streams, "metrics": metrics} for streams, metrics in subsets.items()]
            for name, subsets in self.present.items()
        }
        curves = [
            {**asdict(curve), "relative": curve.relative, "effective": curve.effective}
            for curve in self.curves
        ]
        return dict(plain({**vars(self), "present": present, "curves": curves}))


def robustness(
    fitted: Fitted,
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

    Cost: encoders once and ``2^streams`` fusions, then the degraded column's encoder and two fusions
    for each column, degradation and level.
    """
    table = open_table(source, root=root)
    table.require([target.name for target in fitted.targets])
    notes = []
    if table.rows > MAX_DEGRADED_ROWS:
        notes.append(f"{MAX_DEGRADED_ROWS} of {table.rows} rows were used, evenly spaced")
        table = table.take(
            np.unique(np.linspace(0, table.rows - 1, MAX_DEGRADED_ROWS).astype(np.int64))
        )
    truths = _truths(fitted.targets, table)
    with fitted.threads():
        cells = fitted.features.prepare(table, settings_for(table, fitted.config))
        prepared = fitted.frozen.encode(cells)
        notes += prepared.quarantine.summary()
        present = every_subset(fitted, prepared.columns, truths)
        curves = list(
            degraded_curves(
                fitted,
                prepared.columns,
                truths,
                levels=levels,
                chosen=columns,
                seed=seed,
                reporter=reporter or Silent(),
            )
        )
    return Robustness(table.name, table.rows, present, curves, notes)


def _truths(targets: Sequence[Target], table: Table) -> Truths:
    truths = {target.name: target.encode(table.cells(target.name))[:2] for target in targets}
    if not any(present.any() for _, present in truths.values()):
        raise TableError(
            f"{table.name} has no row with a known answer in {', '.join(truths)}: nothing can be "
            "measured."
        )
    return truths


def every_subset(
    fitted: Fitted, columns: Mapping[str, PreparedColumn], truths: Truths
) -> dict[str, dict[tuple[str, ...], Metrics]]:
    """Target that some row has → for every subset of streams, the metrics when only those are seen.

    Args:
        columns: prepared; the rows that are measured.
    """
    model, targets = fitted.model, judged(fitted, truths)
    streams, rows = list(model.streams), len(next(iter(columns.values())))
    count = len(streams)
    every = (np.arange(2 ** min(count, MAX_EXACT))[:, None] >> np.arange(count) & 1).astype(bool)
    if count > MAX_EXACT:
        alone = np.eye(count, dtype=bool)
        every = np.concatenate([alone, ~alone, np.ones((1, count), dtype=bool)])
    subset_scores = score_views(model, columns, np.arange(rows), every[:, None]).scores
    names = [tuple(np.array(streams, dtype=object)[kept].tolist()) for kept in every]
    return {
        target.name: {
            name: metrics_of(target, truths, scores)
            for name, scores in zip(names, subset_scores[target.name], strict=True)
        }
        for target in targets
    }
