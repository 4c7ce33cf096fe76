"""`plait inspect`: how plait reads a table, without fitting anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plait.cli.app import (
    AsJson,
    Columns,
    Group,
    Ignore,
    Kinds,
    Root,
    TableArg,
    Targets,
    app,
    out,
    print_json,
)
from plait.cli.pairs import pairs_of
from plait.config import configure


def inspect_table(
    source: Any, targets: Sequence[str] = (), *, root: Path | str | None = None, **options: Any
) -> dict[str, Any]:
    """The proposed schema and targets of a table, as JSON values.

    Args:
        options: those of `plait.config.Config` that concern the data: columns, ignore, group,
            target_kinds, separator, and the caps.

    Raises:
        PlaitError: the table cannot be opened, or the request contradicts it.
    """
    # Here, since `plait --help` imports every command and needs none of these.
    from plait.data.features import settings_for
    from plait.data.table.schema import propose
    from plait.data.table.source import open_table
    from plait.data.targets.registry import propose_target

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
    proposed = [
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
        "targets": proposed,
    }


@app.command(rich_help_panel="Look")
def inspect(
    table: TableArg,
    target: Targets = [],  # noqa: B006 - typer copies it
    column: Columns = [],  # noqa: B006
    ignore: Ignore = [],  # noqa: B006
    group: Group = None,
    kind: Kinds = [],  # noqa: B006
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show the modality and role of each column, with the reason; check the data quality.

    Example: [bold]plait inspect train.csv --target label[/bold]
    """
    from plait.cli.inspect import inspect_table

    pairs = pairs_of({"--column": column, "--kind": kind})
    inspected = inspect_table(
        table,
        target,
        root=root,
        columns=pairs["--column"],
        ignore=tuple(ignore),
        group=group,
        target_kinds=pairs["--kind"],
    )
    if as_json:
        print_json(inspected)
        return
    from plait.cli.tables import show_schema

    show_schema(out, inspected["schema"], inspected["targets"])
