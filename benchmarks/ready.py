"""A table made ready for training, step by step as `plait.fit` does it, for the loops to share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.data import Source
from plait.config import Config, configure
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.store import Store
from plait.data.table.source import Table, open_table
from plait.display.progress import Silent
from plait.model.assemble import build
from plait.model.augment import augment
from plait.model.blueprint import Blueprint, plan_model
from plait.model.frozen import Frozen
from plait.model.loader import Loader
from plait.model.model import Model
from plait.model.tokens import ColumnBatch
from plait.training.dataset import Dataset, read_dataset
from plait.training.prepare import frozen_of, prepare


@dataclass(frozen=True)
class Ready:
    """Everything before the first step of training; all targets are classes."""

    config: Config
    data: Dataset
    features: Features
    plan: Blueprint
    prepared: PreparedTable
    goals: dict[str, np.ndarray]

    def model(self) -> Model:
        """The model with its first weights, the same at every call."""
        torch.manual_seed(self.config.seed)
        values = {name: goal[self.data.train] for name, goal in self.goals.items()}
        return build(
            self.plan, self.features, self.data.targets, config=self.config, encoded=values
        )

    def loader(self) -> Loader:
        return Loader(
            self.prepared.columns,
            self.goals,
            self.data.train,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
        )

    def vary(self, columns: dict[str, ColumnBatch]) -> dict[str, ColumnBatch]:
        return augment(columns, self.features.modalities, self.features.states)


def some(source: Any, root: Any, rows: int | None) -> Table:
    """The table, or ``rows`` of its rows from all over it."""
    table = open_table(source, root=root)
    if rows is None or rows >= table.rows:
        return table
    return table.take(np.linspace(0, table.rows - 1, rows).astype(np.int64))


def ready(source: Source, *, rows: int | None = None, **options: Any) -> Ready:
    """Schema, split, preprocessing, prepared columns and blueprint of a training table."""
    config = configure(**{**source.options, **options})
    table = some(source.train, source.folder, rows)
    data = read_dataset(table, [source.target], config)
    settings = settings_for(table, config)
    features = Features.fit(table, data.schema.inputs, data.train, settings, share=config.share)
    prepared = features.prepare(table, settings, store=Store())
    goals = {
        name: np.where(present, values, -1) for name, (values, present) in data.encoded.items()
    }
    return Ready(config, data, features, plan_model(config, features), prepared, goals)


def laid(
    source: Source, store: Store, *, rows: int | None = None, **options: Any
) -> tuple[Ready, Frozen]:
    """The same with pretrained encoders: the columns prepared for them, and those that are frozen."""
    config = configure(**{**source.options, **options})
    table = some(source.train, source.folder, rows)
    data = read_dataset(table, [source.target], config)
    settings = settings_for(table, config)
    ground = prepare(table, data, config, settings, Silent())
    prepared = ground.features.prepare(table, settings, store=store)
    goals = {
        name: np.where(present, values, -1) for name, (values, present) in data.encoded.items()
    }
    found = Ready(config, data, ground.features, ground.plan, prepared, goals)
    return found, frozen_of(ground, config)
