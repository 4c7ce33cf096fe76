"""`plait export`: a fitted model as ONNX graphs, which need no torch."""

from dataclasses import asdict
from typing import Annotated

import typer

from plait.cli.app import (
    OUTPUT,
    READ,
    AsJson,
    BundleArg,
    Quiet,
    Root,
    app,
    print_json,
    reporter_for,
    say,
)
from plait.cli.app import out as console

Output = Annotated[
    str, typer.Option("--out", "-o", help="Folder to export to.", rich_help_panel=OUTPUT)
]
Single = Annotated[
    bool, typer.Option("--single", help="Also write everything as one graph, model.onnx.")
]
Int8 = Annotated[
    bool, typer.Option("--int8", help="Quantise to 8-bit integers: about a third of the size.")
]
Labelled = Annotated[
    str | None,
    typer.Option(help="Labelled table to measure the cost of --int8 on.", rich_help_panel=READ),
]
Calibrate = Annotated[
    str | None,
    typer.Option(
        help="Table to calibrate the scales of --int8 on. Default: dynamic scales.",
        rich_help_panel=READ,
    ),
]
MaxDrop = Annotated[
    float | None, typer.Option(help="Most that --int8 may cost in the metric. Default: 0.01.")
]


@app.command(rich_help_panel="Ship")
def export(
    bundle: BundleArg,
    output: Output,
    single: Single = False,
    int8: Int8 = False,
    table: Labelled = None,
    calibrate: Calibrate = None,
    max_drop: MaxDrop = None,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as ONNX graphs that need no torch, and check that they give the same answers.

    `plait predict` and `plait serve` use the result, without torch.

    Example: [bold]plait export runs/a --out app[/bold]
    """
    from plait.export import export as export_model
    from plait.predictor.predictor import load

    exported = export_model(
        load(bundle),
        output,
        single=single,
        int8=int8,
        calibrate=calibrate,
        table=table,
        root=root,
        max_drop=max_drop,
        reporter=reporter_for(quiet),
    )
    if as_json:
        print_json(asdict(exported))
        return
    say(console, f"Exported to {exported.folder}, {exported.megabytes:.1f} MB")
    say(
        console,
        f"Its scores differ from the fitted model's by at most {exported.golden:.1e} on golden rows and "
        f"by at most {exported.random:.1e} on random ones, with any streams missing",
    )
    if exported.http is not None:
        say(console, f"Served over HTTP, its answers to golden rows agree to {exported.http:.1e}")
    if exported.whole is not None:
        say(console, f"These figures are before int8 ({exported.int8}), at {exported.whole:.1f} MB")
    for cost in exported.costs:
        say(console, f"{cost.summary()}: {cost.drop:+z.4f} lost")
