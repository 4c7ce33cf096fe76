"""`plait compress`: a fitted model made smaller, from the command line."""

from typing import Annotated, Any

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
from plait.cli.fit import BatchSize, Epochs, LearningRate, Overwrite

Output = Annotated[str, typer.Option("--out", "-o", help="Folder for the smaller model.")]
To = Annotated[
    float, typer.Option("--to", help="Share of the learnt weights that may stay, 0 to 1.")
]
Way = Annotated[
    str,
    typer.Option(
        help="prune (keep the channels and heads that matter most), distil (learn from the model's "
        "answers) or both."
    ),
]
Streams = Annotated[
    list[str],
    typer.Option("--stream", help="Only stream of the smaller model; repeatable. Default: all."),
]
Test = Annotated[
    str | None, typer.Option(help="Table to measure both on. Default: the held-out rows.")
]
MaxDrop = Annotated[
    float | None, typer.Option(help="Save nothing where the score falls by more, as 0.02.")
]


@app.command()
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
    """Make a fitted model smaller and quicker, with the table it was fitted to.

    Layers become narrower: pruned, taught by the model's own answers, or both. What it costs in score
    and saves in size and time is shown, on --test or on the rows held out.

    Example: [bold]plait compress runs/a train.csv --to 0.25 --test test.csv --out runs/small[/bold]
    """
    from plait.cli.tables import grid
    from plait.training.compress import compress as make_smaller

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
        progress=reporter_for(quiet),
        **{name: value for name, value in options.items() if value is not None},
    )
    if as_json:
        print_json(found.to_json())
        return
    head = ["", "weights", "MB", "ms a row", "score"]
    console.print(grid(head, [["before", *_cells(found.before)], ["after", *_cells(found.after)]]))
    say(console, f"Score: the targets' main metric, on {found.rows}. Saved to {output}")


def _cells(one: Any) -> list[str]:
    """A model's figures as a row shows them."""
    return [
        f"{one.weights:,}",
        f"{one.megabytes:.2f}",
        f"{one.latency_ms:.1f}",
        f"{one.score:.4f}",
    ]
