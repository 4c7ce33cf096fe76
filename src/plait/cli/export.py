"""`plait export`: a model that answers without torch."""

from dataclasses import asdict
from typing import Annotated

import typer

from plait.cli.app import AsJson, BundleArg, Quiet, Root, app, print_json, reporter_for, say
from plait.cli.app import out as console


@app.command()
def export(
    bundle: BundleArg,
    output: Annotated[str, typer.Option("--out", "-o", help="Folder to export to.")],
    single: Annotated[
        bool, typer.Option("--single", help="Write everything as one graph, model.onnx, too.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="In 8-bit numbers: about a third of the size.")
    ] = False,
    table: Annotated[
        str | None, typer.Option(help="Table with answers that tells what --int8 costs.")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Table whose rows fix the scales of --int8; without, they are dynamic."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Of the metric, that --int8 may cost at most. Default: 0.01."),
    ] = None,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as ONNX graphs that answer without torch, after checking that they answer alike.

    Answer with it by `plait predict`, also where only plait[runtime] is installed.

    Example: [bold]plait export runs/a --out app[/bold]
    """
    from plait.export import export as export_model
    from plait.predictor.predictor import load

    found = export_model(
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
        print_json(asdict(found))
        return
    say(console, f"Exported to {found.folder}, {found.megabytes:.1f} MB")
    say(
        console,
        f"Its scores differ from the fitted model's by {found.golden:.1e} at most on golden rows, and "
        f"by {found.random:.1e} on random ones, whichever streams are missing",
    )
    if found.http is not None:
        say(console, f"A server of it answers golden rows alike, to {found.http:.1e}")
    if found.whole is not None:
        say(console, f"That is before int8 ({found.int8}), {found.whole:.1f} MB")
    for one in found.costs:
        say(console, f"{one.told()}: {one.drop:+.4f} lost")
