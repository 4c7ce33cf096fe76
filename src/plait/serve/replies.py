"""Results as JSON values, in the user's own terms."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.answers.answers import decode
from plait.data.targets.target import Target
from plait.insight.explain.shapley import Game
from plait.serve.engine import Result


def answers(targets: Sequence[Target], result: Result) -> list[dict[str, Any]]:
    """An object a row: target → answer, and for classes its confidence and every probability."""
    columns = {target.name: _answers(target, result.scores[target.name]) for target in targets}
    rows = len(next(iter(columns.values())))
    return [{name: told[row] for name, told in columns.items()} for row in range(rows)]


def _answers(target: Target, scores: np.ndarray) -> list[dict[str, Any]]:
    values, told = decode(target, scores)
    if target.kind == "regression":
        return [{"answer": value} for value in values.tolist()]
    shares = told.astype(np.float64).round(6).tolist()
    found = []
    for value, row in zip(values.tolist(), shares, strict=True):
        entry: dict[str, Any] = {"answer": value}
        if target.kind != "multilabel":
            entry["confidence"] = max(row)
        found.append({**entry, "probabilities": dict(zip(target.classes, row, strict=True))})
    return found


def explanations(targets: Sequence[Target], result: Result) -> list[dict[str, Any]]:
    """An object a row: target → its answer, and what each stream contributed to which score."""
    whole = {name: scores[-1] for name, scores in result.scores.items()}
    rows = answers(targets, Result(whole, None, (), [], []))
    for target in targets:
        values = result.scores[target.name].astype(np.float64)
        if target.kind == "regression":
            values = np.stack([target.original(one[:, 0]) for one in values])[..., None]
        shares = Game(len(result.streams)).shapley(values).values
        for row, told in enumerate(rows):
            told[target.name]["scores"] = [
                {
                    "of": target.classes[index] if target.classes else target.name,
                    "nothing": _number(values[0, row, index]),
                    "everything": _number(values[-1, row, index]),
                    "contributions": {
                        stream: _number(share)
                        for stream, share in zip(result.streams, shares[:, row, index], strict=True)
                    },
                }
                for index in _explained(target, values[-1, row])
            ]
    return rows


def _explained(target: Target, scores: np.ndarray) -> Sequence[int]:
    """Which scores are explained: of the class that is answered, of each label, of the number."""
    if target.kind in ("binary", "multiclass"):
        return [int(scores.argmax())]
    return range(len(scores))


def _number(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)


def vectors(result: Result) -> list[list[float]]:
    """The fused vector of each row."""
    assert result.vectors is not None
    found: list[list[float]] = result.vectors.astype(np.float64).round(7).tolist()
    return found


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
