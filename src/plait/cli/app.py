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


Seed = Annotated[int, typer.Option(help="The same seed gives the same model.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads. Default: half the cores.")]


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
    from plait.progress import Silent

    return Silent() if quiet else Bars(err)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
