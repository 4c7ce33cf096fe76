"""The results: kept in results.json, shown on the terminal, written to RESULTS.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.lines import NOT_RUN, PASS, SHORT, Line

Results = dict[str, Any]
"""``measured``: measurement → its ``stamp`` and its ``lines`` or ``table``; ``runs``: see runs.py."""

HEAD = ["claim", "measured", "value", "reference", "ratio", "promise", "verdict"]
COLOURS = {PASS: "green", SHORT: "red", NOT_RUN: "yellow"}


def load(path: Path) -> Results:
    if not path.is_file():
        return {"measured": {}, "runs": {}}
    found: Results = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(path: Path, results: Results) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def merge(results: Results, name: str, found: Mapping[str, Any], stamp: Mapping[str, Any]) -> None:
    """Put a measurement in its place; one that could not run never replaces one that did."""
    before = results["measured"].get(name)
    if before and not _ran(found) and _ran(before):
        return
    results["measured"][name] = {"stamp": dict(stamp), **found}


def _ran(found: Mapping[str, Any]) -> bool:
    return "table" in found or any(not line["why"] for line in found["lines"])


def lines_of(results: Results, order: Sequence[str]) -> list[tuple[Line, Mapping[str, Any]]]:
    """Every line with its stamp, measurements in ``order``."""
    measured = results["measured"]
    return [
        (Line.from_json(line), measured[name]["stamp"])
        for name in order
        if name in measured
        for line in measured[name].get("lines", [])
    ]


def show(console: Console, results: Results, order: Sequence[str]) -> None:
    """The table on the terminal."""
    wide = console.width >= 150
    table = Table(title="plait, measured", title_justify="left", box=None, pad_edge=False)
    for name in [*HEAD, "commit"]:
        if wide or name != "measured":
            table.add_column(
                name, max_width=70 if name == "measured" else 60, no_wrap=name == HEAD[0]
            )
    for line, stamp in lines_of(results, order):
        colour = next(
            (c for word, c in COLOURS.items() if line.verdict.startswith(word)), "default"
        )
        cells = [escape(cell) for cell in cells_of(line)]
        cells[3] = number(
            line.reference, unit_of_reference(line)
        )  # what it is stands in RESULTS.md
        if not wide:
            del cells[1]
        cells[-1] = f"[{colour}]{cells[-1]}[/{colour}]"
        table.add_row(*cells, stamp["commit"])
    console.print(table)
    for name in order:
        found = results["measured"].get(name, {}).get("table")
        if found:
            more = Table(
                *found["head"], title=escape(found["title"]), title_justify="left", box=None
            )
            for row in found["rows"]:
                more.add_row(*map(escape, row))
            console.print(more)


def cells_of(line: Line) -> list[str]:
    """A line as texts, in the order of HEAD."""
    value = number(line.value, line.unit)
    if line.spread is not None:
        value += f" ± {number(line.spread)}"
    if line.value is None and not line.why:
        value = "never reached"
    reference = number(line.reference, unit_of_reference(line))
    if line.against:
        reference = f"{reference}: {line.against}" if reference else line.against
    ratio = "" if line.unit == "x" else number(line.ratio)
    if line.promise and line.promise.of == "difference" and line.difference is not None:
        ratio += f" ({line.difference:+.3f})"
    promise = str(line.promise) if line.promise else ""
    return [line.name, line.what, value, reference, ratio, promise, line.verdict]


def unit_of_reference(line: Line) -> str:
    """A value in times something has a reference in that something's unit, which its words tell."""
    return "" if line.unit == "x" else line.unit


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f} {unit}".rstrip()


def markdown(results: Results, order: Sequence[str]) -> str:
    """RESULTS.md."""
    lines = lines_of(results, order)
    machines = _machines(results, order)
    counts = {word: sum(line.verdict.startswith(word) for line, _ in lines) for word in COLOURS}
    parts = [
        "# Results",
        "Written by `make bench`; do not edit. What each line means and how to run it: "
        "[README.md](README.md). References are measured in the same run, unless they say *recorded*. "
        "Lines may come from different runs: the last column tells commit, time and machine.",
        ", ".join(f"{count} {word}" for word, count in counts.items()) + ".",
        _grid(
            [*HEAD, "commit, date, machine, load"],
            [[*cells_of(line), _place(stamp, machines)] for line, stamp in lines],
        ),
    ]
    for name in order:
        found = results["measured"].get(name, {})
        if "table" in found:
            table = found["table"]
            parts += [
                f"## {name.capitalize()}",
                table["title"],
                _grid(table["head"], table["rows"]),
                *([table["reading"]] if "reading" in table else []),
            ]
            parts.append(f"Measured at {_place(found['stamp'], machines)}.")
    parts += ["## Machines", *(f"**{mark}**: {text}" for text, mark in machines.items())]
    commands = dict.fromkeys(
        f"`{results['measured'][n]['stamp']['command']}`" for n in order if n in results["measured"]
    )
    parts += ["## Commands", *commands]
    return "\n\n".join(parts) + "\n"


def _machines(results: Results, order: Sequence[str]) -> dict[str, str]:
    """Machine → its letter."""
    seen = dict.fromkeys(
        results["measured"][name]["stamp"]["machine"]
        for name in order
        if name in results["measured"]
    )
    return {text: chr(ord("A") + number) for number, text in enumerate(seen)}


def _place(stamp: Mapping[str, Any], machines: Mapping[str, str]) -> str:
    load = "" if stamp.get("load") is None else f", {stamp['load']:g}"
    return f"{stamp['commit']}, {stamp['date']}, {machines[stamp['machine']]}{load}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return (
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )

    return "\n".join([row(head), "|" + "---|" * len(head), *map(row, rows)])
