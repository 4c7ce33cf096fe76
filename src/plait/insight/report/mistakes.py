"""Where the model fails: confusion, classes, surest mistakes, slices, answers that may be wrong."""

import numpy as np
from jaxtyping import Int64

from plait.data.targets.target import Target
from plait.display.markup import (
    Html,
    bullets,
    cards,
    details,
    figure,
    join,
    named,
    note,
    number,
    percent,
    table,
    tag,
    tidy,
)
from plait.display.plots import heat_map
from plait.display.section import Section
from plait.errors import shortened
from plait.insight.diagnose.mistakes import (
    PerClass,
    confusion,
    confusions,
    per_class,
    per_label,
    surest,
    surest_labels,
)
from plait.insight.diagnose.noise import Suspects, label_suspects, suspects
from plait.insight.report.context import Context
from plait.insight.report.residuals import card, numbers
from plait.insight.report.slices import worst_slices

CLASSES_DRAWN = 20
"""Classes up to which the whole confusion matrix is drawn."""

CLASSES_LISTED = 100
"""Classes in the table at most, the worst ones."""

ROWS_SHOWN = 6
"""Rows whose cells are shown, of each kind."""


def section(context: Context) -> Section | None:
    """Every target with a known answer; None where there is none."""
    if not context.judged:
        return None
    parts = []
    for target in context.judged:
        head = tag("h3", named(target.name))
        parts.append(join([head, _body(context, target), worst_slices(context, target)]))
    return Section("mistakes", context.say("Mistakes", "错误分析"), join(parts))


def _body(context: Context, target: Target) -> Html | None:
    """What the mistakes of such answers look like; None where there is no picture of them."""
    if target.exclusive:
        return _classes(context, target)
    if target.classes:
        return _labels(context, target)
    return numbers(context, target) if target.numeric else None


def _known(context: Context, target: Target) -> Int64[np.ndarray, " known"]:
    """Places of the rows with a known answer."""
    return np.flatnonzero(context.truths[target.name][1])


# Classes.


def _classes(context: Context, target: Target) -> Html:
    rows = _known(context, target)
    truth, scores = context.truths[target.name][0][rows], context.scores[target.name][rows]
    matrix = confusion(truth, scores.argmax(axis=1), len(target.classes))
    wrong = int(matrix.sum() - np.trace(matrix))
    say = context.say
    lead = say(
        f"{wrong:,} of {len(rows):,} answers are wrong ({percent(wrong / len(rows))}).",
        f"{len(rows):,} 个答案中有 {wrong:,} 个错误（{percent(wrong / len(rows))}）。",
    )
    return join(
        [
            tag("p", lead, class_="lead"),
            _matrix(context, target, matrix),
            _confused(context, target, matrix),
            _table(context, target, per_class(matrix)),
            _surest(context, target, rows, surest(truth, scores)),
            _suspects(context, target, rows, suspects(truth, scores)),
        ]
    )


def _matrix(
    context: Context, target: Target, matrix: Int64[np.ndarray, "classes classes"]
) -> Html | None:
    """The confusion matrix as shares of each true class that occurs."""
    seen = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    if len(seen) > CLASSES_DRAWN:
        return None
    say = context.say
    part = matrix[np.ix_(seen, seen)].astype(float)
    count = part.sum(axis=1, keepdims=True)
    shares = np.divide(part, count, out=np.full_like(part, np.nan), where=count > 0)
    names = [tidy(target.classes[place]) for place in seen]
    drawn = heat_map(
        [
            f"{shortened(name, 24)} ({int(rows)})"
            for name, rows in zip(names, count[:, 0], strict=True)
        ],
        names,
        shares.tolist(),
        title=say("Confusion matrix", "混淆矩阵"),
    )
    caption = say(
        "Rows: the true class and its count. Columns: the answer. Each row sums to 1.",
        "纵向：真实类别及其行数。横向：模型答案。每一行之和为 1。",
    )
    return figure(drawn, caption, wide=True)


def _confused(
    context: Context, target: Target, matrix: Int64[np.ndarray, "classes classes"]
) -> Html:
    """The mistakes made most often, in words."""
    pairs = confusions(matrix, ROWS_SHOWN)
    if not pairs:
        return Html("")
    say, names = context.say, target.classes
    lines = []
    for true, answer, count in pairs:
        times = say(f": {count} of {matrix[true].sum()}", f"：{matrix[true].sum()} 次中 {count} 次")
        taken = say(" predicted as ", " 被认作 ")
        lines.append(join([named(names[true]), taken, named(names[answer]), times]))
    return join([tag("h4", say("Most often confused", "最常见的混淆")), bullets(lines)])


def _table(context: Context, target: Target, metrics: PerClass) -> Html:
    """One line a class or label; the worst first where there are too many to show."""
    say = context.say
    order = np.arange(len(target.classes))
    if len(order) > CLASSES_LISTED:
        order = np.argsort(np.nan_to_num(metrics.f1, nan=2.0), kind="stable")[:CLASSES_LISTED]
    heads = [
        say("class", "类别") if target.exclusive else say("label", "标签"),
        say("precision", "精确率"),
        say("recall", "召回率"),
        "F1",
        say("rows", "行数"),
        say("answered", "被回答次数"),
    ]
    lines = [
        [
            named(target.classes[place]),
            number(float(metrics.precision[place])),
            number(float(metrics.recall[place])),
            number(float(metrics.f1[place])),
            f"{metrics.support[place]:,}",
            f"{metrics.answered[place]:,}",
        ]
        for place in order
    ]
    caption = say(
        "Precision: the fraction of answers of this class that are right. Recall: the fraction of the "
        "class that is found. A dash: undefined.",
        "精确率：给出该答案时正确的比例。召回率：该类中被找出的比例。短横：分母为零。",
    )
    if len(order) < len(target.classes):
        caption += say(
            f" The {CLASSES_LISTED} worst by F1.", f" 仅列出 F1 最差的 {CLASSES_LISTED} 个。"
        )
    whole = table(heads, lines, caption=caption)
    if len(lines) <= CLASSES_DRAWN:
        return whole
    return details(say(f"All {len(lines)} classes", f"全部 {len(lines)} 个类别"), whole)


