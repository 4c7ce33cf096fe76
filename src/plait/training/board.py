"""What `plait.insight.diagnose.brief` found, as scalars in a run's TensorBoard log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


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


def _named(one: Mapping[str, Any]) -> str:
    if one["how"] == "missing":
        return f"{one['column']} missing"
    if one["how"] == "range":
        return f"{one['column']} {one['low']:.4g} to {one['high']:.4g}"
    return f"{one['column']} is {one['value']}"
