"""`plait demo`: the whole workflow on generated data."""

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.app import OUTPUT, AsJson, Quiet, app, out, print_json, reporter_for, say


@app.command(rich_help_panel="Fit")
def demo(
    out_folder: Annotated[
        str, typer.Option("--out", "-o", help="Folder for data and model.", rich_help_panel=OUTPUT)
    ] = "demo-run",
    rows: Annotated[int, typer.Option(min=50, help="Training rows to generate.")] = 1200,
    seed: Annotated[int, typer.Option(help="Seed of the data and of the fit.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Most passes over the rows.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Generate a table that needs fusion, fit a model, and evaluate it on unseen speakers.

    Example: [bold]plait demo[/bold]
    """
    from plait.cli.tables import show_evaluation
    from plait.recipes.demo.run import run

    result = run(
        Path(out_folder), rows=rows, seed=seed, epochs=epochs, reporter=reporter_for(quiet)
    )
    if as_json:
        print_json(result)
        return
    show_evaluation(out, result["test"])
    for name, text in result["next"].items():
        say(out, f"{name}: {text}")
