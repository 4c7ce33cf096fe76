"""`plait compress`: a fitted model made smaller."""

from typing import Annotated, Any

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
from plait.cli.fit import BatchSize, Epochs, LearningRate, Overwrite

Output = Annotated[
    str,
    typer.Option("--out", "-o", help="Folder for the smaller model.", rich_help_panel=OUTPUT),
]
To = Annotated[float, typer.Option("--to", help="Fraction of the weights to keep, 0 to 1.")]
Way = Annotated[
    str,
    typer.Option(
        help="prune (keep the most important channels and attention heads), distil (train on the "
        "model's own predictions) or both."
    ),
]
Streams = Annotated[
    list[str],
    typer.Option("--stream", help="Stream to keep; repeatable. Default: all."),
]
Test = Annotated[
    str | None,
    typer.Option(
        help="Table to measure both models on. Default: the held-out rows.", rich_help_panel=READ
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(help="Save nothing if the score drops by more than this, for example 0.02."),
]


@app.command(rich_help_panel="Improve")
def compress(
    bundle: BundleArg,
    table: TableArg,
    output: Output,
    to: To = 0.25,
    way: Way = "both",
    stream: Streams = [],  # noqa: B006 - typer copies it
    test: Test = None,
    max_drop: MaxDrop = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    overwrite: Overwrite = False,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a fitted model smaller and faster, with the table it was fitted to.

    Its layers become narrower: pruned, distilled, or both. Score, size and
    latency before and after are measured on --test, or on the held-out rows.

    Example: [bold]plait compress runs/a train.csv --to 0.25 --test test.csv --out runs/small[/bold]
    """
    from plait.cli.tables import grid
    from plait.training.compress import compress as make_smaller

    options = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    compressed = make_smaller(
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
        progress=reporter_for(quiet),
        **{name: value for name, value in options.items() if value is not None},
    )
    if as_json:
        print_json(compressed.to_json())
        return
    head = ["", "weights", "MB", "ms per row", "score"]
    console.print(
        grid(head, [["before", *_cells(compressed.before)], ["after", *_cells(compressed.after)]])
    )
    say(console, f"Score: the main metric of the targets, on {compressed.rows}. Saved to {output}")


def _cells(size: Any) -> list[str]:
    """Size, latency and score of one model, as cells of the table."""
    return [
        f"{size.weights:,}",
        f"{size.megabytes:.2f}",
        f"{size.latency_ms:.1f}",
        f"{size.score:z.4f}",
    ]
