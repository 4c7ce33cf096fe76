"""What `plait.insight.diagnose.brief` found, as scalars and pictures in a run's TensorBoard log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.display import pictures


def write(training: Path, found: Mapping[str, Any], step: int) -> None:
    """Add to the log beside the trainer's scalars.

    Args:
        training: the run's folder for what is no part of the bundle.
        found: what `brief` gave.
        step: that the figures belong to.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(training / "logs"))
    try:
        for name, told in found.items():
            for key, value in scalars(told).items():
                writer.add_scalar(f"{name}/{key}", value, step)
            for key, picture in drawn(told).items():
                writer.add_image(f"{name}/{key}", picture, step, dataformats="HWC")
    finally:
        writer.close()


def scalars(told: Mapping[str, Any]) -> dict[str, float]:
    """One target's figures that are single numbers; those that are not known are left out."""
    shares = told.get("contributions", {})
    found = {
        "held_out_error": told["error"],
        "calibration_error": told.get("reliability", {}).get("error"),
        **{f"contribution/{name}": value for name, value in shares.get("values", {}).items()},
        **{f"slice_error/{_named(one)}": one["error"] for one in told["slices"]},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def drawn(told: Mapping[str, Any]) -> dict[str, pictures.Picture]:
    """One target's pictures."""
    found = {}
    if "confusion" in told:
        counts = np.array(told["confusion"], np.float64)
        rows = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, rows, out=np.full_like(counts, np.nan), where=rows > 0)
        title = "Confusion: true class down, answer across"
        found["confusion"] = pictures.matrix(told["classes"], shares, title)
    if "reliability" in told:
        bins = told["reliability"]
        confidence, accuracy = (
            [np.nan if one is None else float(one) for one in bins[key]]
            for key in ("confidence", "accuracy")
        )
        found["reliability"] = pictures.reliability(confidence, accuracy, "Reliability")
    values = told.get("contributions", {}).get("values", {})
    known = {name: value for name, value in values.items() if value is not None}
    if known:
        title = f"What each stream adds to {told['contributions']['metric']}"
        found["contributions"] = pictures.bars(list(known), list(known.values()), title)
    return found


def _named(one: Mapping[str, Any]) -> str:
    if one["how"] == "missing":
        return f"{one['column']} missing"
    if one["how"] == "range":
        return f"{one['column']} {one['low']:.4g} to {one['high']:.4g}"
    return f"{one['column']} is {one['value']}"
