"""`plait impute`: fill a table's missing cells."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from plait.cli.app import (
    OUTPUT,
    AsJson,
    BundleArg,
    Quiet,
    Root,
    TableArg,
    app,
    err,
    print_json,
    reporter_for,
    say,
)
from plait.cli.app import out as console
from plait.errors import UnreadableColumnError, counted


@app.command(rich_help_panel="Use")
def impute(
    bundle: BundleArg,
    table: TableArg,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .csv, .tsv, .jsonl or .parquet.",
            rich_help_panel=OUTPUT,
        ),
    ],
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fill the missing cells of a table from the other cells of their rows.

    Generated images, sounds and signals go into a folder beside the file.
    The model needs decoders: fit it with --pretrain.

    Example: [bold]plait impute runs/a new.csv -o filled.csv[/bold]
    """
    from plait.data.modalities import registry
    from plait.data.table.answers import check_output
    from plait.data.table.source import open_table
    from plait.predictor.filled_table import check_beside, spoken, write_filled
    from plait.predictor.predictor import load

    check_output(output, table)
    model = load(bundle)
    media = [name for name, kind in model.features.modalities.items() if registry.get(kind).media]
    base = open_table(table, root=root, empty=True).root
    folder = check_beside(output, base, media)
    filled = model.impute(table, root=root, reporter=reporter_for(quiet))
    for note in filled.notes():
        say(err, f"! {note}")
    if unread := filled.unread():
        raise UnreadableColumnError(
            f"no cell of {', '.join(map(repr, unread))} could be read, so nothing was written: every "
            f"value would be generated. Paths are relative to '{base}'; --root sets another folder. If "
            "the files are lost, empty those cells."
        )
    write_filled(output, filled, folder, base)
    if media and base is not None and base.resolve() != Path(output).resolve().parent:
        say(
            err,
            f"! paths in {output} are relative to '{base}': read it with --root {quote(str(base))}",
        )
    if as_json:
        rows = {name: which.nonzero()[0].tolist() for name, which in filled.filled.items()}
        print_json({"out": output, "rows": len(filled), "filled": rows, "absent": filled.absent})
        return
    listed = Path(output).with_suffix(".filled.csv")
    say(console, f"{spoken(filled.counts())}; {counted(len(filled))} written to {output}")
    say(console, f"The filled cells are listed in {listed}")
