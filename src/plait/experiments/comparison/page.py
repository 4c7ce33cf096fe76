"""A comparison as one HTML page: no script, nothing loaded from elsewhere, every name escaped."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from plait.display.markup import Html, bullets, facts, figure, tag
from plait.display.page import document
from plait.display.plots import Bar, Point, Series, bars, heat_map, lines, scatter
from plait.display.section import Section
from plait.experiments.comparison.rows import Row
from plait.experiments.comparison.screen import (
    chance,
    number,
    rows_of,
    seeds_of,
    short,
    signed,
    spanned,
)

STRONG = 5
"""Lines that have a colour and a name in the robustness plot, besides the reference's."""
GROUPS = ("fusion", "one stream alone", "constant")
ROLES = ("fusion", "alone", "constant")


def render(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The whole page, in the frame of `plait.display.page`."""
    metric = str(about["metric"]).replace("_", " ")
    parts = [
        ("reading", "How to read this", _reading(about, metric)),
        ("methods", "Every method", _bars(rows, about, metric) + _scores(rows, about, metric)),
        ("failed", "Failed runs", _failed(rows)),
        ("cost", f"{metric.capitalize()} against cost", _against_cost(rows, about, metric)),
        ("missing", "Missing streams", _curves(rows, about, metric) + _heat(rows, metric)),
        ("controls", "What was kept equal", _controls(about)),
        ("notes", "Notes on the data", bullets(about["notes"])),
        ("source", "Provenance", _source(about)),
    ]
    sections = [Section(key, title, Html(body)) for key, title, body in parts if body]
    lead = _lead(rows, about, metric)
    return document(f"Fusion methods on {about['source']}", lead, sections)


def _against_cost(rows: Sequence[Row], about: Mapping[str, Any], metric: str) -> str:
    """The metric against parameters and against the time of one row, then all costs."""
    named = metric.capitalize()
    asked = (
        ("parameters", f"{named} and parameters", "parameters"),
        ("latency_ms", f"{named} and the time of one row", "milliseconds per row"),
    )
    plots = (_cost(rows, metric, *axis) for axis in asked)
    return "".join(map(_figure, plots)) + _costs(rows, about)


def _fusions(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.role == "fusion" and row.seeds]


def _lead(rows: Sequence[Row], about: Mapping[str, Any], metric: str) -> str:
    """The answer in two sentences."""
    fusions = _fusions(rows)
    lead = f"{about['target']} ({about['kind']}), {rows_of(about)}, {seeds_of(about)}."
    if not fusions:
        return f"{lead} No fusion finished a run."
    best = fusions[0]
    if best.method == about["reference"]:
        return f"{lead} No fusion is above {best.method}, {metric} {number(best.mean)}."
    sure = "" if best.p_holm < 0.05 else "not "
    return (
        f"{lead} The highest {metric} is that of {best.method}, {number(best.mean)}, "
        f"{signed(best.difference)} from {about['reference']}; that difference is {sure}significant "
        f"at 5 % (p {chance(best.p_holm) or 'unknown'} after Holm's correction)."
    )


def _reading(about: Mapping[str, Any], metric: str) -> str:
    reference = escape(str(about["reference"]))
    return f"""<p>A method's figure is its mean {escape(metric)} over seeds; ± is the deviation of
one seed. The
interval holds 95 % of {about["resamples"]:,} bootstrap resamples of the test rows, each the
mean over seeds. The difference from {reference} is paired: the same resample, the same seeds.
Its p is two-sided and corrected by Holm's method for all fusions of this page, so that about
one page in twenty with no true difference calls any method different. Interval and p speak of
other test rows for <em>these</em> trained models; what another training would give is in ±. Two
methods whose intervals overlap much are not told apart here, whatever their order. Nothing was
tuned for any method: one that needs another learning rate or more epochs than {reference} looks
worse than it can be.</p>"""


def _bars(rows: Sequence[Row], about: Mapping[str, Any], metric: str) -> str:
    shown = [
        Bar(row.method, row.mean, row.low, row.high, ROLES.index(row.role))
        for row in rows
        if row.seeds
    ]
    mark = next((row.mean for row in rows if row.method == about["reference"]), None)
    title = f"{metric.capitalize()} with 95 % intervals; dashed: {about['reference']}"
    return _figure(bars(shown, title=title, x_label=metric, groups=GROUPS, mark=mark, width=1040))


def _cost(rows: Sequence[Row], metric: str, field: str, title: str, label: str) -> str:
    shown = [
        Point(row.method, getattr(row, field), row.mean, row.low, row.high, int(row.p_holm < 0.05))
        for row in _fusions(rows)
    ]
    return scatter(
        shown,
        title=title,
        x_label=f"{label} (log scale)",
        y_label=metric,
        groups=("fusion", "differs from the reference, p < 0.05"),
        log_x=True,
        size=(1040, 480),
    )


def _curves(rows: Sequence[Row], about: Mapping[str, Any], metric: str) -> str:
    """The best few under missing streams, and the reference, among all others in grey."""
    fusions = _fusions(rows)
    order = sorted(fusions, key=lambda row: -sum(v for v in row.gaps.values() if not math.isnan(v)))
    strong = {row.method for row in order[:STRONG]} | {about["reference"]}
    series = [
        Series(
            row.method,
            [0.0, *map(float, row.gaps)],
            [row.mean, *row.gaps.values()],
            row.method in strong,
        )
        for row in fusions
    ]
    drawn = lines(
        series,
        title=f"{metric.capitalize()} with streams missing at random (named: the {STRONG} most robust, "
        f"and {about['reference']})",
        x_label="probability that a stream of a row is missing",
        y_label=metric,
        ticks="percent",
        size=(1040, 420),
    )
    return _figure(drawn)


def _heat(rows: Sequence[Row], metric: str) -> str:
    shown = [row for row in rows if row.seeds and row.role != "constant"]
    if not shown:
        return ""
    streams, shares = list(shown[0].without), list(shown[0].gaps)
    columns = [
        "all",
        *(f"no {name}" for name in streams),
        *(f"{float(s):.0%} gone" for s in shares),
    ]
    values = [
        [row.mean, *(row.without[name] for name in streams), *(row.gaps[s] for s in shares)]
        for row in shown
    ]
    names = [row.method for row in shown]
    title = f"{metric.capitalize()} with each stream missing, and with a share missing at random"
    return _figure(heat_map(names, columns, values, title=title, width=1040))


def _figure(svg: str) -> str:
    return figure(svg, wide=True)


def _scores(rows: Sequence[Row], about: Mapping[str, Any], metric: str) -> str:
    heads = [
        "method",
        metric,
        "±",
        "95 %",
        f"− {about['reference']}",
        "95 % of it",
        "p",
        "p (Holm)",
    ]
    cells = [
        [
            number(row.mean) if row.seeds else "failed",
            "" if math.isnan(row.std) else number(row.std),
            spanned(row.low, row.high),
            signed(row.difference),
            spanned(row.difference_low, row.difference_high),
            chance(row.p),
            chance(row.p_holm),
            str(row.seeds),
        ]
        for row in rows
    ]
    return _table(rows, [*heads, "seeds"], cells)


def _costs(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    heads = ["method", "parameters", "of the fusion", "FLOPs per row", "of the fusion", "rows/s"]
    shown = [row for row in rows if row.seeds and row.role != "constant"]
    cells = [
        [
            *(short(v) for v in (row.parameters, row.fusion_parameters, row.flops)),
            *(short(v) for v in (row.fusion_flops, row.rows_per_second)),
            number(row.epochs, 1),
            number(row.latency_ms, 1),
            number(row.forward_ms, 1),
        ]
        for row in shown
    ]
    return (
        _table(shown, [*heads, "epochs", "ms per row", "ms, model"], cells)
        + f"<p>Training rates (rows/s) are medians over steps, measured with up to {about['jobs']} "
        "runs at a time, one thread each. Times of one row are medians of 21 calls, measured "
        "afterwards in one process with one thread and no other run beside it: <i>ms per row</i> "
        "from the raw cells to the answer, <i>ms, model</i> through the model alone. FLOPs count "
        "matrix products, convolutions and attention, a multiplication with its addition as "
        "two.</p>"
    )


def _table(rows: Sequence[Row], heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr{'' if row.role == 'fusion' else ' class=base'}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in (row.method, *line))
        + "</tr>"
        for row, line in zip(rows, cells, strict=True)
    )
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{whole}</div>'


def _failed(rows: Sequence[Row]) -> str:
    lines_ = [(row.method, problem) for row in rows for problem in row.problems]
    if not lines_:
        return ""
    items = "".join(
        f'<li><b>{escape(name)}</b>, <span class="bad">{escape(problem)}</span></li>'
        for name, problem in lines_
    )
    return f"<ul>{items}</ul>"


def _controls(about: Mapping[str, Any]) -> str:
    others = ""
    if about["others"]:
        named = ", ".join(about["others"])
        others = tag("p", f"Also trained in every run, and not compared: {named}.")
    return bullets(about["controls"]) + others


def _source(about: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name}={value!r}" for name, value in about["options"].items())
    made = [(name, str(value)) for name, value in about["made"].items()]
    return facts([*made, ("options", options)])
