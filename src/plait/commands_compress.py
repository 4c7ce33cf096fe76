"""`plait compress`: a fitted model made smaller, from the command line."""

from typing import Annotated

import typer

from plait.commands import (
    AsJson,
    BatchSize,
    BundleArg,
    Epochs,
    LearningRate,
    Overwrite,
    Quiet,
    Root,
    TableArg,
    _print_json,
    _reporter,
    app,
    say,
)
from plait.commands import out as console


@app.command()
def compress(
    bundle: BundleArg,
    table: TableArg,
    output: Annotated[str, typer.Option("--out", "-o", help="Folder for the smaller model.")],
    to: Annotated[
        float, typer.Option("--to", help="Share of the learnt weights that may stay, 0 to 1.")
    ] = 0.25,
    way: Annotated[
        str,
        typer.Option(
            help="prune (keep the channels and heads that matter most), distil (learn from the model's "
            "answers) or both."
        ),
    ] = "both",
    stream: Annotated[
        list[str],
        typer.Option(
            "--stream", help="Only stream of the smaller model; repeatable. Default: all."
        ),
    ] = [],  # noqa: B006 - typer copies it
    test: Annotated[
        str | None, typer.Option(help="Table to measure both on. Default: the held-out rows.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Save nothing where the score falls by more, as 0.02."),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    overwrite: Overwrite = False,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a fitted model smaller and quicker, with the table it was fitted to.

    Layers become narrower: pruned, taught by the model's own answers, or both. What it costs in score
    and saves in size and time is shown, on --test or on the rows held out.

    Example: [bold]plait compress runs/a train.csv --to 0.25 --test test.csv --out runs/small[/bold]
    """
    from plait.compress import compress as make_smaller
    from plait.show import grid

    options = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    found = make_smaller(
        bundle,
        table,
        to=to,
        way=way,
        streams=stream or None,
        test=test,
        max_drop=max_drop,
        out=output,
        overwrite=overwrite,
        root=root,
        progress=_reporter(quiet),
        **{name: value for name, value in options.items() if value is not None},
    )
    if as_json:
        _print_json(found.to_json())
        return
    rows = [
        [
            name,
            f"{one.weights:,}",
            f"{one.megabytes:.2f}",
            f"{one.latency_ms:.1f}",
            f"{one.score:.4f}",
        ]
        for name, one in (("before", found.before), ("after", found.after))
    ]
    console.print(grid(["", "weights", "MB", "ms a row", "score"], rows))
    say(console, f"Score: the targets' main metric, on {found.rows}. Saved to {output}")
