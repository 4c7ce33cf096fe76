"""The commands: parse arguments, call the library, print. Slow imports are inside them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from plait.display.markup import tidy

app = typer.Typer(
    name="plait",
    help="Braid images, text, audio, video, signals and tables into one model.\n\n"
    "Point it at one table whose columns hold any mix of these, and name the column to predict.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

out = Console()
err = Console(stderr=True)

READ, MODEL, TRAINING, OUTPUT = "What to read", "The model", "Training", "Output"
"""Panels that `--help` groups options in, the same for every command."""

TableArg = Annotated[
    str,
    typer.Argument(
        help="CSV, TSV, JSON Lines, Parquet or Arrow file, or a folder with one folder per class."
    ),
]
BundleArg = Annotated[str, typer.Argument(help="Folder that the model was saved to.")]
Targets = Annotated[
    list[str],
    typer.Option("--target", "-t", help="Column to predict; repeatable.", rich_help_panel=READ),
]
Root = Annotated[
    str | None,
    typer.Option(
        help="Folder that media paths are relative to. Default: the table's own.",
        rich_help_panel=READ,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON to standard output instead.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress bars, no notes.", rich_help_panel=OUTPUT),
]
Columns = Annotated[
    list[str],
    typer.Option(
        "--column",
        help="Modality of a column, for example photo=image; repeatable.",
        rich_help_panel=READ,
    ),
]
Ignore = Annotated[
    list[str],
    typer.Option("--ignore", help="Column to leave out; repeatable.", rich_help_panel=READ),
]
Group = Annotated[
    str | None,
    typer.Option(
        help="Rows with the same value in this column stay on one side of the split.",
        rich_help_panel=READ,
    ),
]
Kinds = Annotated[
    list[str],
    typer.Option(
        "--kind",
        help="Kind of a target, for example label=multiclass: binary, multiclass, multilabel or "
        "regression; repeatable.",
        rich_help_panel=READ,
    ),
]


Seed = Annotated[
    int, typer.Option(help="The same seed gives the same model.", rich_help_panel=TRAINING)
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=TRAINING)
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads to compute with. Default: half the cores.", rich_help_panel=TRAINING
    ),
]


def _version(asked: bool) -> bool:
    if asked:
        from plait import __version__

        out.print(f"plait {__version__}", highlight=False)
        raise typer.Exit
    return asked


@app.callback()
def plait(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Only what comes before a command."""


def say(console: Console, text: str) -> None:
    """Print a line whose names are the user's: not wrapped, no markup, no control characters."""
    console.print(tidy(text), markup=False, highlight=False, soft_wrap=True)


def answerer(folder: str) -> Any:
    """The model in a folder: a fitted one, or an exported one, for which torch need not be there."""
    from plait.sealed import EXPORTED

    if EXPORTED.is_in(Path(folder)):
        from plait.runtime import Runtime

        return Runtime(folder)
    from plait.predictor.predictor import load

    return load(folder)


def reporter_for(quiet: bool) -> Any:
    """Bars on standard error, or nothing."""
    from plait.display.bars import Bars
    from plait.display.progress import Silent

    return Silent() if quiet else Bars(err)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
