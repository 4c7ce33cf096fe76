"""What a training loop is given besides model, rows and options, and how far it has come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plait.display.progress import Reporter, Silent
from plait.model.tokens import ColumnBatch

Validate = Callable[[Any], Mapping[str, float]]
"""Gives at least ``score`` (higher is better) and ``loss`` on the validation rows; a NaN loss ends the
training."""

Vary = Callable[[dict[str, ColumnBatch]], dict[str, ColumnBatch]]
"""Gives a batch's columns, augmented."""

Log = Callable[[int, Mapping[str, float]], None]
"""Told step and scalars, for TensorBoard."""


@dataclass(frozen=True)
class Session:
    """How long a training may last, and where it reports and saves.

    Attributes:
        epochs, patience: as in the configuration, resolved by the preset.
        checkpoint: the folder to save to while training; None saves nothing.
        log: for TensorBoard.
        title: what the progress bar calls it.
    """

    epochs: int
    patience: int
    reporter: Reporter = field(default_factory=Silent)
    checkpoint: Path | None = None
    log: Log | None = None
    title: str = "train"


@dataclass
class Progress:
    """How far a training has come; all of it is in the checkpoint."""

    epoch: int = 0
    step: int = 0
    updates: int = 0
    best_score: list[float] = field(default_factory=list)
    best_epoch: int = -1
    waited: int = 0
    bad_steps: int = 0
    splits: int = 1
    loss_sum: float = 0.0
    seconds: float = 0.0
    clock: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
