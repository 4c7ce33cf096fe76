"""`plait report`: an HTML page on how a model does on a table."""

from typing import Annotated

import typer

from plait.cli.app import (
    OUTPUT,
    READ,
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
        "--output",
        "-o",
        help="File to write. Default: report.html in the model's folder.",
        rich_help_panel=OUTPUT,
    ),
]
LanguageOption = Annotated[
    str, typer.Option(help="Language of the page: en or zh.", rich_help_panel=OUTPUT)
]


@app.command(rich_help_panel="Use")
def report(
    bundle: BundleArg,
    table: TableArg,
    output: Output = None,
    language: LanguageOption = "en",
    train: Annotated[
        str | None,
        typer.Option(
            help="Table that the model was fitted to, to compare with.", rich_help_panel=READ
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Most rows to use. Default: 2000.", rich_help_panel=READ),
    ] = None,
    root: Root = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random, 0 or more.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write an HTML page on how a model does on a table, and how far to trust it.

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
    say(
        console,
        f"The report was written to {path} ({size / 1e6:.1f} MB, a single file for any browser)",
    )
