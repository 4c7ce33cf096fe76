"""`plait fit`: a table to a fitted, evaluated, saved model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli.app import (
    AsJson,
    Columns,
    Device,
    Group,
    Ignore,
    Kinds,
    Quiet,
    Root,
    Seed,
    TableArg,
    Targets,
    Threads,
    app,
    out,
    print_json,
    say,
)
from plait.cli.options import FLAGS, model_options

Out = Annotated[str, typer.Option("--out", "-o", help="Folder to save the model to.")]


Preset = Annotated[str, typer.Option(help="Size of everything: fast, balanced or best.")]


Fusion = Annotated[
    str | None,
    typer.Option(help="hybrid (default), attention, concat, late ...; docs/fusion.md has them."),
]


Encoders = Annotated[
    list[str],
    typer.Option(
        "--encoder",
        help="Encoder of a column or modality, as image=vit, text=pip:all-minilm-l6-v2, "
        "photo=hf:owner/name or audio=./folder; repeatable. `plait encoders` lists them.",
    ),
]


Tune = Annotated[
    list[str],
    typer.Option(
        "--tune",
        help="How a pretrained encoder learns, as image=lora: frozen (default), full, last-2, lora, "
        "dora, rslora or ia3; repeatable.",
    ),
]


Embed = Annotated[
    bool,
    typer.Option(
        "--embed-weights", help="Save pretrained weights in the bundle, not a reference to them."
    ),
]


Pretrain = Annotated[
    str | None,
    typer.Option(help="Learn to rebuild the cells first: none (default), reconstruct or masked."),
]


Epochs = Annotated[int | None, typer.Option(help="Passes over the rows at most.")]


BatchSize = Annotated[int | None, typer.Option(help="Rows a step. Default: 64.")]


LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate. Default: 0.002.")]


Others = Annotated[
    list[str],
    typer.Option("--set", help="Any other option of docs/options.md, as dropout=0.2; repeatable."),
]


Resume = Annotated[bool, typer.Option("--resume", help="Take up the last checkpoint in --out.")]


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the model in --out.")]


@app.command()
def fit(
    table: TableArg,
    target: Targets,
    out_folder: Out,
    preset: Preset = "balanced",
    fusion: Fusion = None,
    encoder: Encoders = [],  # noqa: B006
    tune: Tune = [],  # noqa: B006
    embed_weights: Embed = False,
    pretrain: Pretrain = None,
    column: Columns = [],  # noqa: B006
    ignore: Ignore = [],  # noqa: B006
    group: Group = None,
    kind: Kinds = [],  # noqa: B006
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    set_: Others = [],  # noqa: B006
    root: Root = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit a model to a table and save it.

    Example: [bold]plait fit train.csv --target label --out runs/a[/bold]
    """
    given = {"fusion": fusion, "epochs": epochs, "batch_size": batch_size, "lr": lr}
    given |= {"threads": threads, "group": group, "pretrain": pretrain}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options |= {"preset": preset, "seed": seed, "device": device, "ignore": tuple(ignore)}
    options |= {"embed_weights": embed_weights}
    flags = (*FLAGS, "resume", "overwrite")
    options |= model_options(column, kind, encoder, tune, set_, flags)
    from plait.pipeline import fit as fit_model

    model = fit_model(
        table,
        target,
        out=out_folder,
        resume=resume,
        overwrite=overwrite,
        root=root,
        progress=not quiet,
        **options,
    )
    if as_json:
        print_json({"out": out_folder, "metrics": model.metrics, "history": model.history})
        return
    from plait.cli.tables import show_evaluation

    show_evaluation(out, model.metrics)
    card, report = Path(out_folder) / "README.md", Path(out_folder) / "report.html"
    told = f"; its report is {report}" if model.config.report != "off" and report.exists() else ""
    say(out, f"Saved to {out_folder}; its model card is {card}{told}")
