"""`plait demo`: the whole way on data made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.app import AsJson, Quiet, app, out, print_json, reporter_for, say


@app.command()
def demo(
    out_folder: Annotated[
        str, typer.Option("--out", "-o", help="Folder for data and model.")
    ] = "demo-run",
    rows: Annotated[int, typer.Option(min=50, help="Training rows to make.")] = 1200,
    seed: Annotated[int, typer.Option(help="Of the data and of the fit.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows at most.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a table that needs fusion, fit it, and measure it on voices nobody has heard.

    Example: [bold]plait demo[/bold]
    """
    from plait.cli.tables import show_evaluation
    from plait.recipes.demo.run import run

    found = run(Path(out_folder), rows=rows, seed=seed, epochs=epochs, reporter=reporter_for(quiet))
    if as_json:
        print_json(found)
        return
    show_evaluation(out, found["test"])
    for name, text in found["next"].items():
        say(out, f"{name}: {text}")
