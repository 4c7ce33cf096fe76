"""What is left when streams are absent, and as columns get worse."""

from collections.abc import Mapping, Sequence

import numpy as np

from plait.answers.metrics import distinct
from plait.data.targets.target import Metrics, Target
from plait.display.markup import (
    Child,
    Html,
    details,
    figure,
    join,
    named,
    note,
    number,
    plots,
    signed,
    table,
    tag,
)
from plait.display.plots import Series, lines
from plait.display.section import Section
from plait.errors import counted, shortened
from plait.insight.explain.curves import Curve, degraded_curves
from plait.insight.explain.robustness import every_subset
from plait.insight.report.context import Context, some_rows

WIDTH = 400
UNFOLDED_SUBSETS = 16
"""Subsets of streams that the table shows outright; a longer one is folded."""

HOW = {
    "noise": ("noise", "噪声"),
    "blur": ("blur", "模糊"),
    "crop": ("cropping", "裁剪"),
    "cut": ("truncation", "截短"),
    "drop": ("dropped words or tokens", "丢词"),
    "swap": ("swapped between rows", "行间互换"),
    "missing": ("missing", "缺失"),
}
"""Degradations in words."""


def section(context: Context) -> Section | None:
    """The table of subsets, and the curves; nothing without true answers."""
    if not context.judged:
        return None
    say = context.say
    places = degraded_rows(context)
    with context.threads():
        present = every_subset(context.model, context.prepared.columns, context.truths)
        curves = _curves(context, places)
    parts: list[Child] = []
    for target in context.judged:
        if len(context.judged) > 1:
            parts.append(tag("h3", named(target.name)))
        if len(context.model.model.streams) > 1:
            parts.append(_subsets(context, target, present[target.name]))
        parts.append(_degraded(context, target, curves, places))
    return Section(
        "robustness", say("Missing and corrupted inputs", "缺失与损坏的输入"), join(parts)
    )


def degraded_rows(context: Context) -> np.ndarray:
    """The places of the rows that are degraded: evenly spaced among those with an answer."""
    known = np.any([context.truths[target.name][1] for target in context.judged], axis=0)
    places = np.flatnonzero(known)
    most = min(context.limits.degraded, len(places))
    return places[np.unique(np.linspace(0, len(places) - 1, most).astype(np.int64))]


def _curves(context: Context, places: np.ndarray) -> list[Curve]:
    truths = {
        name: (values[places], known[places]) for name, (values, known) in context.truths.items()
    }
    return list(
        degraded_curves(
            context.model,
            some_rows(context.prepared.columns, places),
            truths,
            levels=context.limits.levels,
            chosen=[name for name in context.prepared.columns if not _gone(context, name, places)],
            seed=context.seed,
            reporter=context.reporter,
        )
    )


def _gone(context: Context, column: str, places: np.ndarray) -> bool:
    """Whether a column is missing in every row that is degraded: it cannot get worse."""
    return not bool(context.prepared.columns[column].rows_present[places].any())


def _subsets(
    context: Context, target: Target, by_subset: Mapping[tuple[str, ...], Metrics]
) -> Html:
    """The metrics for every subset of streams, the largest first."""
    say = context.say
    keys = distinct(next(iter(by_subset.values())))
    order = sorted(
        by_subset, key=lambda names: (-len(names), -_worth(by_subset[names], target.primary))
    )
    heads = [
        say("streams that are there", "存在的模态"),
        *(f"{context.metric(key)} {'↑' if target.higher_is_better[key] else '↓'}" for key in keys),
    ]
    rows = [
        [
            join(map(named, names), ", ") if names else say("none", "无"),
            *(number(by_subset[names][key]) for key in keys),
        ]
        for names in order
    ]
    caption = say(
        f"Metrics on {counted(len(context))} for {len(by_subset)} sets of streams, the others hidden.",
        f"{len(by_subset)} 种模态组合下的指标（隐藏其余模态），{len(context):,} 行。",
    )
    block = table(heads, rows, caption=caption, strong=[0])
    title = tag("h3", say("Missing streams", "缺少某些模态"))
    if len(by_subset) > UNFOLDED_SUBSETS:
        block = details(say(f"All {len(by_subset)} sets", f"全部 {len(by_subset)} 种组合"), block)
    return join([title, block])


def _worth(metrics: Metrics, primary: str) -> float:
    value = metrics[primary]
    return value if np.isfinite(value) else -np.inf


def _degraded(
    context: Context, target: Target, curves: Sequence[Curve], places: np.ndarray
) -> Html:
    """A plot a column, and the two figures of robustness."""
    say = context.say
    own = [curve for curve in curves if curve.target == target.name]
    rows, names = len(places), context.prepared.columns
    gone = [named(name) for name in names if _gone(context, name, places)]
    title = tag("h3", say("Corrupted columns", "逐渐变差的列"))
    lacking = None
    if gone:
        message = say(
            "Missing in every row, so not tested: ",
            "每一行都缺失，无法判断其变差的影响：",
        )
        lacking = note(join([message, join(gone, ", ")]))
    if not own:
        return Html("") if lacking is None else join([title, lacking])
    lead = say(
        "Each column is corrupted by degrees, from intact (0 %) to missing (100 %), with the others "
        f"unchanged, on {counted(rows)}.",
        f"逐列按程度劣化，从完好（0 %）到全失（100 %），其他列保持不变，共 {rows:,} 行。",
    )
    shown, reach = [], [value for curve in own for value in curve.values if np.isfinite(value)]
    for name in dict.fromkeys(curve.column for curve in own):
        series = [
            Series(say(*HOW[curve.how]), curve.levels, curve.values)
            for curve in own
            if curve.column == name
        ]
        shown.append(
            figure(
                lines(
                    series,
                    title=shortened(name, 40),
                    x_label=say("corruption", "劣化程度"),
                    y_label=context.metric(own[0].metric),
                    ticks="percent",
                    reach=reach,
                    size=(WIDTH, 260),
                )
            )
        )
    return join([title, tag("p", lead), lacking, plots(*shown), _figures(context, own)])


def _figures(context: Context, curves: Sequence[Curve]) -> Html:
    say = context.say
    rows = [
        [
            named(curve.column),
            say(*HOW[curve.how]),
            number(curve.values[0]),
            number(curve.values[-1]),
            number(curve.relative),
            signed(curve.effective),
        ]
        for curve in curves
    ]
    heads = [
        say("column", "列"),
        say("corruption", "劣化方式"),
        say("untouched", "完好"),
        say("at 100 %", "最差"),
        say("relative robustness", "相对鲁棒性"),
        say("effective robustness", "有效鲁棒性"),
    ]
    caption = say(
        "Relative robustness is the mean of the metric over all degrees. Effective robustness is the "
        "gain over a late fusion (the mean of the streams' own answers) shifted to the same start: 0 "
        "means an equally fast decline (MultiBench, Liang et al. 2021).",
        "相对鲁棒性是指标在各程度上的均值。有效鲁棒性是相对于同一起点的后期融合（各模态单独回答的均值）"
        "多保持的部分：0 表示下降一样快（MultiBench, Liang et al. 2021）。",
    )
    return details(
        say("Relative and effective robustness", "相对与有效鲁棒性"),
        table(heads, rows, caption=caption, left=2),
        open_=True,
    )
