"""The few figures that a model card and TensorBoard carry, of the held-out rows of a fit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from plait.answers.plain import plain
from plait.data.store import PreparedColumn
from plait.data.table.source import Table
from plait.data.targets.scores import precise
from plait.data.targets.target import Target
from plait.insight.diagnose.mistakes import confusion
from plait.insight.diagnose.slices import Slices, slices
from plait.insight.explain.calibration import reliability
from plait.insight.explain.shapley import MAX_EXACT, Game
from plait.insight.fitted import Fitted
from plait.model.infer import score_views

MAX_ROWS = 500
"""Held-out rows that are looked at, evenly spaced where there are more."""

MAX_SLICES = 5
MAX_CLASSES = 50
"""Classes up to which a confusion matrix is kept."""


class _Judged(NamedTuple):
    """One target's answers on the rows that are looked at, and which of the true ones are known."""

    target: Target
    scores: Shaped[np.ndarray, "subsets rows ..."]
    values: np.ndarray
    known: Bool[np.ndarray, " rows"]


def brief(
    fitted: Fitted,
    columns: Mapping[str, PreparedColumn],
    table: Table,
    rows: Int64[np.ndarray, " held"],
    encoded: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    """Target → contributions, worst slices, reliability and confusion, as JSON values.

    Contributions are Shapley values of the primary metric (`plait.insight.explain.shapley`), and the
    mean absolute ones of the rows' scores; left out beyond eight streams, where they would take long.

    Args:
        columns: the prepared columns of the whole table.
        rows: the held-out ones.
        encoded: target → values and presence of all rows of the table.
    """
    spread = rows[np.unique(np.linspace(0, len(rows) - 1, MAX_ROWS).astype(np.int64))]
    streams, own = list(fitted.model.streams), table.take(spread)
    game = Game(len(streams)) if len(streams) <= MAX_EXACT else None
    every = np.ones((1, len(streams)), bool) if game is None else game.subsets
    scores = score_views(fitted.model, columns, spread, every[:, None]).scores
    group, kinds = fitted.config.group, dict(fitted.schema.inputs)
    if group:
        kinds[group] = "categorical"
    figures = {}
    for target in fitted.targets:
        values, known = (part[spread] for part in encoded[target.name])
        if not known.any():
            continue
        judged = _Judged(target, precise(scores[target.name]), values, known)
        errors = target.errors(values, judged.scores[-1])
        worst = slices(own, errors, known, leave_out=list(encoded), kinds=kinds)
        figures[target.name] = _figures(judged, worst)
        if game is not None:
            figures[target.name]["contributions"] = _contributions(judged, game, streams)
        if target.name in fitted.held.calibration:
            calibration = fitted.held.calibration[target.name]
            figures[target.name]["calibration"] = calibration.summary(target.name)
    return dict(plain(figures))


def _figures(judged: _Judged, worst: Slices) -> dict[str, Any]:
    """Worst slices, reliability and confusion."""
    target, scores, values, known = judged
    whole = scores[-1]
    figures: dict[str, Any] = {
        "rows": int(known.sum()),
        "slices": [vars(slice_) for slice_ in worst.found[:MAX_SLICES]],
        "slices_looked_at": worst.looked_at,
        "error": worst.overall,
    }
    if target.calibrated:
        figures["reliability"] = reliability(values[known], whole[known]).to_json()
    if target.exclusive and len(target.classes) <= MAX_CLASSES:
        guess = whole[known].argmax(axis=1)
        figures["confusion"] = confusion(values[known], guess, len(target.classes))
        figures["classes"] = list(target.classes)
    return figures


def _contributions(judged: _Judged, game: Game, streams: Sequence[str]) -> dict[str, Any]:
    target, scores, values, known = judged
    metric = target.primary
    figures = np.array(
        [target.measure(values[known], scores_of[known])[metric] for scores_of in scores]
    )
    rows = np.abs(game.shapley(target.row_scores(scores)).values).mean(axis=1)
    return {
        "metric": metric,
        "fused": float(figures[-1]),
        "empty": float(figures[0]),
        "values": dict(zip(streams, game.shapley(figures).values.tolist(), strict=True)),
        "importance": dict(zip(streams, rows.tolist(), strict=True)),
    }
