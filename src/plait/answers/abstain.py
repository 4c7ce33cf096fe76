"""Abstaining when the confidence is low: the rows it costs, the errors it avoids."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from plait.answers.answers import Answers
from plait.errors import ConfigError


@dataclass(frozen=True)
class RiskCoverage:
    """Error rate against the fraction of rows answered, most confident first (El-Yaniv & Wiener 2010).

    Attributes:
        coverage: share of rows answered, rising to 1.
        risk: share of the answered rows that is wrong.
        threshold: the lowest confidence of the answered rows.
        area: the mean risk over all coverages (AURC; Geifman et al. 2019): 0 is best.
        best_area: the area if every correct row had a higher confidence than every wrong one.
    """

    coverage: list[float]
    risk: list[float]
    threshold: list[float]
    area: float
    best_area: float

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)


def risk_coverage(
    right: Bool[np.ndarray, " rows"], confidence: Float[np.ndarray, " rows"]
) -> RiskCoverage:
    """The curve over all rows; rows of equal confidence are answered together.

    ``risk(c) = wrong among the c·n most confident / (c·n)``, ``area = Σ_i risk(i / n) / n``. Within a
    tie every order is equally likely, so the expected number of wrong ones grows evenly.

    Raises:
        ValueError: there are no rows.
    """
    rows = len(right)
    if not rows:
        raise ValueError("a risk-coverage curve needs at least one row, got none")
    order = np.argsort(-confidence, kind="stable")
    wrong, sure = (~right[order]).astype(np.float64), confidence[order]
    ends = np.append(np.flatnonzero(np.diff(sure)), rows - 1)
    errors = np.interp(
        np.arange(rows + 1), np.append(0, ends + 1), np.append(0, wrong.cumsum()[ends])
    )
    answered = np.arange(1, rows + 1)
    best = np.sort(wrong).cumsum()
    return RiskCoverage(
        coverage=((ends + 1) / rows).tolist(),
        risk=(errors[ends + 1] / (ends + 1)).tolist(),
        threshold=sure[ends].astype(np.float64).tolist(),
        area=float((errors[1:] / answered).mean()),
        best_area=float((best / answered).mean()),
    )


def check_threshold(below: float | None) -> None:
    """Refuse a threshold that is no probability, before any row is answered.

    Raises:
        ConfigError: saying what is expected.
    """
    if below is not None and not 0 <= below <= 1:
        raise ConfigError([f"abstain_below={below}: a probability between 0 and 1, such as 0.7."])


def withhold(answers: Answers, below: float | None) -> Answers:
    """The same answers, None where the confidence is below a threshold; with None, as they are.

    Targets without a confidence, such as numbers, are answered as ever.

    Raises:
        ConfigError: the threshold is no probability, or no target has a confidence.
    """
    check_threshold(below)
    if below is None:
        return answers
    values, abstained = dict(answers.values), {}
    for target in answers.targets:
        confidence = target.confidence(answers.scores[target.name])
        if confidence is None:
            continue
        held_back = confidence < below
        cells = values[target.name].astype(object)
        cells[held_back] = None
        values[target.name], abstained[target.name] = cells, held_back
    if not abstained:
        first = answers.targets[0]
        raise ConfigError(
            [
                f"abstain_below: '{first.name}' is {first.noun}, whose answers have no confidence. "
                "predict_set gives intervals."
            ]
        )
    return replace(answers, values=values, abstained=abstained)
