"""Rows that come twice, and rows that the model has learnt from."""

from collections.abc import Sequence

import numpy as np

from plait.display.markup import Html, bullets, details, join, named, note, tag, tidy
from plait.errors import counted
from plait.insight.diagnose.copies import Copies
from plait.insight.diagnose.table_check import Leaks, TableCheck
from plait.insight.report.context import Context

LISTED = 50
"""Rows, or unreadable cells, listed at most."""


def copies(context: Context, check: TableCheck) -> Html:
    """Rows that repeat others of this table, and rows of the training table."""
    say = context.say
    parts = [tag("h3", say("Duplicates and leakage", "重复与泄漏"))]
    if len(check.repeats):
        message = say(
            f"Rows that repeat an earlier row of this table in every input column: {len(check.repeats)}",
            f"全部输入与本表较早某行相同的行：{len(check.repeats)}",
        )
        parts.append(_pairs(context, message, check.repeats, check.disagree, context.rows))
    else:
        parts.append(
            tag(
                "p",
                say("No row repeats another in every input.", "没有任何两行的全部输入相同。"),
            )
        )
    if check.held_out:
        message = say(
            "These rows are the held-out rows of the training table themselves.",
            "这些行就是训练表中留出的验证行。",
        )
        parts.append(tag("p", message, class_="faint"))
    if check.leaks is not None:
        parts += _leaks(context, check.leaks)
    return join(parts)


def _leaks(context: Context, leaks: Leaks) -> list[Html]:
    say = context.say
    parts = []
    if len(leaks.rows):
        message = say(
            f"Rows that are among the {leaks.learnt:,} training rows: {len(leaks.rows)}. Metrics on "
            "them say nothing about new rows.",
            f"出现在模型学习过的 {leaks.learnt:,} 行之中的行：{len(leaks.rows)}。"
            "在它们上的指标不能说明新数据的表现。",
        )
        parts.append(note(tag("strong", message), bad=True))
        parts.append(_pairs(context, say("Which", "列表"), leaks.rows, leaks.disagree, None))
    elif not leaks.unread:
        message = say(
            f"No row is among the {counted(leaks.learnt)} the model was trained on (all input cells "
            "compared by content).",
            f"没有任何一行出现在模型学习过的 {leaks.learnt:,} 行中（按内容比较全部输入单元格）。",
        )
        parts.append(tag("p", message))
    if leaks.unread:
        counts = ", ".join(f"{tidy(name)}: {count:,}" for name, count in leaks.unread.items())
        message = say(
            f"Cells of the training table that could not be read ({counts}): they cannot be checked "
            "for leakage. If its media are elsewhere, name their folder with --root (root=...).",
            f"训练表中无法读取的单元格（{counts}）：无法据此判断泄漏。"
            "若媒体文件在别处，请用 --root（root=...）指明文件夹。",
        )
        parts.append(note(message, bad=True))
    for name, rows in leaks.cells.items():
        if len(rows) > len(leaks.rows):
            message = say(
                f": cells that also occur in the training rows: {len(rows)}",
                f"：也出现在训练数据中的单元格：{len(rows)}",
            )
            parts.append(_pairs(context, join([named(name), message]), rows, [], None))
    if leaks.near is not None:
        few = leaks.near.rows
        message = say(
            f"Nearly identical to one of {leaks.compared:,} training rows, as the model encodes them: "
            f"{len(few)}",
            f"在编码器看来与 {leaks.compared:,} 行训练数据中的某行几乎相同：{len(few)} 行",
        )
        if len(few):
            parts.append(_pairs(context, message, Copies(few, leaks.near.twins), [], None))
        else:
            message = say(
                f"None is nearly identical to one of {leaks.compared:,} training rows either, as the "
                "model encodes them.",
                f"在编码器看来，也没有任何一行与 {leaks.compared:,} 行训练数据中的某行几乎相同。",
            )
            parts.append(tag("p", message, class_="faint"))
    return parts


def _pairs(
    context: Context,
    head: Html | str,
    pairs: Copies,
    disagree: Sequence[int],
    twins: np.ndarray | None,
) -> Html:
    """Rows and their twins, those first whose answers differ.

    Args:
        twins: the user's numbers of the twins' rows; None: they are of the training table.
    """
    say, unlike = context.say, set(disagree)
    order = sorted(range(len(pairs)), key=lambda at: (at not in unlike, at))
    lines = []
    for at in order[:LISTED]:
        twin = int(pairs.twins[at]) if twins is None else int(twins[pairs.twins[at]])
        place = say(f"training row {twin}", f"训练表第 {twin} 行")
        line = f"{context.named_row(int(pairs.rows[at]))} = "
        line += place if twins is None else say(f"row {twin}", f"第 {twin} 行")
        lines.append(
            line + (say(", with a different answer", "，但答案不同") if at in unlike else "")
        )
    if len(pairs) > LISTED:
        lines.append(say(f"and {len(pairs) - LISTED} more", f"以及另外 {len(pairs) - LISTED} 个"))
    if unlike:
        more = say(f"; {len(unlike)} with a different answer", f"；其中 {len(unlike)} 个答案不同")
        head = join([head, more])
    return details(head, bullets(lines))
