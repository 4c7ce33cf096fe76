"""What each stream adds: to the metrics, to the answers, to a few rows."""

import numpy as np

from plait.data.targets.target import Target
from plait.display.markup import (
    Html,
    bullets,
    cards,
    compact,
    details,
    figure,
    join,
    levels,
    named,
    note,
    number,
    plots,
    signed,
    table,
    tag,
)
from plait.display.plots import Bar, bars
from plait.display.section import Section
from plait.errors import shortened
from plait.insight.explain.contributions import (
    INDEPENDENT,
    REDUNDANCY,
    SYNERGY,
    UNKNOWN,
    MetricShares,
    TargetShares,
)
from plait.insight.report.context import Context

WIDTH = 400


def section(context: Context) -> Section | None:
    """Shapley values and interactions; nothing for a model of one stream, which has all of it."""
    say = context.say
    if len(context.model.model.streams) < 2 or not len(context):
        return None
    parts = [_target(context, target) for target in context.model.targets]
    lead = say(
        "The contribution of each stream (one media column, or all tabular columns together) to the "
        "answer. Every subset of streams is evaluated, and the metric is divided fairly among them "
        "(Shapley values): the contributions sum exactly to the difference between all streams and "
        "none.",
        "每个模态（全部表格列合为一个）对答案的贡献。尝试所有模态子集，并公平分摊（Shapley 值）："
        "各部分之和恰好等于“全部可见”与“全部不可见”之差。",
    )
    blocks = [tag("p", lead)]
    if context.contributions.sampled:
        sampled = say(
            "There are more than eight streams, so these are estimates from random orders.",
            "模态超过八个，以下为随机顺序的估计值。",
        )
        blocks.append(note(sampled))
    return Section(
        "contributions", say("Contribution of each stream", "各模态的贡献"), join(blocks + parts)
    )


def _target(context: Context, target: Target) -> Html:
    shares = context.contributions.targets[target.name]
    parts: list[Html] = []
    if len(context.model.targets) > 1:
        parts.append(tag("h3", named(target.name)))
    figures = [_mean(context, target)]
    primary = shares.metrics.get(target.primary)
    if primary is not None and np.isfinite(primary.values).all():
        figures.insert(0, _metric(context, target, primary))
    parts.append(plots(*figures))
    if shares.metrics:
        parts += [_pairs(context, target), _every(context, target, shares)]
    parts.append(_examples(context, target, shares))
    return join(parts)


def _metric(context: Context, target: Target, shares: MetricShares) -> Html:
    """The primary metric, shared out."""
    name = context.metric(target.primary)
    shown = [
        Bar(shortened(stream, 24), float(value))
        for stream, value in zip(context.contributions.streams, shares.values, strict=True)
    ]
    title = context.say(f"Contribution of each stream to {name}", f"对{name}的贡献")
    caption = context.say(
        f"From {number(shares.empty)} with no stream to {number(shares.fused)} with all of them.",
        f"从全部不可见时的 {number(shares.empty)} 到全部可见时的 {number(shares.fused)}。",
    )
    return figure(bars(shown, title=title, x_label=name, width=WIDTH), caption)


def _mean(context: Context, target: Target) -> Html:
    """The mean absolute contribution to rows' answers."""
    say = context.say
    shown = [
        Bar(shortened(stream, 24), value)
        for stream, value in context.contributions.importance(target.name).items()
    ]
    unit = target.score_unit or say("probability", "概率")
    title = say("Size of the contribution to a single answer", "对单个答案的平均影响")
    caption = say(
        "Mean absolute contribution to the score of a row's answer, in either direction.",
        "对每行答案得分贡献的绝对值的平均，不分方向。",
    )
    return figure(bars(shown, title=title, x_label=shortened(unit, 40), width=WIDTH), caption)


def _pairs(context: Context, target: Target) -> Html:
    """Which pairs of streams are more, or less, together than one by one."""
    say, metric = context.say, target.primary
    contributions = context.contributions
    shares = contributions.targets[target.name].metrics[metric]
    readings = contributions.metric_readings(target.name, metric)
    meanings = {
        SYNERGY: say("more together than separately (synergy)", "合在一起大于各自之和（协同）"),
        REDUNDANCY: say("partly the same information (redundancy)", "部分信息重复（冗余）"),
        INDEPENDENT: say("contributions add up (independent)", "各自独立贡献（独立）"),
        UNKNOWN: say("too few orders were sampled to decide", "抽样不足，无法判断"),
    }
    lines = [
        join(
            [
                named(first),
                say(" and ", " 与 "),
                named(second),
                say(": ", "："),
                meanings[word],
                say(", ", "，"),
                tag("strong", signed(float(value))),
            ]
        )
        for ((first, second), word), value in zip(
            readings.items(), shares.interactions, strict=True
        )
    ]
    order = np.argsort(-np.nan_to_num(np.abs(shares.interactions)), kind="stable")
    title = say("Pairs of streams", "成对的模态")
    caption = say(
        f"Interaction index on {context.metric(metric)}. Two streams that each suffice look redundant, "
        "because a metric cannot rise above its best value.",
        f"对{context.metric(metric)}的交互指数。指标有上限时，两个各自足够的模态会显得冗余。",
    )
    return join(
        [tag("h3", title), tag("p", caption, class_="faint"), bullets(lines[at] for at in order)]
    )


