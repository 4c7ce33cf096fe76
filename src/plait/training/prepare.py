"""What comes before training, once for a table: states, architecture, arrays, frozen tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

from plait.config import Config
from plait.data.features import Features, PreparedTable
from plait.data.modalities.base import Settings
from plait.data.store import Store
from plait.data.table.source import Table
from plait.devices import choose_device
from plait.display.progress import Reporter
from plait.model.backbones import choose, frozen_encoders, open_all
from plait.model.blueprint import Blueprint, plan_model
from plait.model.frozen import Frozen
from plait.model.pretrained.base import Backbone
from plait.training.dataset import Dataset
from plait.training.options import check_options


@dataclass(frozen=True)
class Preparation:
    """How a table's columns become what the encoders read.

    Attributes:
        features: cells to arrays.
        plan: the architecture.
        backbones: column → its pretrained encoder with its weights.
    """

    features: Features
    plan: Blueprint
    backbones: Mapping[str, Backbone]


def prepare(
    table: Table, data: Dataset, config: Config, settings: Settings, reporter: Reporter
) -> Preparation:
    """Decide, fetch and fit, before any cell is prepared.

    Raises:
        PlaitError: what is wrong with the options or with a checkpoint.
    """
    inputs = data.schema.inputs
    check_options(config, data)
    chosen = choose(config, inputs, table, data.train, settings, reporter)
    features = Features.fit(
        table, inputs, data.train, settings, share=config.share, given=chosen.states
    )
    records, backbones = open_all(config, features.modalities, chosen)
    return Preparation(features, plan_model(config, features, records), backbones)


def frozen_of(ground: Preparation, config: Config) -> Frozen:
    """The encoders that run once a cell."""
    return frozen_encoders(
        ground.plan.frozen,
        ground.features.states,
        ground.backbones,
        keep_cells=config.pretrain != "none" or bool(config.reconstruct),
    )


def encode(
    frozen: Frozen, prepared: PreparedTable, config: Config, reporter: Reporter
) -> PreparedTable:
    """Run the frozen encoders over a whole table, into the store."""
    device = choose_device(config.device)[0]
    return frozen.encode(prepared, store=Store(), reporter=reporter, device=device)
