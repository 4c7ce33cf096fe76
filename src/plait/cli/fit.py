"""`plait fit`: from a table to a fitted, evaluated and saved model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli.app import (
    MODEL,
    OUTPUT,
    TRAINING,
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
from plait.cli.pairs import FLAGS, model_options

Out = Annotated[
    str,
    typer.Option("--out", "-o", help="Folder to save the model to.", rich_help_panel=OUTPUT),
]
Preset = Annotated[
    str,
    typer.Option(help="Size of the whole model: fast, balanced or best.", rich_help_panel=MODEL),
]
Fusion = Annotated[
    str | None,
    typer.Option(
        help="hybrid (default), concat, late, attention, ...; `plait fusions` lists all.",
        rich_help_panel=MODEL,
    ),
]
Encoders = Annotated[
    list[str],
    typer.Option(
        "--encoder",
        help="Encoder of a modality or column, for example image=vit, text=pip:all-minilm-l6-v2, "
        "photo=hf:owner/name or audio=./folder; repeatable. `plait encoders` lists them.",
        rich_help_panel=MODEL,
    ),
]
Tune = Annotated[
    list[str],
    typer.Option(
        "--tune",
        help="How a pretrained encoder is trained, for example image=lora: frozen (default), full, "
        "last-2, lora, dora, rslora or ia3; repeatable.",
        rich_help_panel=MODEL,
    ),
]
Embed = Annotated[
    bool,
    typer.Option(
        "--embed-weights",
        help="Save pretrained weights in the bundle, not a reference to them.",
        rich_help_panel=OUTPUT,
    ),
]
Pretrain = Annotated[
    str | None,
    typer.Option(
        help="Pretrain on the table without its targets: none (default), reconstruct or masked.",
        rich_help_panel=TRAINING,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Most passes over the rows. Default: by preset.", rich_help_panel=TRAINING),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Rows per step (batch size). Default: 64.", rich_help_panel=TRAINING),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate. Default: 0.002.", rich_help_panel=TRAINING)
]
Others = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Any other option, for example dropout=0.2; repeatable. `plait options` lists them.",
        rich_help_panel=TRAINING,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue from the last checkpoint in --out.", rich_help_panel=OUTPUT
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the model in --out.", rich_help_panel=OUTPUT),
]


@app.command(rich_help_panel="Fit")
def fit(
    table: TableArg,
    target: Targets,
    *,
    column: Columns = [],  # noqa: B006 - typer copies it
    ignore: Ignore = [],  # noqa: B006
    group: Group = None,
    kind: Kinds = [],  # noqa: B006
    root: Root = None,
    preset: Preset = "balanced",
    fusion: Fusion = None,
    encoder: Encoders = [],  # noqa: B006
    tune: Tune = [],  # noqa: B006
    pretrain: Pretrain = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    set_: Others = [],  # noqa: B006
    out_folder: Out,
    embed_weights: Embed = False,
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
    page = f", its report {report}" if model.config.report != "off" and report.exists() else ""
    say(out, f"Saved to {out_folder}; its model card is {card}{page}")
