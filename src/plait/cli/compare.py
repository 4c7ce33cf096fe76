"""`plait compare`: fusion methods on one table, everything else being equal."""

from typing import Annotated, Any

import typer

from plait.cli.app import (
    MODEL,
    OUTPUT,
    READ,
    TRAINING,
    AsJson,
    Columns,
    Device,
    Group,
    Ignore,
    Kinds,
    Quiet,
    Root,
    TableArg,
    Targets,
    app,
    err,
    out,
    print_json,
    reporter_for,
    say,
)
from plait.cli.fit import BatchSize, Encoders, Epochs, LearningRate, Others, Preset, Tune
from plait.cli.pairs import FLAGS, model_options

Methods = Annotated[
    list[str],
    typer.Option(
        help="Fusion methods, separated by commas, or all; concat is always included. "
        "`plait fusions` lists them.",
        rich_help_panel=MODEL,
    ),
]
Seeds = Annotated[int, typer.Option(help="Runs per method.", rich_help_panel=TRAINING)]
FirstSeed = Annotated[
    int, typer.Option(help="First seed, also of the splits.", rich_help_panel=TRAINING)
]
Test = Annotated[
    str | None,
    typer.Option(
        help="Table to measure on. Default: a fifth of the rows, held out.", rich_help_panel=READ
    ),
]
TestRoot = Annotated[
    str | None,
    typer.Option(help="Folder that media paths of --test are relative to.", rich_help_panel=READ),
]
Out = Annotated[
    str,
    typer.Option(
        "--out", "-o", help="Folder for runs, CSV, JSON and HTML page.", rich_help_panel=OUTPUT
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        help="Runs in parallel, one thread each. Default: half the cores.", rich_help_panel=TRAINING
    ),
]


@app.command(rich_help_panel="Improve")
def compare(
    table: TableArg,
    target: Targets,
    fusion: Methods = ["all"],  # noqa: B006
    seeds: Seeds = 3,
    test: Test = None,
    out_folder: Out = "runs/compare",
    jobs: Jobs = None,
    preset: Preset = "balanced",
    encoder: Encoders = [],  # noqa: B006 - typer copies it
    tune: Tune = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
    ignore: Ignore = [],  # noqa: B006
    group: Group = None,
    kind: Kinds = [],  # noqa: B006
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: FirstSeed = 0,
    device: Device = "auto",
    set_: Others = [],  # noqa: B006
    root: Root = None,
    test_root: TestRoot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare fusion methods: same encoders, initial weights, batches and epochs; several seeds.

    If interrupted, run it again: only the missing runs are made.
    The result is compare.html in --out.

    Example: [bold]plait compare train.csv --target label --test test.csv[/bold]
    """
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "group": group}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options |= {"preset": preset, "seed": seed, "device": device, "ignore": tuple(ignore)}
    flags = (*FLAGS, "fusion", "seeds", "test", "test_root", "jobs")
    options |= model_options(column, kind, encoder, tune, set_, flags)
    _show(
        out_folder,
        as_json,
        source=table,
        target=target,
        fusion=",".join(fusion),
        seeds=seeds,
        test=test,
        out=out_folder,
        jobs=jobs,
        root=root,
        test_root=test_root,
        progress=reporter_for(quiet),
        **options,
    )


def _show(folder: str, as_json: bool, **asked: Any) -> None:
    """Compare, and print the result."""
    from plait.experiments.comparison.compare import compare as compare_methods
    from plait.experiments.comparison.screen import left_out, remarks, title

    comparison = compare_methods(**asked)
    if as_json:
        print_json(comparison.to_json())
        return
    say(out, title(comparison.about))
    out.print(comparison.table(out.width))
    for line in [*left_out(out.width, folder), *remarks(comparison.rows, comparison.about)]:
        out.print(line, markup=False, highlight=False)
    say(err, f"Saved to {folder}; open {folder}/compare.html in a browser")
