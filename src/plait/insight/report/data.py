"""What the table holds: every column, what could not be read, copies, leaks, drift."""

from collections.abc import Sequence

import numpy as np

from plait.data.modalities import registry
from plait.data.modalities.datetime import EPOCH
from plait.data.origin import Gone, recall
from plait.data.table.quarantine import Entry
from plait.display.markup import (
    Html,
    bullets,
    details,
    figure,
    join,
    named,
    note,
    percent,
    table,
    tag,
    tidy,
)
from plait.display.plots import Bar, Series, bars, lines
from plait.display.section import Section
from plait.errors import counted, shortened
from plait.insight.diagnose.columns import Column, Distribution
from plait.insight.diagnose.fingerprints import LENGTH, SIZE, TIME
from plait.insight.diagnose.table_check import MAX_COMPARED_ROWS, TableCheck, compare_tables
from plait.insight.diagnose.vectors import vectors
from plait.insight.report.context import Context
from plait.insight.report.drift import drifted
from plait.insight.report.leakage import LISTED, copies

COLUMNS_DRAWN = 40
"""Columns drawn at most; all are in the table."""


def section(context: Context) -> Section | None:
    """Columns, unreadable cells, copies and leaks."""
    check = _table_check(context)
    say = context.say
    parts = [
        _missing_table(context, check.gone),
        _columns(context, check),
        drifted(context, check),
        copies(context, check),
        _quarantine(context),
        _drawn(context, check.columns),
    ]
    return Section("data", say("Data", "数据"), join(parts))


def _table_check(context: Context) -> TableCheck:
    """The table beside the one the model learnt from."""
    origin = recall(context.run, context.train)
    model = context.model
    with context.threads():
        seen = vectors(model.model, context.prepared.columns, context.every)
        most = min(MAX_COMPARED_ROWS, 2 * context.limits.rows)
        return compare_tables(model, context.table, seen, origin, most)


def _missing_table(context: Context, gone: Gone | None) -> Html | None:
    """That there is nothing to compare with, and why."""
    if gone is None:
        return None
    say = context.say
    message = say(
        f"No comparison with the training rows: {gone.why}. Name the table with --train (train=... in "
        "Python) to see leakage and drift.",
        f"此处没有与训练数据比较：{gone.why_zh}。用 --train（Python 中为 train=...）指明训练表"
        "即可查看泄漏与漂移。",
    )
    return note(message)


# Columns.


def _columns(context: Context, check: TableCheck) -> Html:
    say = context.say
    roles = {
        "input": say("input", "输入"), "target": say("target", "目标"),
        "group": say("group", "分组"), "ignored": say("ignored", "忽略"), "new": say("new", "新列"),
    }  # fmt: skip
    heads = [
        say("column", "列"), say("examples", "示例"), say("read as", "用作"),
        say("missing", "缺失"), say("missing in training", "训练时缺失"),
        say("unreadable", "无法读取"), say("different", "不同值"),
    ]  # fmt: skip
    rows = [
        [
            named(column.name),
            named(shortened("; ".join(column.examples[:2]), 90)),
            roles[column.role]
            if column.modality is None
            else f"{roles[column.role]}, {column.modality}",
            percent(column.missing),
            percent(column.missing_before),
            f"{column.unread:,}",
            f"{column.distinct:,}",
        ]
        for column in check.columns
    ]
    lacking = [
        name for name in context.model.features.modalities if name in context.prepared.absent
    ]
    caption = say(
        f"Columns on {counted(check.looked_at)}.",
        f"所查看的 {check.looked_at:,} 行的各列。",
    )
    why = [
        join([named(column.name), ": ", column.reason]) for column in check.columns if column.reason
    ]
    head = say("Why each column has this modality", "各列判定的理由（英文）")
    reasons = details(head, bullets(why)) if why else None
    absent = None
    if lacking:
        names = ", ".join(lacking)
        absent = note(say(f"Not in this table: {names}.", f"此表缺少的列：{names}。"), bad=True)
    return join([table(heads, rows, caption=caption, left=2), absent, reasons])


# What could not be read.


