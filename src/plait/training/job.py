"""One fit as a value: all that is decided before the first step, and where its results go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from plait.config import Config
from plait.data.features import Features, PreparedTable
from plait.display.progress import Silent, Stopwatch
from plait.model.blueprint import Blueprint
from plait.model.encoders.registry import TABULAR
from plait.model.frozen import Frozen
from plait.model.pretrained.base import Backbone
from plait.sealed import TRAINING
from plait.training.balance.rates import stream_rates
from plait.training.dataset import Dataset
from plait.training.distill import Distillation


@dataclass(frozen=True)
class Job:
    """One fit, whether it runs here, in a worker process or on a cluster.

    It holds arrays, weights and plain values, no open file: ``data``, ``features``, ``plan`` and
    ``config`` all have a JSON form. Only ``reporter`` belongs to the process that runs it.

    Attributes:
        data: the rows, their targets and the split.
        features: cells to arrays.
        plan: the architecture.
        prepared: the input columns as arrays, after the frozen encoders.
        config: the options, as the bundle keeps them.
        frozen: the pretrained encoders that have run already, once per cell.
        backbones: column → its pretrained encoder with its weights, to be tuned.
        distillation: what another model has to teach.
        folder: for checkpoints and logs; None saves nothing.
        resume: continue from the last checkpoint in ``folder``.
        reporter: shows progress, and keeps times and notes for the record.
    """

    data: Dataset
    features: Features
    plan: Blueprint
    prepared: PreparedTable
    config: Config
    frozen: Frozen = field(default_factory=lambda: Frozen({}))
    backbones: Mapping[str, Backbone] = field(default_factory=dict)
    distillation: Distillation | None = None
    folder: Path | None = None
    resume: bool = False
    reporter: Stopwatch = field(default_factory=lambda: Stopwatch(Silent()))

    @property
    def training(self) -> Path | None:
        """The run's subfolder for what is no part of the bundle."""
        return self.folder / TRAINING if self.folder else None

    @property
    def loop_config(self) -> Config:
        """The options that the training loops read.

        ``lr_scale`` names streams alone, and pretraining and training get half of ``max_minutes`` each.
        """
        scale = stream_rates(self.config.lr_scale, self.stream_kinds, self.plan.shared)[0]
        minutes = self.config.max_minutes
        if minutes is not None and self.config.pretrain != "none":
            minutes /= 2
        return self.config.model_copy(update={"lr_scale": scale, "max_minutes": minutes})

    @property
    def stream_kinds(self) -> dict[str, str]:
        """Stream → its modality; "tabular" for the stream of all tabular columns."""
        return stream_kinds(self.plan, self.features)

    def goals(self) -> dict[str, np.ndarray]:
        """Target → encoded values of the whole table, missing ones marked as heads expect."""
        return {
            target.name: target.goal(*self.data.encoded[target.name])
            for target in self.data.targets
        }


def stream_kinds(plan: Blueprint, features: Features) -> dict[str, str]:
    """Stream → its modality; "tabular" for the stream of all tabular columns."""
    return {
        stream: TABULAR if stream == TABULAR else features.modalities[columns[0]]
        for stream, columns in plan.streams.items()
    }
