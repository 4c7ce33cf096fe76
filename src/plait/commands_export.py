"""`plait export`: a model that answers without torch."""

from dataclasses import asdict
from typing import Annotated

import typer

from plait.commands import AsJson, BundleArg, Quiet, _print_json, _reporter, app, say
from plait.commands import out as console


@app.command()
def export(
    bundle: BundleArg,
    output: Annotated[str, typer.Option("--out", "-o", help="Folder to export to.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as ONNX graphs that answer without torch, after checking that they answer alike.

    Answer with it by `plait predict`, also where only plait[runtime] is installed.

    Example: [bold]plait export runs/a --out app[/bold]
    """
    from plait.export import export as export_model
    from plait.predict import load

    found = export_model(load(bundle), output, reporter=_reporter(quiet))
    if as_json:
        _print_json(asdict(found))
        return
    say(console, f"Exported to {found.folder}, {found.megabytes:.1f} MB")
    say(
        console,
        f"Its scores differ from the fitted model's by {found.golden:.1e} at most on golden rows, and "
        f"by {found.random:.1e} on random ones, whichever streams are missing",
    )
