"""`plait explain`: one prediction and what it is based on, in the terminal."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from plait.cli.app import OUTPUT, READ, AsJson, BundleArg, Root, TableArg, app, print_json, say
from plait.cli.app import out as console
from plait.cli.tables import grid
from plait.display.markup import tidy

if TYPE_CHECKING:
    import numpy as np

    from plait.data.targets.target import Target
    from plait.insight.explain.explanation import Explanation
    from plait.insight.explain.within import Within

SHADES = " ░▒▓█"
LEVELS = "▁▂▃▄▅▆▇█"
ACROSS, DOWN = 28, 14
"""Characters of a picture's map; a character is about twice as high as wide."""

ALONG = 40
"""Characters of a sound's or a signal's map."""


@app.command(rich_help_panel="Use")
def explain(
    bundle: BundleArg,
    table: TableArg,
    row: Annotated[
        int, typer.Option(help="Row to explain, counted from 0.", rich_help_panel=READ)
    ] = 0,
    root: Root = None,
    html: Annotated[
        str | None,
        typer.Option(
            "--html", help="Also write an HTML page to this file.", rich_help_panel=OUTPUT
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(help="Language of the page: en or zh.", rich_help_panel=OUTPUT)
    ] = "en",
    as_json: AsJson = False,
) -> None:
    """Explain one prediction: the contribution of each stream, and what mattered inside it.

    Example: [bold]plait explain runs/a new.csv --row 17[/bold]
    """
    from plait.insight.report.report import check_language, check_path
    from plait.predictor.predictor import load

    check_language(language)
    if html is not None:
        check_path(html, table, name="html")
    model = load(bundle)
    explanation = model.explain(table, root=root, row=row)
    if html is not None:
        model.report(table, html, root=root, row=row, language=language)
    if as_json:
        print_json({"row": row, **explanation.to_json()})
        return
    for note in explanation.answers.notes():
        say(console, f"! {note}")
    for target in model.targets:
        _head(console, explanation, target, row, table)
        _streams(console, explanation, target.name)
        _pairs(console, explanation, target.name)
        if target.name in explanation.within:
            _inside(console, explanation, explanation.within[target.name])
    if html is not None:
        say(console, f"The page was written to {html}")


def _head(
    console: Console, explanation: "Explanation", target: "Target", row: int, table: str
) -> None:
    """The answer, the runners-up, and how unusual the row is."""
    value, scores = (
        explanation.answers.values[target.name][0],
        explanation.answers.scores[target.name],
    )
    line = f"{target.name}: {target.brief(value, scores[0])}"
    console.print(Text(tidy(line), style="bold"), soft_wrap=True)
    say(console, f"row {row} of {table}")
    if explanation.unusual is not None:
        share = float(explanation.unusual[0])
        say(console, f"farther from the training data than {share:.0f} % of the validation rows")


def _streams(console: Console, explanation: "Explanation", target: str) -> None:
    """The contribution of each stream, as numbers and bars."""
    shares, streams = explanation.contributions.targets[target], explanation.contributions.streams
    console.print()
    none, whole = shares.empty[0], shares.fused[0]
    title = f"Contribution of each stream, from {none:z.3g} with none to {whole:z.3g}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    width = max(10, console.width - max(map(len, streams)) - 20)
    most = max(float(abs(shares.values[0]).max()), 1e-12)
    rows = []
    for number, name in enumerate(streams):
        value = float(shares.values[0, number])
        there = bool(explanation.contributions.present[0, number])
        error = "" if shares.error is None else f" ± {float(shares.error[0, number]):.2g}"
        sign = "█" if value >= 0 else "░"
        bar = sign * round(abs(value) / most * min(width, 60))
        rows.append([name, f"{value:+z.3g}{error}" if there else "missing", bar])
    laid = grid(["stream", "contribution", ""], rows)
    laid.columns[2].justify = "left"
    console.print(laid)
    if any(row[2].startswith("░") for row in rows):
        say(console, "░ counts against the answer")


def _pairs(console: Console, explanation: "Explanation", target: str) -> None:
    """Pairs of present streams that contribute more or less together than one by one."""
    readings = explanation.contributions.readings(target, 0)
    shares = explanation.contributions.targets[target].interactions[0]
    rows = [
        [f"{first} and {second}", word, f"{float(value):+z.3g}"]
        for ((first, second), word), value in zip(readings.items(), shares, strict=True)
        if word in ("synergy", "redundancy")
    ]
    if rows:
        console.print()
        console.print(grid(["pair of streams", "reading", "interaction"], rows, left=2))


def _inside(console: Console, explanation: "Explanation", maps: "Within") -> None:
    """What mattered in each column: marked words, shaded images, levels over time, fields."""
    fields = []
    console.print()
    title = (
        f"What mattered inside each cell, from {maps.base[0]:z.3g} with blank cells to "
        f"{maps.score[0]:z.3g}"
    )
    console.print(Text(title, style="bold"), soft_wrap=True)
    for name, cells in maps.maps.items():
        values, kind = cells[0], maps.kinds[name]
        if values is None:
            continue
        if kind == "field":
            fields.append([name, f"{float(values):+z.3g}"])
            continue
        console.print()
        total = float(values.sum())
        say(console, f"{name} ({total:+z.3g})")
        words = explanation.words.get(name, [None])[0]
        if words is not None:
            _marked_words(console, words, values)
        elif kind == "pixels":
            _picture(console, values)
        else:
            _over_time(console, values)
    if fields:
        console.print()
        console.print(grid(["field", "contribution"], fields))


def _marked_words(console: Console, words: list[str], values: "np.ndarray") -> None:
    """The text, green for the answer and red against it; then the strongest words."""
    from plait.insight.explain.explanation import whole

    words, values = whole(words, values)
    most = max(float(abs(values).max(initial=0)), 1e-12)
    text = Text()
    for word, value in zip(map(tidy, words), values.tolist(), strict=True):
        weight = abs(value) / most
        colour = "green" if value > 0 else "red"
        text.append(
            word, style=f"black on {colour}" if weight > 0.5 else colour if weight > 0.2 else ""
        )
    console.print(text)
    spoken = [pair for pair in zip(values.tolist(), words, strict=True) if pair[1]]
    strongest = sorted(spoken, key=lambda pair: -abs(pair[0]))[:5]
    say(
        console,
        ", ".join(f"{_named(word)} {value:+z.2g}" for value, word in strongest),
    )


def _named(word: str) -> str:
    """A piece of text by its letters, or quoted if it has none."""
    return word.strip() if any(map(str.isalnum, word)) else repr(word)


def _picture(console: Console, values: "np.ndarray") -> None:
    """An image's map: the darker, the more a place counts for the answer."""
    down, across = (
        min(most, size) for most, size in zip((DOWN, ACROSS), values.shape, strict=True)
    )
    cells = _shrunk(_shrunk(values, down).T, across).T
    top = max(float(cells.max()), 1e-12)
    for line in (cells / top).clip(0, 1):
        shades = "".join(SHADES[round(float(shade) * (len(SHADES) - 1))] for shade in line)
        say(console, f"  |{shades}|")


def _over_time(console: Console, values: "np.ndarray") -> None:
    """A map over time: the higher, the more that moment counts for the answer."""
    steps = values.reshape(len(values), -1).sum(axis=1)
    cells = _shrunk(steps[:, None], min(ALONG, len(steps)))[:, 0]
    top = max(float(cells.max()), 1e-12)
    levels = "".join(
        LEVELS[round(float(level) * (len(LEVELS) - 1))] for level in (cells / top).clip(0, 1)
    )
    say(console, f"  {levels}  (start to end)")


def _shrunk(values: "np.ndarray", pieces: int) -> "np.ndarray":
    """Sums over equal pieces of the first axis."""
    import numpy as np

    return np.stack([part.sum(axis=0) for part in np.array_split(values, pieces)])
