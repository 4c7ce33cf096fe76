"""Prediction sets that keep their promise, and what answering less would spare."""

import numpy as np
from jaxtyping import Bool, Float, Shaped

from plait.answers.abstain import RiskCoverage, risk_coverage
from plait.data.targets.scores import Scores
from plait.data.targets.target import Target
from plait.display.markup import (
    Child,
    Html,
    figure,
    join,
    note,
    number,
    percent,
    plots,
    table,
    tag,
)
from plait.display.plots import Series, lines
from plait.errors import ConfigError, counted
from plait.insight.explain.conformal import ABSOLUTE, covered, members, threshold, wilson
from plait.insight.report.context import Context

COVERAGES = (0.8, 0.9, 0.95)
WIDTH = 400
CLOSE = 0.02
"""A measured coverage this far below the promise is marked, where chance does not explain it."""

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)


def coverage_sets(
    context: Context,
    target: Target,
    truth: Shaped[np.ndarray, "rows ..."],
    scores: Scores,
) -> Html:
    """Conformal sets or intervals: the promise, and the coverage that was measured on these rows."""
    say = context.say
    kept = context.model.held.conformal.get(target.name, {})
    title = tag("h3", say("Prediction sets", "预测集"))
    methods = [name for name in target.conformal if name in kept]
    if not methods:
        return Html("")
    interval = ABSOLUTE in methods
    rows, short = [], False
    for method in methods:
        for coverage in COVERAGES:
            line, below = _measured(context, target, method, coverage, truth, scores)
            rows.append(line)
            short = short or below
    heads = [
        say("method", "方法"),
        say("requested", "承诺"),
        say("measured (95 %)", "实测（95 %）"),
        say("mean width", "平均宽度") if interval else say("classes per set", "集合平均大小"),
    ]
    held = len(next(iter(kept.values())))
    lead = say(
        f"predict_set gives each row {'an interval' if interval else 'a set of classes'} that contains "
        f"the truth at the requested rate, from {held:,} validation rows (split conformal prediction). "
        "The guarantee is on average over rows of the same distribution, not for a single row or "
        "class, and not for rows of another source.",
        f"predict_set 为每行给出一个{'区间' if interval else '类别集合'}，"
        f"以所要求的频率包含真值，依据 {held:,} 行验证数据（分裂保形预测）。"
        "这是对同源数据整体的承诺，不针对单行或单个类别，也不适用于其他来源的数据。",
    )
    warning = None
    if short:
        warning = note(
            say(
                "The measured coverage is significantly below the requested one: these rows probably "
                "come from another source than the validation rows (new people, devices, places).",
                "实测覆盖率显著低于承诺：这些行很可能与验证数据来源不同（新的人、设备或地点）。",
            ),
            bad=True,
        )
    caption = say(
        f"Requested and measured coverage on {counted(len(truth))}.",
        f"承诺与实测的覆盖率，{len(truth):,} 行。",
    )
    return join([title, tag("p", lead), warning, table(heads, rows, caption=caption)])


def _measured(
    context: Context,
    target: Target,
    method: str,
    coverage: float,
    truth: Shaped[np.ndarray, "rows ..."],
    scores: Scores,
) -> tuple[list[Child], bool]:
    """A line of the table, and whether the coverage is too low."""
    kept = context.model.held.conformal[target.name][method]
    try:
        limit = threshold(kept, coverage, target.name)
    except ConfigError:  # too few validation rows for so much
        message = context.say("too few validation rows", "验证行过少")
        return [method, percent(coverage, 0), message, "–"], False
    if method == ABSOLUTE:
        inside = target.errors(truth, scores) <= limit
        size = 2 * limit
    else:
        sets = members(method, scores, limit, seed=context.seed)
        inside, size = covered(sets, truth), float(sets.sum(axis=1).mean())
    share, (low, high) = float(inside.mean()), wilson(int(inside.sum()), len(inside))
    below = share < coverage - CLOSE and high < coverage
    shown = f"{percent(share)} ({percent(low)} – {percent(high)})"
    measured = tag("strong", shown, class_="bad") if below else shown
    return [method, percent(coverage, 0), measured, number(size, 2)], below


def risks(
    context: Context,
    target: Target,
    truth: Shaped[np.ndarray, "rows ..."],
    scores: Scores,
) -> Html:
    """What abstaining spares: the risk-coverage curve, and a few thresholds."""
    right, confidence = target.right(truth, scores), target.confidence(scores)
    if right is None or confidence is None:
        return Html("")
    say = context.say
    curve = risk_coverage(right, confidence)
    lead = say(
        "Answering only when the model is confident leaves fewer errors; the other answers are "
        "withheld by ",
        "只在有把握时回答可以减少错误；其余不答：",
    )
    area = say(
        f"Area under the curve {number(curve.area)}; {number(curve.best_area)} if every right answer "
        "were more confident than every wrong one.",
        f"曲线下面积 {number(curve.area)}；"
        f"若每个正确答案都比错误答案更有把握则为 {number(curve.best_area)}。",
    )
    drawn = lines(
        [_thinned(curve, say("errors", "错误率"))],
        title=say("Error rate against coverage", "错误率与回答率"),
        x_label=say(
            "fraction of rows answered, most confident first", "回答的行占比（最有把握者优先）"
        ),
        y_label=say("fraction of answers that are wrong", "错误比例"),
        size=(WIDTH, 280),
    )
    return join(
        [
            tag("h3", say("Accuracy when abstaining", "拒答时的准确率")),
            tag("p", lead, tag("code", "plait predict --abstain-below")),
            plots(figure(drawn, area), tag("div", _thresholds(context, right, confidence))),
        ]
    )


def _thinned(curve: RiskCoverage, name: str, most: int = 60) -> Series:
    """The curve with few enough points to draw; the first hundredth, one or two rows, is left out."""
    coverage, risk = np.array(curve.coverage), np.array(curve.risk)
    kept = np.flatnonzero((coverage >= 0.01) | (np.arange(len(coverage)) == len(coverage) - 1))
    spread = kept[np.unique(np.linspace(0, len(kept) - 1, most).astype(np.int64))]
    return Series(name, coverage[spread].tolist(), risk[spread].tolist())


def _thresholds(
    context: Context, right: Bool[np.ndarray, " rows"], confidence: Float[np.ndarray, " rows"]
) -> Html:
    say, rows = context.say, []
    for least in (0.0, *THRESHOLDS):
        answered = confidence >= least
        wrong = float((~right[answered]).mean()) if answered.any() else None
        name = say("all answered", "全部回答") if not least else f"{least:g}"
        rows.append([name, percent(float(answered.mean())), percent(wrong)])
    heads = [say("abstain below", "低于则不答"), say("answered", "回答"), say("wrong", "错误")]
    caption = say(
        "The effect of a confidence threshold on these rows.", "置信度阈值在本表上的效果。"
    )
    return table(heads, rows, caption=caption)
