"""The few figures that a model card and TensorBoard carry, of the held-out rows of a fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from plait.answers.plain import plain
from plait.data.store import PreparedColumn
from plait.data.table.source import Table
from plait.data.targets.target import Target
from plait.insight.diagnose.mistakes import confusion
from plait.insight.diagnose.slices import slices
from plait.insight.explain.calibration import Calibration, reliability
from plait.insight.explain.shapley import EXACT, Game
from plait.model.infer import score_views
from plait.model.model import Model

ROWS = 500
"""Held-out rows that are looked at, evenly spaced where there are more."""

SLICES = 5
CLASSES = 50
"""Classes up to which a confusion matrix is kept."""


def brief(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    table: Table,
    rows: Int64[np.ndarray, " held"],
    targets: Sequence[Target],
    encoded: Mapping[str, tuple[np.ndarray, np.ndarray]],
    modalities: Mapping[str, str],
    calibration: Mapping[str, Calibration],
) -> dict[str, Any]:
    """Target → contributions, worst slices, reliability and confusion, as JSON values.

    Contributions are Shapley values of the primary metric (`plait.insight.explain.shapley`), and the
    mean absolute ones of the rows' scores; left out beyond eight streams, where they would take long.

    Args:
        columns: the prepared columns of the whole table.
        rows: the held-out ones.
        encoded: target → values and presence of all rows of the table.
    """
    some = rows[np.unique(np.linspace(0, len(rows) - 1, ROWS).astype(np.int64))]
    streams = list(model.streams)
    game = Game(len(streams)) if len(streams) <= EXACT else None
    every = np.ones((1, len(streams)), bool) if game is None else game.subsets
    found = score_views(model, columns, some, every[:, None]).scores
    told = {}
    for target in targets:
        values, known = (part[some] for part in encoded[target.name])
        if known.any():
            scores, own = found[target.name].astype(np.float64), table.take(some)
            told[target.name] = _target(
                target, scores, values, known, game, streams, own, list(encoded), modalities
            )
            if target.name in calibration:
                told[target.name]["calibration"] = calibration[target.name].told(target.name)
    return dict(plain(told))


def _target(
    target: Target,
    scores: Float[np.ndarray, "subsets rows outputs"],
    values: np.ndarray,
    known: Bool[np.ndarray, " rows"],
    game: Game | None,
    streams: Sequence[str],
    table: Table,
    goals: Sequence[str],
    modalities: Mapping[str, str],
) -> dict[str, Any]:
    """One target's figures; ``goals`` are the columns not to slice by."""
    whole = scores[-1]
    worst = slices(table, target.errors(values, whole), known, leave_out=goals, kinds=modalities)
    told: dict[str, Any] = {
        "rows": int(known.sum()),
        "slices": [vars(one) for one in worst.found[:SLICES]],
        "slices_looked_at": worst.looked_at,
        "error": worst.overall,
    }
    if game is not None:
        told["contributions"] = _contributions(target, scores, values, known, game, streams)
    if target.calibrated:
        told["reliability"] = reliability(values[known], whole[known]).to_json()
    if target.exclusive and len(target.classes) <= CLASSES:
        guess = whole[known].argmax(axis=1)
        told["confusion"] = confusion(values[known], guess, len(target.classes))
        told["classes"] = list(target.classes)
    return told


def _contributions(
    target: Target,
    scores: Float[np.ndarray, "subsets rows outputs"],
    values: np.ndarray,
    known: Bool[np.ndarray, " rows"],
    game: Game,
    streams: Sequence[str],
) -> dict[str, Any]:
    metric = target.primary
    figures = np.array([target.measure(values[known], one[known])[metric] for one in scores])
    rows = np.abs(game.shapley(target.row_scores(scores)).values).mean(axis=1)
    return {
        "metric": metric,
        "fused": float(figures[-1]),
        "empty": float(figures[0]),
        "values": dict(zip(streams, game.shapley(figures).values.tolist(), strict=True)),
        "importance": dict(zip(streams, rows.tolist(), strict=True)),
    }
