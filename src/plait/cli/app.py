"""The commands: parse arguments, call the library, print. Slow imports are inside them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from plait.cli.options import FLAGS, model_options, pairs_of
from plait.display.markup import tidy

app = typer.Typer(
    name="plait",
    help="Braid images, text, audio, video, signals and tables into one model.\n\n"
    "Point it at one table whose columns hold any mix of these and name the column to predict.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

out = Console()
err = Console(stderr=True)

TableArg = Annotated[
    str,
    typer.Argument(help="CSV, TSV, JSON Lines, Parquet or Arrow file, or a folder of folders."),
]
BundleArg = Annotated[str, typer.Argument(help="Folder a model was saved to.")]
Targets = Annotated[
    list[str], typer.Option("--target", "-t", help="Column to predict; may be given several times.")
]
Root = Annotated[
    str | None,
    typer.Option(help="Folder that media paths are relative to. Default: the table's own."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output instead.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")]
Columns = Annotated[
    list[str], typer.Option("--column", help="Modality of a column, as photo=image; repeatable.")
]
Ignore = Annotated[list[str], typer.Option("--ignore", help="Column to leave out; repeatable.")]
Group = Annotated[
    str | None, typer.Option(help="Rows sharing this column's value stay on one side of the split.")
]
Kinds = Annotated[
    list[str],
    typer.Option(
        "--kind", help="Kind of a target: label=binary, multiclass, multilabel or regression."
    ),
]


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
Seed = Annotated[int, typer.Option(help="The same seed gives the same model.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads. Default: half the cores.")]
Others = Annotated[
    list[str],
    typer.Option("--set", help="Any other option of docs/options.md, as dropout=0.2; repeatable."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Take up the last checkpoint in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the model in --out.")]


@app.command()
def inspect(
    table: TableArg,
    target: Targets = [],  # noqa: B006 - typer copies it
    column: Columns = [],  # noqa: B006
    ignore: Ignore = [],  # noqa: B006
    group: Group = None,
    kind: Kinds = [],  # noqa: B006
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show what plait makes of each column, and why; check the data's quality.

    Example: [bold]plait inspect train.csv --target label[/bold]
    """
    from plait.cli.inspect import look

    pairs = pairs_of({"--column": column, "--kind": kind})
    found = look(
        table,
        target,
        root=root,
        columns=pairs["--column"],
        ignore=tuple(ignore),
        group=group,
        target_kinds=pairs["--kind"],
    )
    if as_json:
        _print_json(found)
        return
    from plait.cli.tables import show_schema

    show_schema(out, found["schema"], found["targets"])


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
        _print_json({"out": out_folder, "metrics": model.metrics, "history": model.history})
        return
    from plait.cli.tables import show_evaluation

    show_evaluation(out, model.metrics)
    card, report = Path(out_folder) / "README.md", Path(out_folder) / "report.html"
    told = f"; its report is {report}" if model.config.report != "off" and report.exists() else ""
    say(out, f"Saved to {out_folder}; its model card is {card}{told}")


@app.command()
def evaluate(
    bundle: BundleArg,
    table: TableArg,
    root: Root = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=0, help="Of the bootstrap; 0 leaves the intervals out.")
    ] = 200,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a table with answers: all streams, each alone, without each.

    Example: [bold]plait evaluate runs/a test.csv[/bold]
    """
    from plait.predictor.predictor import load

    evaluation = load(bundle).evaluate(
        table, root=root, seed=seed, resamples=resamples, reporter=_reporter(quiet)
    )
    if as_json:
        _print_json(evaluation.to_json())
        return
    from plait.cli.tables import show_evaluation

    show_evaluation(out, evaluation.to_json())


@app.command()
def predict(
    bundle: BundleArg,
    table: TableArg,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File to write: .csv, .tsv, .jsonl or .parquet."),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(help="Leave the answer empty where the confidence is lower, as 0.7."),
    ] = None,
    root: Root = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Answer every row of a table, in order.

    Example: [bold]plait predict runs/a new.csv -o answers.csv[/bold]
    """
    from plait.answers.abstain import check_threshold, withhold
    from plait.data.table.answers import check_output, write_table

    check_threshold(abstain_below)
    if output is not None:
        check_output(output, table)
    answers = withhold(
        _answerer(bundle).answer(table, root=root, reporter=_reporter(quiet)), abstain_below
    )
    columns = answers.to_columns()
    for note in answers.notes():
        say(err, f"! {note}")
    if output is not None:
        write_table(output, columns)
        if len(answers.quarantine):
            listed = Path(output).with_suffix(".unreadable.csv")
            answers.quarantine.to_csv(listed)
            count = len(answers.quarantine)
            told = "1 unreadable cell is" if count == 1 else f"{count} unreadable cells are"
            say(err, f"{told} listed in {listed}")
    if as_json:
        unreadable = [[e.row, e.column, e.reason] for e in answers.quarantine.entries]
        _print_json({"answers": columns, "unreadable": unreadable, "absent": answers.absent})
    elif output is None:
        from plait.cli.tables import show_answers

        show_answers(out, columns)
    else:
        say(out, f"{len(answers)} answers written to {output}")


