"""A comparison on the terminal: the more room, the more columns."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from plait.display.plot_frame import short_number
from plait.errors import counted
from plait.experiments.comparison.rows import Row

MIN_WIDTH = 110
"""Columns of the terminal from which on costs are shown too."""

SHORT = {"balanced_accuracy": "balanced", "map": "mAP", "r2": "R²"}

Cell = Callable[[Row], str]


def number(value: float, digits: int = 3) -> str:
    """Fixed digits; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """With its sign, so that better and worse can be told at a glance."""
    return "" if math.isnan(value) else f"{value:+z.3f}"


def short(value: float) -> str:
    """A large number in few characters."""
    return "-" if math.isnan(value) else short_number(value)


def chance(value: float) -> str:
    """A p value."""
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:z.3f}"


def worst(row: Row) -> float:
    """The figure where the stream is missing that matters most."""
    known = [value for value in row.without.values() if not math.isnan(value)]
    return min(known, default=math.nan)


def scored(row: Row) -> str:
    """Mean and deviation, or that there is none."""
    if not row.seeds:
        return "failed"
    return number(row.mean) + ("" if math.isnan(row.std) else f" ±{row.std:.3f}")


def spanned(low: float, high: float) -> str:
    """An interval."""
    return "" if math.isnan(low) else f"{low:z.3f} to {high:z.3f}"


COSTS: list[tuple[str, Cell]] = [
    ("50 % gone", lambda row: number(row.gaps.get("0.5", math.nan))),
    ("param", lambda row: short(row.parameters)),
    ("FLOPs", lambda row: short(row.flops)),
    ("rows/s", lambda row: short(row.rows_per_second)),
    ("ms", lambda row: number(row.latency_ms, 1)),
]
"""What a narrow terminal has no room for."""


def left_out(width: int, folder: str) -> list[str]:
    """Which columns a terminal of this width lacks, and where they are."""
    if width >= MIN_WIDTH:
        return []
    names = ", ".join(name for name, _ in COSTS)
    return [
        f"Left out, because they do not fit into {width} columns: {names}. They are in "
        f"{folder}/compare.html and compare.csv."
    ]


def table(rows: Sequence[Row], about: Mapping[str, Any], width: int) -> Table:
    """One line a method; costs and robustness where there is room."""
    columns: list[tuple[str, Cell]] = [
        ("method", lambda row: row.method),
        (SHORT.get(about["metric"], about["metric"]), scored),
        ("95 %", lambda row: spanned(row.low, row.high)),
        (f"- {about['reference']}", lambda row: signed(row.difference)),
        ("p (Holm)", lambda row: chance(row.p_holm)),
    ]
    columns.append(("1 missing", lambda row: number(worst(row))))
    if width >= MIN_WIDTH:
        columns += COSTS
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for place, (name, _) in enumerate(columns):
        shown.add_column(escape(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell(row)) for _, cell in columns))
    return shown


def rows_of(about: Mapping[str, Any]) -> str:
    """How many test rows there are, and where they are from."""
    rows, test = about["rows"]["test"], str(about["test"])
    return f"{counted(rows)} {'' if test.startswith('held out') else 'of '}{test}"


def seeds_of(about: Mapping[str, Any]) -> str:
    """``seed 0``, or ``seeds 0 to 2``."""
    return f"seed{'s' if ' ' in str(about['seeds']) else ''} {about['seeds']}"


def title(about: Mapping[str, Any]) -> str:
    """What the table is about."""
    return f"{about['target']} ({about['kind']}), {rows_of(about)}, {seeds_of(about)}"


def remarks(rows: Sequence[Row], about: Mapping[str, Any]) -> list[str]:
    """What must be known besides: how to read the columns, and what failed."""
    lines = [
        f"±: deviation over seeds. 95 %: bootstrap over test rows. p: paired with {about['reference']}, "
        "Holm over the fusions. 1 missing: the worst with one stream missing from every row."
    ]
    if about["others"]:
        lines.append(
            f"Also learnt, not compared: {', '.join(about['others'])}; methods are compared by the "
            "first target."
        )
    for row in rows:
        count = len(row.problems)
        if count:
            first = row.problems[0].replace("\n", " ")
            lines.append(f"! {row.method}: {counted(count, 'failed run')}: {first}")
    return lines
