"""What mattered inside each modality, shown on the things themselves, and whether to believe it."""

from collections.abc import Callable

import numpy as np

from plait.data.features import PreparedTable
from plait.data.modalities.base import TIMED, Unit
from plait.data.table.quarantine import Quarantine
from plait.data.targets.target import Target
from plait.display.markup import (
    Child,
    Html,
    cards,
    details,
    join,
    levels,
    named,
    note,
    number,
    signed,
    table,
    tag,
)
from plait.display.section import Section
from plait.errors import counted, shortened
from plait.insight.explain.explanation import Words, spelt, whole
from plait.insight.explain.sanity import (
    FIELDS,
    Deletion,
    Randomised,
    deletion_check,
    randomisation_check,
)
from plait.insight.explain.within import Within, attribute
from plait.insight.report.context import Context, some_rows
from plait.insight.report.contributions import told_answer
from plait.insight.report.heat import over_picture, over_signal, over_spectrum, over_words

MIN_ROWS = 5
"""Rows that the check by deletion takes to be judged by."""


def section(context: Context) -> Section | None:
    """Maps of a few rows, and the two checks of such maps."""
    able = [target for target in context.model.targets if not target.ragged]
    if not len(context) or not able:
        return None
    say, target = context.say, able[0]
    places = chosen(context, target)
    lead = say(
        "Which pixels, words, moments and fields the answer is based on (integrated gradients). Orange "
        "counts for the answer, blue against it; the stronger the colour, the more.",
        "答案依据了哪些像素、词语、时刻和字段（积分梯度）。橙色支持答案，蓝色反对；颜色越深影响越大。",
    )
    parts = [tag("p", lead), maps(context, target, places), _checks(context, target)]
    return Section("within", say("Inside each modality", "模态内部"), join(parts))


def chosen(context: Context, target: Target) -> np.ndarray:
    """Rows to show: those that have most of the inputs; among them, spread over the answers."""
    there = np.stack([answer.rows_present for answer in context.prepared.columns.values()]).sum(
        axis=0
    )
    fullest = np.flatnonzero(there == there.max())
    answers = [str(answer) for answer in context.answers.values[target.name][fullest]]
    _, first = np.unique(answers, return_index=True)
    picked = np.sort(first) if len(first) >= context.limits.examples else np.arange(len(fullest))
    return fullest[picked[: context.limits.examples]]


def maps(context: Context, target: Target, places: np.ndarray) -> Html:
    """Cards of rows with their marked cells."""
    attributions, words = explained(context, target, places)
    items = [
        _card(context, target, attributions, words, at, place)
        for at, place in enumerate(places.tolist())
    ]
    left = [named(name) for name in attributions.left]
    message = None
    if left:
        say = context.say
        message = note(say("Without maps: ", "没有热图的列："), join(left, ", "))
    return join([cards(items), message])


def explained(
    context: Context, target: Target, places: np.ndarray
) -> tuple[Within, dict[str, Words]]:
    """The maps and the words of some rows."""
    model, columns = context.model, some_rows(context.prepared.columns, places)
    with context.threads():
        attributions = attribute(
            model.model,
            columns,
            np.arange(len(places)),
            target,
            model.features,
            steps=context.limits.steps,
        )
    part = PreparedTable(columns, Quarantine())
    return attributions, spelt(model.features, model.config, context.table.take(places), part)


def _card(
    context: Context,
    target: Target,
    attributions: Within,
    words: dict[str, Words],
    at: int,
    place: int,
) -> Html:
    say = context.say
    answer = told_answer(target, context.answers.values[target.name][place])
    heading = tag("h3", f"{context.named_row(place)}: ", named(answer))
    truth = context.true_answer(target, place)
    known = None
    if truth is not None:
        true = named(told_answer(target, truth))
        known = tag("p", say("true answer: ", "真实答案："), true, class_="faint")
    ends = [number(float(scores[at])) for scores in (attributions.base, attributions.score)]
    from_to = say(
        f"score from {ends[0]} for blank cells to {ends[1]}",
        f"得分从空白单元格的 {ends[0]} 到 {ends[1]}",
    )
    parts: list[Child] = [heading, known, tag("p", from_to, class_="faint")]
    fields: list[tuple[Child, float | None, str]] = []
    for name, cells in attributions.maps.items():
        values = cells[at]
        if attributions.kinds[name] == "field":
            value = None if values is None else float(values)
            shown = say("missing", "缺失") if value is None else signed(value)
            fields.append((_field(context, name, place), value, shown))
        elif values is None:
            parts.append(_named(name, tag("span", say("missing", "缺失"), class_="chip")))
        else:
            spoken = words.get(name, [None] * (at + 1))[at]
            drawn = _drawn(context, attributions.kinds[name], name, place, values, spoken)
            parts.append(_named(name, drawn, signed(float(values.sum()))))
    if fields:
        whole = max(map(abs, attributions.totals(at).values()))
        parts.append(levels(fields, whole=whole))
    return join(parts)


def _named(name: str, shown: Html, total: str = "") -> Html:
    head = tag("p", tag("strong", named(name)), f" {total}")
    return tag("div", head, shown)


def _field(context: Context, name: str, place: int) -> Html:
    """A field with its cell, where that is a few letters."""
    if context.album.display(name) == "frames":
        return join([named(shortened(name, 24)), context.album.cell(name, place)])
    cell = context.album.raw(name, place)
    value_text = "" if cell is None else f" = {shortened(str(cell), 16)}"
    return named(shortened(name, 24) + value_text)