@app.command()
def checks(
    bundle: Annotated[
        str | None, typer.Argument(help="A model whose golden rows to answer again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show versions, devices, threads, extras and what is missing.

    Example: [bold]plait checks[/bold]
    """
    from plait.cli.checks import gather
    from plait.cli.tables import show_facts

    facts = gather()
    if bundle is not None:
        model = _answerer(bundle)
        facts["Model"] = {
            "folder": bundle,
            "golden rows": f"{len(model.golden)}, answered alike to {model.verify():.1e}",
        }
    _print_json(facts) if as_json else show_facts(out, facts)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete everything in it.")] = False,
    trim: Annotated[
        float | None, typer.Option(min=0, help="Delete the oldest until it is this small, in GB.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show or clear the store of prepared columns and opened tables.

    Example: [bold]plait cache --trim 5[/bold]
    """
    from plait.cli.tables import show_facts
    from plait.data import cache as store

    gone = store.clear() if clear else []
    if trim is not None:
        gone = store.trim(cap=int(trim * 1e9))
    left = store.entries()
    facts = {
        "folder": str(store.cache_folder()),
        "entries": len(left),
        "megabytes": round(sum(entry.size for entry in left) / 1e6, 3),
        "cap_gigabytes": store.cap_bytes() / 1e9,
        "deleted": len(gone),
        "deleted_megabytes": round(sum(entry.size for entry in gone) / 1e6, 3),
    }
    if as_json:
        _print_json(facts)
    else:
        show_facts(out, {"Cache": {name: str(value) for name, value in facts.items()}})


@app.command()
def demo(
    out_folder: Annotated[
        str, typer.Option("--out", "-o", help="Folder for data and model.")
    ] = "demo-run",
    rows: Annotated[int, typer.Option(min=50, help="Training rows to make.")] = 1200,
    seed: Annotated[int, typer.Option(help="Of the data and of the fit.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows at most.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a table that needs fusion, fit it, and measure it on voices nobody has heard.

    Example: [bold]plait demo[/bold]
    """
    from plait.cli.tables import show_evaluation
    from plait.recipes.demo.run import run

    found = run(Path(out_folder), rows=rows, seed=seed, epochs=epochs, reporter=_reporter(quiet))
    if as_json:
        _print_json(found)
        return
    show_evaluation(out, found["test"])
    for name, text in found["next"].items():
        say(out, f"{name}: {text}")


def say(console: Console, text: str) -> None:
    """Print a line whose names are the user's: not wrapped, no markup, no control characters."""
    console.print(tidy(text), markup=False, highlight=False, soft_wrap=True)


def _answerer(folder: str) -> Any:
    """The model in a folder: a fitted one, or an exported one, for which torch need not be there."""
    from plait.sealed import EXPORTED

    if EXPORTED.is_in(Path(folder)):
        from plait.runtime import Runtime

        return Runtime(folder)
    from plait.predictor.predictor import load

    return load(folder)


def _reporter(quiet: bool) -> Any:
    from plait.display.bars import Bars
    from plait.progress import Silent

    return Silent() if quiet else Bars(err)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
