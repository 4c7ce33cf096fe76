"""One number: a regression target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from plait.config import Config
from plait.data.modalities.base import Problem, is_missing
from plait.data.targets.cells import Cells, as_number, short
from plait.data.targets.target import Encoded, Metrics, Target
from plait.errors import SchemaError, all_of, counted

MAX_NUMBERED_CLASSES = 20
"""Whole numbers with more distinct values than this are regressed."""

MAX_DEVIATIONS = 1e18
"""Standard deviations that a number may lie off the mean: its square still fits 32 bits."""


@dataclass(frozen=True)
class Numbers(Target):
    """One number per row.

    ``mean`` and ``scale`` are its mean and standard deviation in its own units, without the outer
    hundredth at either end.
    """

    head: ClassVar[str] = "regress"
    primary: ClassVar[str] = "r2"
    higher_is_better: ClassVar[Mapping[str, bool]] = {"r2": True, "mae": False, "rmse": False}
    in_own_units: ClassVar[tuple[str, ...]] = ("mae", "rmse")
    conformal: ClassVar[tuple[str, ...]] = ("absolute",)
    numeric: ClassVar[bool] = True
    noun: ClassVar[str] = "a number"
    usual: ClassVar[str] = "mean"
    error: ClassVar[tuple[str, str]] = ("mean absolute error", "平均绝对误差")
    widget: ClassVar[str] = "Number"
    kind: ClassVar[str] = "regression"
    chinese: ClassVar[str] = "回归"

    @classmethod
    def evidence(cls, cells: Cells) -> str | None:
        """Cells are numbers, too many or too finely divided to number classes."""
        if cells.listed or len(cells.counts) < 3:
            return None
        real = [number for number in cells.numbers if number is not None]
        if len(real) == len(cells):
            return _why(real, len(cells.counts)) or None
        # Numbers with a few cells of other text among them are a mistake, not that many classes.
        if len(real) >= 0.9 * len(cells) and _why(real, len(set(real))):
            pairs = zip(cells.present, cells.numbers, strict=True)
            stray = next(cell for cell, number in pairs if number is None)
            raise SchemaError(
                f"the target '{cells.name}' holds numbers in {len(real)} of {len(cells)} cells, but "
                f"{short(stray)} is none. Correct or clear those cells, or say that they are "
                "classes with kind 'multiclass'."
            )
        return None

    @classmethod
    def learn(cls, cells: Cells, *, kind: str, separator: str | None, why: str) -> "Target":
        """Mean and standard deviation between the outer hundredths, which may be far out."""
        name, rows = cells.name, len(cells)
        if cells.listed:
            raise SchemaError(f"the target '{name}' holds lists, which are multilabel, not {kind}.")
        pairs = list(zip(cells.present, cells.numbers, strict=True))
        bad = next((cell for cell, number in pairs if number is None), None)
        if bad is not None:
            count = sum(number is None for number in cells.numbers)
            raise SchemaError(
                f"the target '{name}' is a regression target, but {count} of {counted(rows, 'cell')} "
                f"{'is not a number' if count == 1 else 'are not numbers'}, such as {short(bad)}. "
                "Correct or clear those cells, or name another kind."
            )
        finite = [n for n in cells.numbers if n is not None and math.isfinite(n)]
        numbers = np.array(finite, dtype=np.float64)
        if len(numbers) and not 1e-100 < np.abs(numbers).max() < 1e100:
            raise SchemaError(
                f"the target '{name}' has numbers of the size {np.abs(numbers).max():g}, beyond what "
                "can be computed with. Scale them first, for instance by taking logarithms."
            )
        if len(numbers) == 0 or numbers.min() == numbers.max():
            shown = f"the single value {numbers[0]:g}" if len(numbers) else "no finite number"
            if len({str(cell) for cell in cells.present}) > 1 and len(numbers):
                shown = f"values that differ too little for a 64-bit float, about {numbers[0]:g},"
            raise SchemaError(
                f"the target '{name}' has {shown} in {all_of(rows)}: nothing to learn. "
                "Name another target."
            )
        low, high = np.quantile(numbers, [0.01, 0.99])
        inner = np.clip(numbers, low, high)
        if inner.std() == 0:
            inner = numbers
        reason = f"{why}, from {numbers.min():g} to {numbers.max():g}"
        return cls(name, mean=float(inner.mean()), scale=float(inner.std()), reason=reason)

    def encode(self, cells: Sequence[object]) -> Encoded:
        """Standardised numbers float32 ``[rows]``; text, infinity and the like are problems."""
        values = np.zeros(len(cells), dtype=np.float32)
        present = np.zeros(len(cells), dtype=bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            number = as_number(cell)
            if number is None or not math.isfinite(number):
                problems.append(Problem(row, f"{short(cell)} is not a finite number"))
                continue
            scaled = (number - self.mean) / self.scale
            if abs(scaled) > MAX_DEVIATIONS:
                problems.append(Problem(row, f"{short(cell)} is too large a number"))
            else:
                values[row], present[row] = scaled, True
        return values, present, problems

    def decode(self, values: Float[np.ndarray, " rows"]) -> np.ndarray:
        """Numbers in the target's own units."""
        return self.original(values)

    def original(self, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Standardised numbers in the target's own units, float64."""
        return np.asarray(values, dtype=np.float64) * self.scale + self.mean

    def strangers(self, rows: int, names: str, known: str) -> tuple[str, str]:
        """What to say of rows with a cell that is no number, in English and Chinese."""
        hold = counted(rows, "row holds", "rows hold")
        return (
            f"{self.name}: {hold} no number ({names}), and no figure counts them.",
            f"{self.name}：{rows:,} 行不是数字（{names}），未计入指标。",
        )

    def strata(self, values: np.ndarray, present: np.ndarray) -> np.ndarray:
        """The numbers; rows without one lie a standard deviation below the mean."""
        return np.where(present, values, -1)

    def goal(
        self, values: Float[np.ndarray, " rows"], present: Bool[np.ndarray, " rows"]
    ) -> np.ndarray:
        """Standardised numbers, NaN where there is none."""
        return np.where(present, values, np.float32(np.nan))

    def loss_options(self, config: Config | None, values: np.ndarray | None) -> dict[str, Any]:
        """Huber's loss or the squared error."""
        return {} if config is None else {"kind": config.regression_loss}

    def in_units(self, scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, " rows"]:
        """The numbers in the target's own units."""
        return self.original(scores.reshape(len(scores)))

    def answer(self, scores: Float[np.ndarray, "rows 1"]) -> np.ndarray:
        """The numbers in the target's own units."""
        return self.in_units(scores)

    def metrics(
        self, truth: Float[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"]
    ) -> Metrics:
        """See `regression`."""
        return regression(truth, scores)

    def loss(self, metrics: Metrics) -> float:
        """The squared error over the variance."""
        return 1 - metrics["r2"]

    def compared(self, scores: Float[np.ndarray, "rows 1"]) -> list[Any]:
        """The numbers in the target's own units."""
        return [float(f"{value:.7g}") for value in self.in_units(scores).tolist()]

    def resample(
        self,
        truth: Shaped[np.ndarray, " rows"],
        compared: Shaped[np.ndarray, "models rows"],
        weights: Float[np.ndarray, "resamples rows"],
    ) -> Float[np.ndarray, "models resamples"]:
        """1 - squared error over squared distance from the resample's mean; NaN if that is nil."""
        centred = truth - truth.mean()
        count = weights.sum(axis=1)
        spread = weights @ centred**2 - (weights @ centred) ** 2 / count
        error = ((compared - truth) ** 2) @ weights.T
        return 1 - error / np.where(spread > 1e-12, spread, np.nan)

    def constant(self, values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " 1"]:
        """The mean."""
        return values.mean(axis=0, keepdims=True)

    def errors(
        self, values: np.ndarray, scores: Float[np.ndarray, "rows 1"]
    ) -> Float[np.ndarray, " rows"]:
        """The absolute error in the target's own units."""
        return np.abs(self.in_units(values) - self.in_units(scores))

    def row_scores(
        self, scores: Float[np.ndarray, "*subsets rows 1"]
    ) -> Float[np.ndarray, "*subsets rows"]:
        """The number itself, in its own units."""
        return self.original(scores[..., 0])

    @property
    def score_unit(self) -> str:
        """The target's own units, which go by its name."""
        return self.name

    def replied(self, replies: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, " rows"]:
        """The numbers."""
        return np.array([reply["answer"] for reply in replies], np.float64)


def _why(numbers: list[float], distinct: int) -> str:
    """Why numbers are regressed, or an empty string when they number classes."""
    if any(not number.is_integer() for number in numbers if math.isfinite(number)):
        return f"numbers with fractions, {distinct} distinct"
    if distinct > MAX_NUMBERED_CLASSES:
        return f"{distinct} distinct whole numbers, more than {MAX_NUMBERED_CLASSES}"
    if 2 * distinct > len(numbers):
        return f"{distinct} distinct whole numbers in {len(numbers)} rows"
    return ""


def regression(target: Float[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"]) -> Metrics:
    """Metrics of a number, in the target's own units."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    return {
        "r2": float(r2_score(target, scores)) if len(target) > 1 else float("nan"),
        "mae": float(mean_absolute_error(target, scores)),
        "rmse": float(mean_squared_error(target, scores) ** 0.5),
    }
