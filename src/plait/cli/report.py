"""`plait report`: a model on a table, as one HTML page."""

from typing import Annotated

import typer

from plait.cli.app import (
    AsJson,
    BundleArg,
    Quiet,
    Root,
    TableArg,
    app,
    print_json,
    reporter_for,
    say,
)
from plait.cli.app import out as console

Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", help="File to write. Default: report.html in the model's folder."
    ),
]
LanguageOption = Annotated[str, typer.Option(help="Of the page: en or zh.")]


@app.command()
def report(
    bundle: BundleArg,
    table: TableArg,
    output: Output = None,
    language: LanguageOption = "en",
    train: Annotated[
        str | None, typer.Option(help="The table the model was fitted to, to compare with.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows looked at, at most. Default: 2000.")
    ] = None,
    root: Root = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn, from 0.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write what a model does on a table, and how far to trust it, as one HTML page.

    Example: [bold]plait report runs/a test.csv[/bold]
    """
    from dataclasses import replace
    from pathlib import Path

    from plait.insight.report.context import Limits
    from plait.insight.report.report import FILE, check_language, check_path
    from plait.predictor.predictor import load

    check_language(language)
    if output is not None:
        check_path(output, table, train)
    model = load(bundle)
    path = model.report(
        table,
        output if output is not None else Path(bundle) / FILE,
        root=root,
        language=language,
        train=train,
        run=bundle,
        limits=None if rows is None else replace(Limits(), rows=rows),
        seed=seed,
        reporter=reporter_for(quiet),
    )
    size = path.stat().st_size
    if as_json:
        print_json({"report": str(path), "bytes": size})
        return
    say(console, f"The report is {path} ({size / 1e6:.1f} MB, one file, opens in any browser)")
