"""Columns that have moved since training."""

from plait.display.markup import Html, bullets, details, join, named, number, percent, table, tag
from plait.insight.diagnose.columns import Column
from plait.insight.diagnose.drift import Drift
from plait.insight.diagnose.fingerprints import LENGTH, SIZE
from plait.insight.diagnose.table_check import TableCheck
from plait.insight.report.context import Context


def drifted(context: Context, check: TableCheck) -> Html | None:
    """What has moved since training."""
    tested = [(column, drift) for column in check.columns for drift in column.drift]
    streams = [
        (stream, drift)
        for stream, drift in check.streams.items()
        if drift is not None and len(context.model.blueprint.streams[stream]) > 1
    ]
    if not tested and not streams:
        return None
    say = context.say
    head = tag("h3", say("Drift since training", "与训练数据相比的漂移"))
    words = [
        join([named(column.name), ": ", _words(context, column, drift)])
        for column, drift in tested
        if drift.moved()
    ]
    verdict = (
        say(
            "These have drifted, by a large and significant amount (false discovery rate 5 %):",
            "下列各列的变化不小且超出偶然（错误发现率 5 %）：",
        )
        if words
        else say(
            f"None of {len(tested)} comparisons shows a change that is large and significant.",
            f"{len(tested)} 项比较中没有既大又超出偶然的变化。",
        )
    )
    rows = [[named(column.name), *_drift_row(context, drift)] for column, drift in tested]
    heads = [
        say("column", "列"), say("measure", "度量"), say("value", "数值"),
        say("large above", "较大阈值"), say("p (adjusted)", "偶然概率（校正后）"),
    ]  # fmt: skip
    caption = say(
        "PSI: population stability index of categories (JS: Jensen-Shannon divergence, bits). KS: the "
        "largest gap between two distributions of numbers, lengths of texts or sizes of files. AUC: "
        "how well a classifier on the encoded cells separates these rows from held-out training rows; "
        "0.5 means not at all.",
        "PSI：类别分布的群体稳定性指数（JS：Jensen-Shannon 散度，比特）。"
        "KS：数值、文本长度或文件大小两个分布之间的最大差距。"
        "AUC：分类器依据编码后的单元格区分这些行与训练时留出行的能力；0.5 表示完全无法区分。",
    )
    whole = details(
        say(f"All {len(rows)} comparisons", f"全部 {len(rows)} 项比较"),
        table(heads, rows, caption=caption, left=2),
    )
    joint = [
        join(
            [
                named(stream),
                say(", its columns together: AUC ", "（多列合计）：AUC "),
                number(drift.value),
            ]
        )
        for stream, drift in streams
    ]
    return join([head, tag("p", verdict), bullets(words), bullets(joint), whole])


def _words(context: Context, column: Column, drift: Drift) -> str:
    say = context.say
    value = number(drift.value)
    return {
        "psi": say(
            f"the frequencies of its categories differ (PSI {value}, JS {number(drift.further)} bit)",
            f"各类别的占比不同（PSI {value}，JS {number(drift.further)} 比特）",
        ),
        "ks": f"{_elsewhere(context, column)} (KS {value})",
        "auc": say(
            f"its content differs from the training content, as the model encodes it (AUC {value})",
            f"编码器看到的内容与训练时不同（AUC {value}）",
        ),
        "missing": say(
            f"{percent(drift.further)} of its cells are missing, {percent(drift.value)} different from "
            "training",
            f"{percent(drift.further)} 的单元格缺失，与训练时相差 {percent(drift.value)}",
        ),
    }[drift.measure]


def _elsewhere(context: Context, column: Column) -> str:
    """That a column's numbers, or those that stand for its cells, are distributed otherwise."""
    say, what = context.say, column.distribution.what if column.distribution else None
    if what == LENGTH:
        return say("the lengths of its texts differ", "文本长度分布不同")
    if what == SIZE:
        return say("the sizes of its files differ", "文件大小分布不同")
    return say("its values are distributed differently", "数值分布不同")


def _drift_row(context: Context, drift: Drift) -> list[str]:
    name = {"psi": "PSI", "ks": "KS", "auc": "AUC"}.get(drift.measure) or context.say(
        "fraction missing", "缺失占比"
    )
    value = number(drift.value)
    if drift.measure == "psi":
        value += f" (JS {number(drift.further)})"
    return [name, value, f"{drift.large:g}", f"{drift.q:.2g}"]
