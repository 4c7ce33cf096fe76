"""What a head says of some rows: dense numbers, or a sequence per row with its scores.

Dense scores are a float array ``[rows, outputs]``, ragged ones an object array ``[rows]`` of `Steps`.
Both are indexed, joined and split along the rows alike, by numpy itself, and several views of the same
rows are one more axis in front: ``[views, rows, outputs]`` or ``[views, rows]``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped

Scores = Shaped[np.ndarray, "rows ..."]
"""Dense or ragged scores of some rows."""


@dataclass(frozen=True, eq=False)
class Steps:
    """One row's sequence.

    Attributes:
        ids: what each step says.
        scores: of each step, such as its probability.
    """

    ids: Int64[np.ndarray, " steps"]
    scores: Float[np.ndarray, " steps"]

    def __len__(self) -> int:
        return len(self.ids)

    def to_json(self) -> dict[str, list[Any]]:
        """JSON values only."""
        return {"ids": self.ids.tolist(), "scores": self.scores.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Steps":
        """What `to_json` gave."""
        return cls(np.array(data["ids"], np.int64), np.array(data["scores"], np.float32))


def ragged(rows: Iterable[Any]) -> Shaped[np.ndarray, " rows"]:
    """Something of its own length per row, as an object array."""
    parts = list(rows)
    whole = np.empty(len(parts), dtype=object)
    for row, part in enumerate(parts):
        whole[row] = part  # one by one: numpy would take parts of one length for an axis
    return whole


def is_ragged(scores: Shaped[np.ndarray, "..."]) -> bool:
    """Whether each row has a sequence of its own."""
    return scores.dtype == object


def finite(scores: Shaped[np.ndarray, "..."]) -> bool:
    """Whether every score is a number."""
    if is_ragged(scores):
        return all(bool(np.isfinite(row.scores).all()) for row in scores.ravel())
    return bool(np.isfinite(scores).all())


def precise(scores: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Dense scores in float64; ragged ones as they are."""
    return scores if is_ragged(scores) else scores.astype(np.float64)


def to_json(row: Any) -> Any:
    """One row's scores as JSON values: a number, a list, or what `Steps.to_json` gives."""
    return row.to_json() if isinstance(row, Steps) else row.tolist()


def gap(row: Any, expected: Any) -> float:
    """The largest difference of one row's scores from what `to_json` gave of the expected ones.

    Infinite where either is no number, and between sequences that differ in a step.
    """
    if isinstance(row, Steps):
        wanted = Steps.from_json(expected)
        if not np.array_equal(row.ids, wanted.ids):
            return float("inf")
        row, expected = row.scores, wanted.scores
    difference = np.abs(np.ravel(row) - np.ravel(np.array(expected))).max(initial=0.0)
    return float(difference) if difference == difference else float("inf")


def gaps(got: Scores, want: Scores) -> Float[np.ndarray, " rows"]:
    """`gap` of each row."""
    return np.array([gap(had, to_json(wanted)) for had, wanted in zip(got, want, strict=True)])
