"""One row's answer and what it rests on, as a page."""

import numpy as np

from plait.data.targets.target import Target
from plait.display.markup import (
    Child,
    Html,
    bullets,
    join,
    levels,
    named,
    note,
    number,
    signed,
    tag,
    tiles,
)
from plait.display.section import Section
from plait.errors import shortened
from plait.insight.explain.contributions import REDUNDANCY, SYNERGY
from plait.insight.report.context import Context
from plait.insight.report.contributions import cells, share_levels, told_answer
from plait.insight.report.within import maps

RUNNERS_UP = 3
"""Classes that are shown beside the answered one."""

PERCENTILE = 95.0


def row_sections(context: Context) -> list[Section]:
    """The parts of the page about the only row of a context."""
    say = context.say
    return [
        Section("answer", say("The answer", "答案"), _answers(context)),
        Section(
            "contributions", say("Contribution of each stream", "各模态的贡献"), _streams(context)
        ),
        Section("within", say("Inside each modality", "模态内部"), _maps(context)),
    ]


def _answers(context: Context) -> Html:
    say = context.say
    parts: list[Child] = []
    for target in context.model.targets:
        parts += [tag("h3", named(target.name)), _answer(context, target)]
    where = context.model.held.outlier
    if where is not None:
        share = float(where.percentile(context.vectors)[0])
        message = say(
            f"This row is farther from the training data than {share:.0f} % of the validation rows.",
            f"该行比 {share:.0f} % 的验证数据离已知数据更远。",
        )
        parts.append(note(message, bad=share >= PERCENTILE))
    for line in context.prepared.quarantine.summary():
        parts.append(note(named(line), bad=True))
    parts += [tag("h3", say("The row", "该行")), cells(context, 0, most=40)]
    return join(parts)


def _answer(context: Context, target: Target) -> Html:
    """The answer, the truth where it is known, and the runners-up."""
    say = context.say
    answer = told_answer(target, context.answers.values[target.name][0])
    rows: list[tuple[Child, Child, Child]] = [(say("answer", "答案"), named(answer), None)]
    truth = context.true_answer(target, 0)
    if truth is not None:
        true = named(told_answer(target, truth))
        rows.append((say("true answer", "真实答案"), true, None))
    if not target.classes:
        return tiles(rows)
    scores = context.scores[target.name][0]
    best = np.argsort(-scores, kind="stable")
    if target.exclusive:
        best = best[: RUNNERS_UP + 1]
    chances = [
        (named(shortened(target.classes[at], 40)), float(scores[at]), number(float(scores[at])))
        for at in best.tolist()
    ]
    return join([tiles(rows), levels(chances, whole=1.0)])


def _streams(context: Context) -> Html:
    say, contributions = context.say, context.contributions
    parts: list[Child] = []
    for target in context.model.targets:
        shares = contributions.targets[target.name]
        lead = say(
            f"From {number(float(shares.empty[0]))} with no stream to {number(float(shares.fused[0]))} "
            "with all of them, divided among the streams (Shapley values). Orange counts for the "
            "answer, blue against it.",
            f"从全部不可见时的 {number(float(shares.empty[0]))} 到全部可见时的 "
            f"{number(float(shares.fused[0]))}，按 Shapley 值分摊到各模态。橙色支持，蓝色反对。",
        )
        if len(context.model.targets) > 1:
            parts.append(tag("h3", named(target.name)))
        parts += [tag("p", lead), share_levels(context, shares, 0), _pairs(context, target)]
    return join(parts)


def _pairs(context: Context, target: Target) -> Html:
    """Pairs of streams that are more, or less, together than one by one."""
    say, contributions = context.say, context.contributions
    words = {
        SYNERGY: say("more together than separately", "合在一起大于各自之和"),
        REDUNDANCY: say("partly the same information", "部分信息重复"),
    }
    shares = contributions.targets[target.name].interactions[0]
    lines = [
        join(
            [
                named(first),
                say(" and ", " 与 "),
                named(second),
                f": {words[word]}, {signed(float(value))}",
            ]
        )
        for ((first, second), word), value in zip(
            contributions.readings(target.name, 0).items(), shares, strict=True
        )
        if word in words
    ]
    return bullets(lines)


def _maps(context: Context) -> Html:
    lead = context.say(
        "Which pixels, words, moments and fields the answer is based on (integrated gradients).",
        "答案依据了哪些像素、词语、时刻和字段（积分梯度）。",
    )
    parts: list[Child] = [tag("p", lead)]
    for target in [target for target in context.model.targets if not target.ragged]:
        if len(context.model.targets) > 1:
            parts.append(tag("h3", named(target.name)))
        parts.append(maps(context, target, np.zeros(1, np.int64)))
    return join(parts)
