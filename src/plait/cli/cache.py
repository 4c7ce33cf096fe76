"""`plait cache`: the cache of prepared columns and opened tables, shown, trimmed or cleared."""

from typing import Annotated

import typer

from plait.cli.app import AsJson, app, out, print_json


@app.command(rich_help_panel="This machine")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete the whole cache.")] = False,
    trim: Annotated[
        float | None,
        typer.Option(min=0, help="Delete the oldest entries down to this size, in GB."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show, trim or clear the cache of prepared columns and opened tables.

    Example: [bold]plait cache --trim 5[/bold]
    """
    from plait.cli.tables import show_facts
    from plait.data import cache as store

    gone = store.clear() if clear else []
    if trim is not None:
        gone = store.trim(cap=int(trim * 1e9))
    left = store.entries()
    facts = {
        "folder": str(store.cache_folder()),
        "entries": len(left),
        "megabytes": round(sum(entry.size for entry in left) / 1e6, 3),
        "cap_gigabytes": store.cap_bytes() / 1e9,
        "deleted": len(gone),
        "deleted_megabytes": round(sum(entry.size for entry in gone) / 1e6, 3),
    }
    if as_json:
        print_json(facts)
    else:
        show_facts(out, {"Cache": {name: str(value) for name, value in facts.items()}})
