"""`plait predict`: one prediction per row of a table."""

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.app import (
    OUTPUT,
    AsJson,
    BundleArg,
    Quiet,
    Root,
    TableArg,
    answerer,
    app,
    err,
    out,
    print_json,
    reporter_for,
    say,
)
from plait.errors import counted


@app.command(rich_help_panel="Use")
def predict(
    bundle: BundleArg,
    table: TableArg,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .csv, .tsv, .jsonl or .parquet.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(
            help="Leave the answer empty if the confidence is below this, for example 0.7.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict every row of a table, in order.

    Example: [bold]plait predict runs/a new.csv -o answers.csv[/bold]
    """
    from plait.answers.abstain import check_threshold, withhold
    from plait.data.table.answers import check_output, write_table

    check_threshold(abstain_below)
    if output is not None:
        check_output(output, table)
    answers = withhold(
        answerer(bundle).answer(table, root=root, reporter=reporter_for(quiet)), abstain_below
    )
    columns = answers.to_columns()
    for note in answers.notes():
        say(err, f"! {note}")
    if output is not None:
        write_table(output, columns)
        if len(answers.quarantine):
            listed = Path(output).with_suffix(".unreadable.csv")
            answers.quarantine.to_csv(listed)
            cells = counted(len(answers.quarantine), "unreadable cell is", "unreadable cells are")
            say(err, f"{cells} listed in {listed}")
    if as_json:
        unreadable = [[e.row, e.column, e.reason] for e in answers.quarantine.entries]
        print_json({"answers": columns, "unreadable": unreadable, "absent": answers.absent})
    elif output is None:
        from plait.cli.tables import show_answers

        show_answers(out, columns)
    else:
        say(out, f"{counted(len(answers), 'answer')} written to {output}")
