"""Whether a probability means what it says, and one number a target that mends it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from plait.answers.plain import plain
from plait.data.targets.classes import calibration_error

MIN_CALIBRATION_ROWS = 20
"""Rows with a known answer that a temperature is fitted to at least."""

FOLDS = 5
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.25, 20.0
"""Bounds of a temperature. Where few validation rows hold no mistake, colder always seems better."""

Logits = Float[np.ndarray, "rows outputs"]
Truth = Shaped[np.ndarray, "rows ..."]
"""Class numbers ``[rows]``, or labels as 0 and 1 ``[rows, outputs]``."""


@dataclass(frozen=True)
class Calibration:
    """A target's temperature, and what it does to rows it was not fitted to.

    Attributes:
        temperature: what the target's logits are divided by; 1.0 where that would not help.
        rows: validation rows with a known answer.
        log_loss: before and after, in nats; None where there were too few rows.
        error: the expected calibration error, before and after.
    """

    temperature: float
    rows: int
    log_loss: tuple[float, float] | None = None
    error: tuple[float, float] | None = None

    @property
    def applied(self) -> bool:
        """Whether probabilities are other than the head's own."""
        return self.temperature != 1.0

    def summary(self, name: str) -> str:
        """The decision and its reason, in a sentence."""
        if self.log_loss is None or self.error is None:
            return (
                f"'{name}' is not calibrated: {self.rows} labelled validation rows, and a temperature "
                f"needs {MIN_CALIBRATION_ROWS}"
            )
        losses, errors = (
            f"{before:.4f} to {after:.4f}" for before, after in (self.log_loss, self.error)
        )
        change = f"log loss of validation rows {losses}, calibration error {errors}, cross-fitted"
        if self.applied:
            return f"'{name}' is calibrated by a temperature of {self.temperature:.3f}: {change}"
        return f"'{name}' is not calibrated, because a temperature would not help: {change}"

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """What `to_json` gave.

        Raises:
            ValueError: the temperature is no positive number.
        """
        pairs = {name: tuple(data[name]) if data[name] else None for name in ("log_loss", "error")}
        calibration = cls(
            float(data["temperature"]), int(data["rows"]), pairs["log_loss"], pairs["error"]
        )
        if not 0 < calibration.temperature < float("inf"):
            raise ValueError(f"a temperature is a positive number, got {calibration.temperature}")
        return calibration


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram (Guo et al. 2017, figure 1): what was promised and what came, bin by bin.

    Attributes:
        edges: of the bins, ``[bins + 1]``.
        count: answers in each bin.
        confidence, accuracy: their mean confidence and the share that was right; NaN in empty bins.
        error: the expected calibration error, ``Σ count / n · |accuracy - confidence|``.
    """

    edges: list[float]
    count: list[int]
    confidence: list[float]
    accuracy: list[float]
    error: float

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        return dict(plain(asdict(self)))


def reliability(truth: Truth, scores: Logits, *, bins: int = 15) -> Reliability:
    """How often answers of a given confidence are right.

    With classes an answer is the likeliest one and its confidence its probability (binary too). With
    labels every label of every row is an answer, and its confidence the label's probability.

    Args:
        truth: as `Truth`.
        scores: probabilities ``[rows, outputs]``.
        bins: of equal width.
    """
    right, confidence = _answers(truth, scores)
    # A confidence of exactly 1 belongs to the last bin.
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(which, of, bins) / count for of in (confidence, right)]
    edges = np.linspace(0, 1, bins + 1).tolist()
    error = calibration_error(right, confidence, bins) if len(right) else float("nan")
    return Reliability(edges, count.tolist(), means[0].tolist(), means[1].tolist(), error)


def _answers(
    truth: Truth, scores: Logits
) -> tuple[Bool[np.ndarray, " answers"], Float[np.ndarray, " answers"]]:
    """Whether each answer was right (a label: was there), and its confidence."""
    if truth.ndim == 2:
        return truth.ravel() > 0.5, scores.ravel()
    return scores.argmax(axis=1) == truth, scores.max(axis=1, initial=0)


def calibrate(truth: Truth, logits: Logits) -> Calibration:
    """Temperature scaling (Guo et al. 2017, eq. 9): ``softmax(z / T)``; for labels ``sigmoid(z / T)``.

    T minimises the log loss of the rows, by a bounded search over ``log T``. One T a target changes no
    answer and no order of answers. A fitted T never does worse on the rows it was fitted to, so the
    figures come from rows it was not fitted to: five folds, each with the T of the other four. T is
    used where it lowers that log loss, else it stays 1.

    Args:
        truth: as `Truth`; of rows with a known answer.
        logits: of the same rows.
    """
    rows = len(logits)
    if rows < MIN_CALIBRATION_ROWS:
        return Calibration(1.0, rows)
    # Every fifth row: contiguous folds of a sorted table would each lack classes.
    fold = np.arange(rows) % FOLDS
    others = np.empty(rows)
    for number in range(FOLDS):
        held = fold == number
        others[held] = _fitted(truth[~held], logits[~held])
    ones = np.ones(rows)
    losses = tuple(float(_losses(truth, logits, each).mean()) for each in (ones, others))
    errors = []
    for each in (ones, others):
        errors.append(calibration_error(*_answers(truth, probabilities(truth, logits, each))))
    better = losses[1] < losses[0]
    temperature = _fitted(truth, logits) if better else 1.0
    return Calibration(temperature, rows, (losses[0], losses[1]), (errors[0], errors[1]))


def _fitted(truth: Truth, logits: Logits) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        each = np.full(len(logits), np.exp(log_temperature))
        return float(_losses(truth, logits, each).mean())

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    # In the logarithm, halving and doubling are steps of one size.
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def probabilities(truth: Truth, logits: Logits, temperature: Float[np.ndarray, " rows"]) -> Logits:
    """Softmax, or a sigmoid for labels, of every row's logits over its temperature."""
    scaled = logits.astype(np.float64) / temperature[:, None]
    if truth.ndim == 2:
        # The sigmoid, without overflow for large negative logits.
        return np.exp(-np.logaddexp(0, -scaled))
    return np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))


def _losses(
    truth: Truth, logits: Logits, temperature: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """Each row's negative log likelihood; with labels, the mean over them."""
    scaled = logits.astype(np.float64) / temperature[:, None]
    if truth.ndim == 2:
        return (np.logaddexp(0, scaled) - truth * scaled).mean(axis=1)
    chosen = np.take_along_axis(scaled, truth[:, None], axis=1)[:, 0]
    return np.logaddexp.reduce(scaled, axis=1) - chosen
