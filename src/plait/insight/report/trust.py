"""How far to trust an answer: calibration, prediction sets, abstention, unusual rows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from plait.data.targets.scores import Scores
from plait.data.targets.target import Target
from plait.display.markup import (
    Child,
    Html,
    figure,
    join,
    named,
    note,
    number,
    percent,
    plots,
    table,
    tag,
)
from plait.display.plots import Bar, Series, bars, lines
from plait.display.section import Section
from plait.errors import counted
from plait.insight.explain.calibration import MIN_CALIBRATION_ROWS, Reliability, reliability
from plait.insight.report.context import Context
from plait.insight.report.prediction_sets import coverage_sets, risks

WIDTH = 400
PERCENTILE = 95.0
"""Percentile from which on a row counts as unusual."""

BINS = 10


class Judged(NamedTuple):
    """A target's rows whose true answer is known."""

    target: Target
    truth: Shaped[np.ndarray, "rows ..."]
    scores: Scores


def section(context: Context) -> Section | None:
    """Everything that says when to believe an answer; nothing without rows."""
    if not len(context):
        return None
    say, parts = context.say, []
    for target in context.judged:
        values, known = context.truths[target.name]
        judged = Judged(target, values[known], context.scores[target.name][known])
        if len(context.model.targets) > 1:
            parts.append(tag("h3", named(target.name)))
        parts += [
            _calibration(context, judged),
            coverage_sets(context, *judged),
            risks(context, *judged),
        ]
    parts.append(_unusual(context))
    whole = join(parts)
    if not whole:
        return None
    return Section("trust", say("How far to trust it", "可信程度"), whole)


def uncalibrated(
    target: Target, scores: Float[np.ndarray, "rows outputs"], temperature: float
) -> Float[np.ndarray, "rows outputs"]:
    """The probabilities as they were before a temperature: ``softmax(T log p)``, or of labels
    ``sigmoid(T logit p)``.
    """
    logs = temperature * np.log(np.clip(scores.astype(np.float64), 1e-12, 1))
    if not target.exclusive:
        others = temperature * np.log(np.clip(1 - scores.astype(np.float64), 1e-12, 1))
        return 1 / (1 + np.exp(others - logs))
    return np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))


def _calibration(context: Context, judged: Judged) -> Html:
    """The temperature, and the reliability diagram before and after it."""
    target, truth, scores = judged
    if not target.calibrated:
        return Html("")
    say = context.say
    kept = context.model.held.calibration.get(target.name)
    temperature = kept.temperature if kept is not None else 1.0
    before = uncalibrated(target, scores, temperature)
    curves = {say("after", "校准后"): reliability(truth, scores)}
    if temperature != 1.0:
        curves[say("before", "校准前")] = reliability(truth, before)
    rows: list[list[Child]] = []
    if kept is not None and kept.log_loss is not None and kept.error is not None:
        rows_used = say(
            f"validation, {kept.rows:,} rows, cross-fitted", f"验证集 {kept.rows:,} 行，交叉拟合"
        )
        rows.append([rows_used, *map(number, kept.error), *map(number, kept.log_loss)])
    losses = [
        target.metrics(truth, probabilities)["log_loss"] for probabilities in (before, scores)
    ]
    errors = [reliability(truth, probabilities).error for probabilities in (before, scores)]
    here = say(f"this table, {counted(len(truth))}", f"本表 {len(truth):,} 行")
    rows.append([here, *map(number, errors), *map(number, losses)])
    heads = [
        say("measured on", "度量于"),
        say("calibration error before", "校准误差（前）"),
        say("after", "后"),
        say("log loss before", "对数损失（前）"),
        say("after", "后"),
    ]
    caption = say(
        "Before and after temperature scaling; lower is better.", "温度缩放前后；越低越好。"
    )
    return join(
        [
            tag("h3", say("Are the probabilities calibrated?", "概率是否经过校准？")),
            tag("p", _temperature(context, kept is not None, temperature)),
            plots(_diagram(context, curves), _confidences(context, curves)),
            table(heads, rows, caption=caption),
        ]
    )


def _temperature(context: Context, kept: bool, temperature: float) -> str:
    say = context.say
    if not kept:
        return say(
            "This model has no calibration: its probabilities are those of the head.",
            "此模型未保存校准信息：概率为模型原始输出。",
        )
    if temperature == 1.0:
        return say(
            "Temperature 1: scaling did not help on the validation rows, or there were fewer than "
            f"{MIN_CALIBRATION_ROWS} of them.",
            f"温度为 1：在验证集上温度缩放没有帮助，或验证行少于 {MIN_CALIBRATION_ROWS} 行。",
        )
    sharper = temperature < 1
    return say(
        f"Probabilities are calibrated by a temperature of {temperature:.3f}, fitted to the validation "
        f"rows: the model was {'underconfident' if sharper else 'overconfident'} before.",
        f"概率已用温度 {temperature:.3f} 校准（在验证集上拟合）：此前模型过于"
        f"{'保守' if sharper else '自信'}。",
    )


