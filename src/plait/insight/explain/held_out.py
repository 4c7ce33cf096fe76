"""What the validation rows tell about answers: temperatures, conformal scores, a neighbourhood.

Fitting looks at the validation rows more than once: early stopping and the choice of the best epoch
go by them, trust is fitted to them (`plait.training.trust`), and then, on the answers that come of
that, one temperature a target and the conformal scores. Each takes one or a handful of numbers from
them, so what they promise is slightly too good; a test table says by how much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.data.targets.target import Target
from plait.insight.explain.calibration import Calibration, calibrate
from plait.insight.explain.conformal import held_scores
from plait.insight.explain.outlier import Neighbourhood
from plait.model.infer import encoded, in_order
from plait.model.model import Model

DOCUMENT = "held_out.json"
ARRAYS = "held_out.safetensors"


@dataclass(frozen=True)
class HeldOut:
    """What is kept of the validation rows.

    Attributes:
        calibration: target → its temperature, for targets with probabilities.
        conformal: target → method → the sorted scores of `plait.insight.explain.conformal`.
        outlier: where the rows lie; None where there were too few.
    """

    calibration: dict[str, Calibration] = field(default_factory=dict)
    conformal: dict[str, dict[str, Float[np.ndarray, " rows"]]] = field(default_factory=dict)
    outlier: Neighbourhood | None = None

    def notes(self) -> list[str]:
        """What was decided for the user."""
        return [calibration.summary(name) for name, calibration in self.calibration.items()]

    def to_json(self) -> dict[str, Any]:
        """The part that is no array."""
        return {
            "calibration": {
                name: calibration.to_json() for name, calibration in self.calibration.items()
            },
            "conformal": {name: list(scores) for name, scores in self.conformal.items()},
            "outlier": None if self.outlier is None else {"k": self.outlier.k},
        }

    def arrays(self) -> dict[str, Tensor]:
        """The part that is arrays."""
        arrays = {
            f"conformal.{number}.{method}": torch.from_numpy(scores)
            for number, by_method in enumerate(self.conformal.values())
            for method, scores in by_method.items()
        }
        if self.outlier is not None:
            arrays["outlier.bank"] = torch.from_numpy(self.outlier.bank)
            arrays["outlier.distances"] = torch.from_numpy(self.outlier.distances)
        return arrays

    @classmethod
    def restored(cls, data: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "HeldOut":
        """What `to_json` and `arrays` gave; nothing where both are empty.

        Raises:
            KeyError: an array is not there.
            ValueError: a temperature is no positive number.
        """
        if not data:
            return cls()
        outlier = data["outlier"] and Neighbourhood(
            arrays["outlier.bank"].numpy(),
            arrays["outlier.distances"].numpy(),
            int(data["outlier"]["k"]),
        )
        conformal = {
            name: {method: arrays[f"conformal.{number}.{method}"].numpy() for method in methods}
            for number, (name, methods) in enumerate(data["conformal"].items())
        }
        calibration = {
            name: Calibration.from_json(written) for name, written in data["calibration"].items()
        }
        return cls(calibration, conformal, outlier)


def apply_temperatures(model: Model, calibration: Mapping[str, Calibration]) -> None:
    """Let the heads' probabilities be the calibrated ones; a target without one keeps its own."""
    for name, head in zip(model.targets, model.heads, strict=True):
        if name in calibration:
            head.temperature = calibration[name].temperature  # type: ignore[assignment]


def learn(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    targets: Sequence[Target],
    truths: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> HeldOut:
    """What held-out rows tell of a trained model, whose temperatures are set on the way.

    Args:
        rows: the held-out rows.
        truths: target → values and presence of all rows of the table.
    """
    wanted = [target.name for target in targets if target.calibrated or target.conformal]
    logits, vectors = _pass(model, columns, rows, wanted)
    calibration = {}
    for target in targets:
        values, present = (part[rows] for part in truths[target.name])
        if target.calibrated:
            known = logits[target.name][torch.from_numpy(present)].numpy()
            calibration[target.name] = calibrate(values[present], known)
    apply_temperatures(model, calibration)
    conformal = {}
    for target, head in zip(targets, model.heads, strict=True):
        values, present = (part[rows] for part in truths[target.name])
        if present.any() and target.conformal:
            scores = head.scores(logits[target.name]).numpy()[present]  # type: ignore[operator]
            conformal[target.name] = held_scores(target, values[present], scores)
    return HeldOut(calibration, conformal, Neighbourhood.fit(vectors))


@torch.no_grad()
def _pass(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    names: Sequence[str],
) -> tuple[dict[str, Float[Tensor, "rows outputs"]], Float[np.ndarray, "rows width"]]:
    """Some targets' logits and the fused vectors of some rows, in order."""
    order, vectors = [], []
    logits: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for places, tokens in encoded(model, columns, rows):
        fused = model.fuse(tokens)
        order.append(places)
        vectors.append(fused.vector.float().numpy())
        for name, values in model.answer(fused).items():
            if name in logits:
                logits[name].append(values.float().numpy())
    whole = {name: torch.from_numpy(in_order(parts, order)) for name, parts in logits.items()}
    return whole, in_order(vectors, order)
