"""What is to be learnt from a table: its columns, its targets, and which rows are held out."""

from dataclasses import dataclass

import numpy as np

from plait.config import Config
from plait.data.features import settings_for
from plait.data.table.copies import copy_groups
from plait.data.table.schema import Schema, propose
from plait.data.table.source import Table
from plait.data.table.split import split
from plait.data.targets.registry import KINDS, propose_target
from plait.data.targets.target import Target
from plait.errors import ConfigError, SchemaError, counted


@dataclass(frozen=True)
class Dataset:
    """A table made ready: what each column is, what each row's answer is, which rows are which."""

    table: Table
    schema: Schema
    targets: list[Target]
    encoded: dict[str, tuple[np.ndarray, np.ndarray]]
    train: np.ndarray
    validation: np.ndarray
    notes: list[str]

    def held_out(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Target → values and presence of the validation rows."""
        rows = self.validation
        return {
            name: (values[rows], present[rows]) for name, (values, present) in self.encoded.items()
        }


def read_dataset(table: Table, names: list[str], config: Config) -> Dataset:
    """Schema, targets and split."""
    if not names:
        raise ConfigError(["target: name at least one column to predict."])
    schema = propose(
        table,
        names,
        settings_for(table, config),
        columns=config.columns,
        ignore=config.ignore,
        group=config.group,
    )
    cells = {name: table.cells(name) for name in names}
    first = {
        name: propose_target(
            name,
            cells[name],
            kind=config.target_kinds.get(name),
            separator=_separator(name, names, config),
        )
        for name in names
    }
    notes = list(table.notes)
    values, present, _ = first[names[0]].encode(cells[names[0]])
    anywhere = np.any([first[name].encode(cells[name])[1] for name in names], axis=0)
    groups, copies = copy_groups(table, list(schema.inputs), _groups(table, config.group))
    if copies:
        repeats = counted(copies, "row repeats", "rows repeat")
        notes.append(
            f"{repeats} an earlier one in every input column; copies stay on one side of the split, so "
            "that no metric is computed on training rows"
        )
    strata = first[names[0]].strata(values, present)
    train, validation = split(
        strata, anywhere, share=config.validation, seed=config.seed, groups=groups
    )
    if not anywhere.all():
        rows = counted(
            int((~anywhere).sum()), "row has no target and was", "rows have no target and were"
        )
        notes.append(f"{rows} left out")
    targets = [
        propose_target(
            name,
            [cells[name][row] for row in train],
            kind=first[name].kind,
            separator=first[name].separator,
            named=name in config.target_kinds,
        )
        for name in names
    ]
    encoded = {target.name: target.encode(cells[target.name])[:2] for target in targets}
    return Dataset(table, schema, targets, encoded, train, validation, notes)


def _groups(table: Table, name: str | None) -> list[object] | None:
    if name is None:
        return None
    groups = table.cells(name)
    odd = next((cell for cell in groups if isinstance(cell, list | dict | np.ndarray)), None)
    if odd is not None:
        raise SchemaError(
            f"the group '{name}' holds {type(odd).__name__} cells; a group is one text or number per "
            "row."
        )
    return groups


def _separator(name: str, names: list[str], config: Config) -> str | None:
    """The separator is meant for the only target, or for those called multi-label."""
    kind = config.target_kinds.get(name)
    if len(names) == 1 or (kind is not None and KINDS[kind].separable):
        return config.separator
    return None