def _quarantine(context: Context) -> Html:
    say = context.say
    here = context.prepared.quarantine.entries
    kept = context.model.quarantine.entries
    parts = [tag("h3", say("Unreadable cells", "无法读取的单元格"))]
    if not here and not kept:
        message = say("Every cell could be read.", "所有单元格均可读取。")
        return join([*parts, tag("p", message)])
    if here:
        renamed = [
            Entry(int(context.rows[entry.row]), entry.column, entry.reason) for entry in here
        ]
        head = say(f"In this table: {len(here)}", f"本表：{len(here)} 个")
        parts.append(_entries(context, head, renamed))
    if kept:
        head = say(f"During fitting: {len(kept)}", f"训练时遇到：{len(kept)} 个")
        parts.append(_entries(context, head, kept))
    return join(parts)


def _entries(context: Context, head: str, entries: Sequence[Entry]) -> Html:
    say = context.say
    heads = [say("column", "列"), say("reason", "原因"), say("row", "行")]
    rows = [
        [named(entry.column), named(shortened(entry.reason)), f"{entry.row}"]
        for entry in entries[:LISTED]
    ]
    caption = say("They count as missing. Rows count from 0.", "它们按缺失处理。行号从 0 开始。")
    if len(entries) > LISTED:
        caption += say(f" The first {LISTED}.", f" 仅列前 {LISTED} 个。")
    return details(head, table(heads, rows, caption=caption, left=2), open_=len(entries) <= 5)


# Distributions.


def _drawn(context: Context, columns: Sequence[Column]) -> Html:
    say, parts = context.say, []
    for column in columns[:COLUMNS_DRAWN]:
        shown = _examples(context, column)
        plot = _plot(context, column) if column.distribution is not None else None
        if shown or plot:
            head = tag("h4", named(column.name))
            parts.append(tag("div", head, figure(plot) if plot else None, shown))
    if not parts:
        return Html("")
    head = tag("h3", say("Column by column", "逐列分布"))
    return join([head, tag("div", *parts, class_="plots")])


def _examples(context: Context, column: Column) -> Html | None:
    """Pictures and sounds to look at and listen to; other cells are in the table above."""
    kind = context.model.features.modalities.get(column.name)
    if kind is None or not registry.get(kind).media or not column.example_rows:
        return None
    shown = [context.album.cell(column.name, row) for row in column.example_rows[:2]]
    return tag("div", *shown, class_="pair")


def _plot(context: Context, column: Column) -> str:
    distribution = column.distribution
    assert distribution is not None
    here, there = context.say("this table", "本表"), context.say("training", "训练")
    title = _what(context, distribution)
    if distribution.labels:
        return _category_bars(context, distribution, title, here, there)
    middles = [
        (low + high) / 2
        for low, high in zip(distribution.edges[:-1], distribution.edges[1:], strict=True)
    ]
    if distribution.what == TIME:
        title += _span(distribution)
        middles = [(middle - distribution.edges[0]) / 86400 for middle in middles]
    if distribution.what == SIZE:
        middles = [middle / 1000 for middle in middles]
    drawn = [Series(here, middles, distribution.here)]
    if distribution.before is not None:
        drawn.append(Series(there, middles, distribution.before))
    share = context.say("fraction of cells", "占比")
    return lines(drawn, title=title, x_label="", y_label=share, size=(420, 230))


def _category_bars(
    context: Context, distribution: Distribution, title: str, here: str, there: str
) -> str:
    others, shown = context.say("all others", "其余"), []
    for place, label in enumerate(distribution.labels):
        name = others if label is None else shortened(tidy(label), 28)
        shown.append(Bar(name, distribution.here[place]))
        if distribution.before is not None:
            shown.append(Bar("", distribution.before[place], group=1))
    groups = [here] if distribution.before is None else [here, there]
    return bars(shown, title=title, x_label="", groups=groups, width=420)


def _what(context: Context, distribution: Distribution) -> str:
    say = context.say
    return {
        None: say("Frequencies of categories", "各类别占比"),
        LENGTH: say("Characters per cell", "每格字符数"),
        SIZE: say("Size of the files, kB", "文件大小（kB）"),
        TIME: say("Days", "天数"),
    }.get(distribution.what, say("Values", "数值"))


def _span(distribution: Distribution) -> str:
    """The first day that is drawn."""
    start = EPOCH.timestamp() - EPOCH.timestamp() + distribution.edges[0]
    return f" ({np.datetime64(round(start), 's').astype('datetime64[D]')} = 0)"
