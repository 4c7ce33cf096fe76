"""`plait inspect`: what plait makes of a table, without fitting anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plait.config import configure
from plait.data.features import settings_for
from plait.data.table.schema import propose
from plait.data.table.source import open_table
from plait.data.targets.kinds import propose_target


def look(
    source: Any, targets: Sequence[str] = (), *, root: Path | str | None = None, **options: Any
) -> dict[str, Any]:
    """The proposed schema and targets of a table, as JSON values.

    Args:
        options: those of `plait.config.Config` that concern the data: columns, ignore, group,
            target_kinds, separator, and the caps.

    Raises:
        PlaitError: the table cannot be opened, or the request contradicts it.
    """
    config = configure(**options)
    table = open_table(source, root=root)
    schema = propose(
        table,
        list(targets),
        settings_for(table, config),
        columns=config.columns,
        ignore=config.ignore,
        group=config.group,
    )
    found = [
        propose_target(
            name,
            table.cells(name),
            kind=config.target_kinds.get(name),
            separator=config.separator if len(targets) == 1 else None,
        ).to_json()
        for name in targets
    ]
    return {
        "table": table.name,
        "notes": list(table.notes),
        "schema": schema.to_json(),
        "targets": found,
    }
