"""`plait evaluate`: metrics of a model on a labelled table."""

from typing import Annotated

import typer

from plait.cli.app import (
    AsJson,
    BundleArg,
    Quiet,
    Root,
    TableArg,
    app,
    out,
    print_json,
    reporter_for,
)


@app.command(rich_help_panel="Use")
def evaluate(
    bundle: BundleArg,
    table: TableArg,
    root: Root = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples; 0 leaves out the confidence intervals.")
    ] = 200,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a labelled table: with all streams, with each alone, and without each.

    Example: [bold]plait evaluate runs/a test.csv[/bold]
    """
    from plait.predictor.predictor import load

    evaluation = load(bundle).evaluate(
        table, root=root, seed=seed, resamples=resamples, reporter=reporter_for(quiet)
    )
    if as_json:
        print_json(evaluation.to_json())
        return
    from plait.cli.tables import show_evaluation

    show_evaluation(out, evaluation.to_json())