def _every(context: Context, target: Target, shares: TargetShares) -> Html:
    """All metrics, shared out."""
    say = context.say
    heads = [say("metric", "指标"), say("nothing", "全部不可见")]
    heads += [shortened(name, 24) for name in context.contributions.streams]
    heads += [say("everything", "全部可见")]
    rows = [
        [
            f"{context.metric(name)} {'↑' if target.higher_is_better[name] else '↓'}",
            number(contribution.empty),
            *(signed(float(value)) for value in contribution.values),
            number(contribution.fused),
        ]
        for name, contribution in shares.metrics.items()
    ]
    caption = say("From no stream to all of them, by contribution.", "从全部不可见到全部可见。")
    return details(
        say("Contributions to every metric", "全部指标的分摊"), table(heads, rows, caption=caption)
    )


def _examples(context: Context, target: Target, shares: TargetShares) -> Html:
    """A few rows: the surest, the most divided, the least confident."""
    say = context.say
    chosen = _chosen(context, target, shares)
    if not chosen:
        return Html("")
    title = say("Example rows", "示例行")
    lead = say("Orange counts for the answer, blue against it.", "橙色支持该答案，蓝色反对。")
    shown = cards(_card(context, target, shares, why, row) for why, row in chosen)
    return join([tag("h3", title), tag("p", lead, class_="faint"), shown])


def _chosen(context: Context, target: Target, shares: TargetShares) -> list[tuple[str, int]]:
    """Why each example was chosen, and its place."""
    say = context.say
    against = np.minimum(shares.values, 0).sum(axis=1)
    places = {
        int(np.argmax(shares.fused - shares.empty)): say("largest contributions", "贡献最大"),
        int(np.argmin(against)): say("most divided", "分歧最大"),
    }
    if target.classes:
        places.setdefault(int(np.argmin(shares.fused)), say("least confident", "最不确定"))
    return [(why, place) for place, why in places.items()]


def _card(context: Context, target: Target, shares: TargetShares, why: str, place: int) -> Html:
    say = context.say
    answer = told_answer(target, shares.answers[place])
    heading = tag(
        "h4", f"{context.named_row(place)}: ", named(answer), " ", tag("span", why, class_="chip")
    )
    truth = context.true_answer(target, place)
    known = (
        tag("p", say("true answer: ", "真实答案："), named(told_answer(target, truth)))
        if truth is not None
        else None
    )
    from_to = say(
        f"score from {number(float(shares.empty[place]))} to {number(float(shares.fused[place]))}",
        f"得分从 {number(float(shares.empty[place]))} 到 {number(float(shares.fused[place]))}",
    )
    added = share_levels(context, shares, place)
    return join([heading, known, tag("p", from_to, class_="faint"), added, cells(context, place)])


def share_levels(context: Context, shares: TargetShares, place: int) -> Html:
    """What each stream of a row adds, as bars."""
    contributions = context.contributions
    return levels(
        [
            (
                named(shortened(name, 24)),
                float(value) if there else None,
                signed(float(value)) if there else context.say("missing", "缺失"),
            )
            for name, value, there in zip(
                contributions.streams,
                shares.values[place],
                contributions.present[place],
                strict=True,
            )
        ]
    )


def cells(context: Context, place: int, most: int = 8) -> Html:
    """A row's cells as a reader sees them, input columns first."""
    inputs = list(context.model.features.modalities)[:most]
    return tag(
        "dl",
        *(
            join([tag("dt", named(name)), tag("dd", context.album.cell(name, place))])
            for name in inputs
        ),
        class_="facts cells",
    )


def told_answer(target: Target, answer: object) -> str:
    """An answer as text."""
    if target.numeric and isinstance(answer, int | float):
        return compact(answer)
    text = target.text(answer)
    return text if isinstance(answer, list | tuple) else shortened(text, 60)
