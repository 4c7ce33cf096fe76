"""What `plait.insight.diagnose.brief` found, as scalars in a run's TensorBoard log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(training: Path, result: Mapping[str, Any], step: int) -> None:
    """Add to the log beside the trainer's scalars.

    Args:
        training: the run's folder for what is no part of the bundle.
        result: what `brief` gave.
        step: that the figures belong to.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(training / "logs"))
    try:
        for name, metrics in result.items():
            for key, value in scalars(metrics).items():
                writer.add_scalar(f"{name}/{key}", value, step)
    finally:
        writer.close()


def scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """One target's figures that are single numbers; those that are not known are left out."""
    shares = result.get("contributions", {})
    values = {
        "held_out_error": result["error"],
        "calibration_error": result.get("reliability", {}).get("error"),
        **{f"contribution/{name}": value for name, value in shares.get("values", {}).items()},
        **{f"slice_error/{_named(slice_)}": slice_["error"] for slice_ in result["slices"]},
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _named(slice_: Mapping[str, Any]) -> str:
    if slice_["how"] == "missing":
        return f"{slice_['column']} missing"
    if slice_["how"] == "range":
        return f"{slice_['column']} {slice_['low']:.4g} to {slice_['high']:.4g}"
    return f"{slice_['column']} is {slice_['value']}"
