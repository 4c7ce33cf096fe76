"""Results as JSON values, in the user's own terms."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.data.targets.scores import is_ragged
from plait.data.targets.target import Target
from plait.insight.explain.shapley import Game
from plait.serve.engine import Result


def answers(targets: Sequence[Target], result: Result) -> list[dict[str, Any]]:
    """An object a row: target → answer, and for classes its confidence and every probability."""
    columns = {target.name: target.replies(result.scores[target.name]) for target in targets}
    rows = len(next(iter(columns.values())))
    return [{name: column[row] for name, column in columns.items()} for row in range(rows)]


def explanations(targets: Sequence[Target], result: Result) -> list[dict[str, Any]]:
    """An object a row: target → its answer, and what each stream contributed to which score."""
    whole = {name: scores[-1] for name, scores in result.scores.items()}
    rows = answers(targets, Result(whole, None, (), [], []))
    for target in targets:
        values = result.scores[target.name]
        if is_ragged(values):
            values = target.row_scores(values)[..., None]
        else:
            values = values.astype(np.float64) * target.scale + target.mean
        shares = Game(len(result.streams)).shapley(values).values
        for row, reply in enumerate(rows):
            reply[target.name]["scores"] = [
                {
                    "of": name,
                    "nothing": _number(values[0, row, index]),
                    "everything": _number(values[-1, row, index]),
                    "contributions": {
                        stream: _number(share)
                        for stream, share in zip(result.streams, shares[:, row, index], strict=True)
                    },
                }
                for index, name in target.explained(values[-1, row]).items()
            ]
    return rows


def _number(value: float | np.floating[Any]) -> float:
    return round(float(value), 6) + 0.0  # no -0.0


def vectors(result: Result) -> list[list[float]]:
    """The fused vector of each row."""
    assert result.vectors is not None
    vectors: list[list[float]] = result.vectors.astype(np.float64).round(7).tolist()
    return vectors


def unreadable(result: Result, start: int = 0) -> list[dict[str, Any]]:
    """Cells that were unreadable, by row, column and reason."""
    return [
        {"row": start + entry.row, "column": entry.column, "reason": entry.reason}
        for entry in result.unreadable
    ]


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8", "replace"
    )