def _surest(
    context: Context,
    target: Target,
    rows: Int64[np.ndarray, " known"],
    worst: Int64[np.ndarray, " worst"],
) -> Html:
    """The wrong answers with the highest probability, with their cells."""
    say = context.say
    if not len(worst):
        return note(say("No answer is wrong.", "没有错误的答案。"))
    scores = context.scores[target.name]
    shown = []
    for place in rows[worst[:ROWS_SHOWN]].tolist():
        answer = target.classes[int(scores[place].argmax())]
        true = target.classes[int(context.truths[target.name][0][place])]
        parts = [
            named(answer),
            f" ({scores[place].max():.0%})",
            say(", true: ", "，实为 "),
            named(true),
        ]
        shown.append(card(context, place, join(parts)))
    rest = [context.named_row(int(place)) for place in rows[worst[ROWS_SHOWN:]]]
    more = say("Next: ", "其次：") + ", ".join(rest) if rest else None
    return join(
        [
            tag("h4", say("Most confident mistakes", "最自信的错误")),
            cards(shown),
            tag("p", more, class_="faint") if more else None,
        ]
    )


def _suspects(
    context: Context, target: Target, rows: Int64[np.ndarray, " known"], suspects: Suspects | None
) -> Html:
    """Rows whose given class is probably wrong."""
    say = context.say
    if suspects is None or not len(suspects.rows):
        return Html("")
    scores = context.scores[target.name]
    shown = []
    for at in range(min(ROWS_SHOWN, len(suspects.rows))):
        place = int(rows[suspects.rows[at]])
        given, likely = suspects.given[at], suspects.likely[at]
        parts = join(
            [
                say("given ", "标注为 "),
                named(target.classes[given]),
                f" ({scores[place, given]:.0%})",
                say(", more likely ", "，更可能是 "),
                named(target.classes[likely]),
                f" ({scores[place, likely]:.0%})",
            ]
        )
        shown.append(card(context, place, parts))
    count = len(suspects.rows)
    why = say(
        "Rows whose label the model confidently contradicts (confident learning, Northcutt et al. "
        "2021). Each is either a wrong label or a mistake of the model: check before you change one.",
        "模型有把握地怀疑其标注的行（置信学习，Northcutt 等 2021）。"
        "每一行要么标注有误，要么模型出错：请先查看再修改。",
    )
    places = [
        context.named_row(int(rows[row])) for row in suspects.rows[ROWS_SHOWN : 5 * ROWS_SHOWN]
    ]
    rest = tag("p", say("Next: ", "其次：") + ", ".join(places), class_="faint") if places else None
    head = say(f"Labels that may be wrong: {count}", f"可能有误的标注：{count}")
    return details(head, tag("p", why), cards(shown), rest)


# Labels.


def _labels(context: Context, target: Target) -> Html:
    say, rows = context.say, _known(context, target)
    truth = context.truths[target.name][0][rows] > 0.5
    scores = context.scores[target.name][rows]
    wrong = int((truth != (scores >= 0.5)).any(axis=1).sum())
    lead = say(
        f"{wrong:,} of {len(rows):,} rows have at least one label wrong "
        f"({percent(wrong / len(rows))}).",
        f"{len(rows):,} 行中有 {wrong:,} 行至少一个标签错误（{percent(wrong / len(rows))}）。",
    )
    shown = []
    for row, label in surest_labels(truth, scores, ROWS_SHOWN):
        place = int(rows[row])
        has = (
            say("has it", "有此标签") if truth[row, label] else say("does not have it", "无此标签")
        )
        parts = [named(target.classes[label]), f" ({scores[row, label]:.0%}), ", has]
        shown.append(card(context, place, join(parts)))
    head = tag("h4", say("Most confident mistakes", "最自信的错误"))
    worst = (
        join([head, cards(shown)]) if shown else note(say("No label is wrong.", "没有错误的标签。"))
    )
    return join(
        [
            tag("p", lead, class_="lead"),
            _table(context, target, per_label(truth, scores >= 0.5)),
            worst,
            _label_suspects(context, target, rows, label_suspects(truth, scores)),
        ]
    )


def _label_suspects(
    context: Context,
    target: Target,
    rows: Int64[np.ndarray, " known"],
    suspects: list[Suspects | None],
) -> Html:
    """Label by label, the rows that probably have it wrong."""
    say, lines, total = context.say, [], 0
    for name, of_label in zip(target.classes, suspects, strict=True):
        if of_label is None or not len(of_label.rows):
            continue
        total += len(of_label.rows)
        parts = [
            context.named_row(int(rows[row]))
            + (
                say(" (lacks it)", "（缺少）")
                if likely
                else say(" (should not have it)", "（多余）")
            )
            for row, likely in zip(
                of_label.rows[:ROWS_SHOWN], of_label.likely[:ROWS_SHOWN], strict=True
            )
        ]
        lines.append(join([named(name), f": {len(of_label.rows)}; ", ", ".join(parts)]))
    if not lines:
        return Html("")
    head = say(f"Labels that may be wrong: {total}", f"可能有误的标签：{total}")
    why = say(
        "Labels of which the model is confident of the opposite (confident learning, each label "
        "separately).",
        "模型有把握认为相反的情况（置信学习，逐个标签）。",
    )
    return details(head, tag("p", why), bullets(lines))
