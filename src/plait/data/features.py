"""The columns of a table as prepared columns: fitted once, applied anywhere in the same way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plait.config import Config
from plait.data.media import Limits, Media
from plait.data.modalities import registry
from plait.data.modalities.base import Settings, State, joined
from plait.data.store import PreparedColumn, Store
from plait.data.table.quarantine import Quarantine
from plait.data.table.source import Table
from plait.devices import cores
from plait.display.progress import Reporter, Silent, Stage

CHUNK_CELLS = 16_384
"""Cells of a light column that are Python objects at any one time."""


def settings_for(table: Table, config: Config) -> Settings:
    """What modalities need to open this table's media."""
    media = Media(table.root, Limits.from_config(config), named=table.named_root)
    return Settings(media=media, preset=config.preset, threads=cores())


@dataclass(frozen=True)
class PreparedTable:
    """A table's input columns, ready for batching.

    Attributes:
        columns: by name.
        quarantine: the unreadable cells.
        absent: input columns that the table lacks; they count as missing in every row.
    """

    columns: dict[str, PreparedColumn]
    quarantine: Quarantine
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Features:
    """How input columns become arrays.

    Attributes:
        modalities: each input column's modality.
        states: each input column's fitted preprocessing.
    """

    modalities: dict[str, str]
    states: dict[str, State]

    @classmethod
    def fit(
        cls,
        table: Table,
        modalities: Mapping[str, str],
        rows: np.ndarray,
        settings: Settings,
        *,
        share: Sequence[str] = (),
        given: Mapping[str, State] | None = None,
    ) -> "Features":
        """Learn every column's preprocessing from some rows, the training rows.

        Args:
            share: modalities whose columns get one state between them, for a shared encoder.
            given: column → a state that is not to be learnt, such as a pretrained encoder's.
        """
        states: dict[str, State] = dict(given or {})
        for name, kind in modalities.items():
            if name in states:
                continue
            joint = [other for other in modalities if modalities[other] == kind and kind in share]
            columns = joint or [name]
            cells = (
                cell for column in columns for chunk in table.chunks(column, rows) for cell in chunk
            )
            states |= dict.fromkeys(columns, registry.get(kind).fit(cells, settings))
        return cls(dict(modalities), {name: states[name] for name in modalities})

    def prepare(
        self,
        table: Table,
        settings: Settings,
        *,
        store: Store | None = None,
        reporter: Reporter | None = None,
    ) -> PreparedTable:
        """All rows of a table, in their order.

        Args:
            store: keeps what is slow to make; None keeps everything in memory.
        """
        prepared = PreparedTable({}, Quarantine())
        reporter = reporter or Silent()
        present = set(table.columns)
        prepared.absent.extend(name for name in self.modalities if name not in present)
        with reporter.stage("prepare", table.rows * len(self.modalities), "cells") as stage:
            for name in self.modalities:
                column = self._column(table, name, settings, store, stage)
                prepared.columns[name] = column
                prepared.quarantine.add(name, column.problems)
                prepared.quarantine.shorten(name, column.shortened)
        return prepared

    def _column(
        self, table: Table, name: str, settings: Settings, store: Store | None, stage: Stage
    ) -> PreparedColumn:
        modality, state = registry.get(self.modalities[name]), self.states[name]
        if name not in table.columns:
            cells: Sequence[object] = [None] * table.rows
            return PreparedColumn.from_prepared(modality.prepare(cells, state, settings))
        if store is not None and modality.stored:
            return store.prepare(
                modality,
                lambda rows: table.cells(name, rows),
                table.rows,
                state,
                settings,
                stage.advance,
            )
        parts = []
        for cells in table.chunks(name, size=CHUNK_CELLS):
            parts.append(modality.prepare(cells, state, settings))
            stage.advance(len(cells))
        return PreparedColumn.from_prepared(
            joined(parts or [modality.prepare([], state, settings)])
        )

    def describe(self) -> dict[str, str]:
        """Each column's preprocessing in a few words."""
        return {
            name: registry.get(kind).describe(self.states[name])
            for name, kind in self.modalities.items()
        }

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {"modalities": self.modalities, "states": self.states}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Features":
        """What `to_json` gave.

        Raises:
            UnregisteredError: there is no such modality here.
        """
        for kind in data["modalities"].values():
            registry.MODALITIES.recorded(kind)
        return cls(dict(data["modalities"]), dict(data["states"]))