def _diagram(context: Context, curves: dict[str, Reliability]) -> Html:
    say = context.say
    series = [Series(say("ideal", "理想"), [0.0, 1.0], [0.0, 1.0], strong=False)]
    for name, curve in curves.items():
        filled = [place for place, count in enumerate(curve.count) if count]
        series.append(
            Series(
                name,
                [curve.confidence[place] for place in filled],
                [curve.accuracy[place] for place in filled],
            )
        )
    drawn = lines(
        series,
        title=say("Reliability diagram", "可靠性图"),
        x_label=say("confidence", "置信度"),
        y_label=say("fraction correct", "正确比例"),
        size=(WIDTH, 320),
    )
    caption = say(
        "On the grey diagonal, answers of 80 % confidence are right 80 % of the time. Below it the "
        "model is overconfident.",
        "灰色对角线上，置信度 80 % 的答案有 80 % 正确；低于对角线表示过于自信。",
    )
    return figure(drawn, caption)


def _confidences(context: Context, curves: dict[str, Reliability]) -> Html:
    """How many answers have which confidence."""
    say = context.say
    curve = next(iter(curves.values()))
    total = max(1, sum(curve.count))
    shown = [
        Bar(f"{low:.0%} – {high:.0%}", count / total)
        for low, high, count in zip(curve.edges[:-1], curve.edges[1:], curve.count, strict=True)
        if count
    ]
    title = say("Confidence of the answers", "答案置信度分布")
    x_label = say("fraction of answers", "答案占比")
    return figure(bars(shown[::-1], title=title, x_label=x_label, width=WIDTH))


def _unusual(context: Context) -> Html:
    """How many rows are unlike those the model knows, and whether it is wrong more often there."""
    where, say = context.model.held.outlier, context.say
    if where is None:
        return Html("")
    percentiles = where.percentile(context.vectors)
    over = percentiles >= PERCENTILE
    edges = np.linspace(0, 100, BINS + 1)
    counts = np.histogram(np.minimum(percentiles, 99.999), edges)[0]
    shown = [
        Bar(f"{low:.0f} – {high:.0f}", count / len(percentiles))
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    ]
    drawn = bars(
        shown,
        title=say("Distance from training data", "与已知数据的差异"),
        x_label=say("fraction of rows", "行占比"),
        mark=1 / BINS,
        width=WIDTH,
    )
    caption = say(
        "Percentile of a row's distance from the validation rows, relative to their distances from "
        "each other. Rows of the same source are uniform (dashed).",
        "每行到验证数据的距离在验证数据内部距离中的百分位。同源数据应均匀分布（虚线）。",
    )
    share = float(over.mean())
    message = say(
        f"{percent(share)} of the rows are beyond the {PERCENTILE:.0f}th percentile; about "
        f"{100 - PERCENTILE:.0f} % are expected from the same source.",
        f"{percent(share)} 的行超过第 {PERCENTILE:.0f} 百分位；同源数据约为 {100 - PERCENTILE:.0f} %。",
    )
    lead = note(message, bad=share > 3 * (100 - PERCENTILE) / 100 and len(percentiles) >= 20)
    rows = [line for target in context.judged if (line := _wrong(context, target, over))]
    parts: list[Child] = [tag("h3", say("Unusual rows", "异常行")), lead, figure(drawn, caption)]
    if rows:
        heads = [
            say("target", "目标"),
            say("usual rows", "正常行"),
            say("right among them", "其中正确"),
            say("unusual rows", "异常行"),
            say("right among them", "其中正确"),
        ]
        title = say("Answers on usual and on unusual rows", "正常行与异常行上的回答")
        parts.append(table(heads, rows, caption=title))
    return join(parts)


def _wrong(context: Context, target: Target, over: Bool[np.ndarray, " rows"]) -> list[Child]:
    """Counts and shares of right answers on usual and unusual rows; empty if none is just right."""
    values, known = context.truths[target.name]
    right = target.right(values, context.scores[target.name])
    if right is None:
        return []
    line: list[Child] = [named(target.name)]
    for group in (known & ~over, known & over):
        line += [
            f"{int(group.sum()):,}",
            percent(float(right[group].mean())) if group.any() else "–",
        ]
    return line
