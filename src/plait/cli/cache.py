"""`plait cache`: what plait keeps to be quick, and how to empty it."""

from typing import Annotated

import typer

from plait.cli.app import AsJson, app, out, print_json


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete everything in it.")] = False,
    trim: Annotated[
        float | None, typer.Option(min=0, help="Delete the oldest until it is this small, in GB.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show or clear the store of prepared columns and opened tables.

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