def _drawn(
    context: Context,
    kind: Unit,
    name: str,
    place: int,
    values: np.ndarray,
    words: list[str] | None,
) -> Html:
    """A cell with its map on it."""
    say, album = context.say, context.album
    column = context.prepared.columns[name]
    if words is not None and len(words) == len(values):
        return over_words(*whole(words, values))
    own, mask = column.batch(np.array([place]))
    alt = say(f"{name}: what counts for and against", f"{name}：支持与反对之处")
    if kind == "pixels":
        heat = album.picture(over_picture(own[0], values, album.side), alt)
        return tag("div", album.cell(name, place), heat, class_="pair")
    if kind == "spectrum":
        drawn = album.picture(
            over_spectrum(own[0][mask[0]].astype(np.float64), values), alt, wide=True
        )
        below = say("time →, high notes above", "时间 →，上方为高音")
        return join([drawn, tag("small", below), _player(context, name, place)])
    if kind in TIMED:
        return over_signal(own[0][mask[0]].astype(np.float64), values, alt)
    step = say("strongest at token", "最强之处为第")
    strongest = np.argsort(-np.abs(values), kind="stable")[:3]
    steps = ", ".join(f"{at + 1} ({signed(float(values[at]))})" for at in strongest)
    of = say(f"of {len(values)}", f"个标记（共 {len(values)} 个）")
    return join([album.cell(name, place), tag("small", f"{step} {steps} {of}")])


def _player(context: Context, name: str, place: int) -> Html:
    wave = context.album.wave(name, place)
    return Html("") if wave is None else context.album.player(*wave, name)


def _checks(context: Context, target: Target) -> Html:
    """Deletion and randomised weights, on some rows."""
    say = context.say
    count = min(context.limits.checked, len(context))
    if not count:
        return Html("")
    rows = np.unique(np.linspace(0, len(context) - 1, count).astype(np.int64))
    model, columns = context.model, context.prepared.columns
    steps, seed = context.limits.steps, context.seed
    with context.threads():
        deleted = deletion_check(model, columns, rows, target, draws=3, steps=steps, seed=seed)
        shuffled = randomisation_check(model, columns, rows, target, steps=steps, seed=seed)
    title = tag("h3", say("Are these maps reliable?", "这些热图可信吗？"))
    lead = say(
        f"Two checks on {counted(len(rows))}. Deleting the marked part should lower the score more "
        "than deleting as much at random; and a model with shuffled weights should give different maps.",
        f"在 {len(rows)} 行上做两项检查：删除被标记的部分应比随机删除同样多的部分更降低得分；"
        "权重打乱后的模型应给出不同的热图。",
    )
    return join([title, tag("p", lead), _deletion(context, deleted), _shuffled(context, shuffled)])


def _deletion(context: Context, deletions: list[Deletion]) -> Html:
    if not deletions:
        return Html("")
    say = context.say
    judged = [deletion for deletion in deletions if deletion.rows >= MIN_ROWS]
    passed = sum(deletion.passed for deletion in judged)
    rows: list[list[Child]] = [
        [
            say("tabular fields", "表格字段")
            if deletion.group == FIELDS
            else named(deletion.group),
            deletion.rows,
            number(deletion.marked),
            number(deletion.random),
            _with_interval(deletion.difference, deletion.interval, signed)
            if deletion in judged
            else signed(deletion.difference),
            tag(
                "strong",
                say("passes", "通过") if deletion.passed else say("not shown", "未证实"),
                class_="good" if deletion.passed else "bad",
            )
            if deletion in judged
            else say("too few rows", "行数太少"),
        ]
        for deletion in deletions
    ]
    heads = [
        say("deleted from", "删除自"),
        say("rows", "行数"),
        say("drop, marked part", "下降：标记部分"),
        say("drop, random part", "下降：随机部分"),
        say("difference (95 %)", "差值（95 %）"),
        say("check", "检查"),
    ]
    if judged:
        caption = say(
            f"Deletion: {passed} of {len(judged)} pass, with the interval of the difference above 0.",
            f"删除检查：{len(judged)} 项中 {passed} 项通过（差值区间在 0 之上）。",
        )
    else:
        caption = say(
            f"Deletion: too few rows; it needs {MIN_ROWS}.",
            f"删除检查：行数太少，无法判断；至少需要 {MIN_ROWS} 行。",
        )
    return table(heads, rows, caption=caption)


def _with_interval(
    value: float, interval: tuple[float, float], spelt: Callable[[float], str]
) -> str:
    low, high = interval
    return f"{spelt(value)} ({spelt(low)} – {spelt(high)})"


def _shuffled(context: Context, comparisons: list[Randomised]) -> Html:
    if not comparisons:
        return Html("")
    say = context.say
    rows: list[list[Child]] = [
        [
            named(comparison.column),
            comparison.rows,
            _with_interval(comparison.correlation, comparison.interval, number),
        ]
        for comparison in comparisons
    ]
    heads = [say("column", "列"), say("rows", "行数"), say("similarity (95 %)", "相似度（95 %）")]
    caption = say(
        "Similarity of maps before and after the weights are shuffled (absolute rank correlation): "
        "near 0, maps depend on what was learnt; near 1, they show only the input.",
        "权重打乱前后热图的相似度（秩相关绝对值）：接近 0 说明热图反映学到的内容；"
        "接近 1 则无论学到什么都只反映输入。",
    )
    return details(
        say("Shuffled weights", "打乱权重"), table(heads, rows, caption=caption), open_=True
    )
