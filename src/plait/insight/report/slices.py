"""Parts of the table on which the model does worse than on the rest."""

from plait.data.targets.target import Target
from plait.display.markup import Html, compact, join, named, number, percent, table, tag
from plait.insight.diagnose.mistakes import ROWS_SHOWN
from plait.insight.diagnose.slices import MIN_ROWS, Slice, Slices, slices
from plait.insight.report.context import Context


def worst_slices(context: Context, target: Target) -> Html:
    """Parts of the table that do worse than the rest."""
    values, known = context.truths[target.name]
    error = target.errors(values, context.scores[target.name])
    goals = [goal.name for goal in context.model.targets]
    kinds = context.model.schema.inputs
    if context.model.schema.group is not None:  # a number, such as a patient's, is a name here
        kinds = {**kinds, context.model.schema.group: "categorical"}
    tested = slices(context.table, error, known, leave_out=goals, kinds=kinds)
    say = context.say
    head = tag("h4", say("Slices with more errors", "表现较差的子集"))
    if not tested.looked_at:
        why = say(
            f"None could be tested: testing needs mistakes, and slices of {MIN_ROWS} rows or more.",
            f"无法检验：需要存在错误，且子集至少 {MIN_ROWS} 行。",
        )
        return join([head, tag("p", why)])
    message = say(
        f"Slices by single columns, of {tested.looked_at} tested, that do significantly worse than the "
        "other rows (false discovery rate 5 %).",
        f"检验了 {tested.looked_at} 个按单列划分的子集与其余行的差异；"
        "下列子集的表现差于其余行，超出偶然（错误发现率 5 %）。",
    )
    if not tested.found:
        message = say(
            f"Of {tested.looked_at} slices by single columns, tested against the other rows, none does "
            "significantly worse (false discovery rate 5 %).",
            f"检验了 {tested.looked_at} 个按单列划分的子集与其余行的差异；"
            "没有任何子集的表现超出偶然地更差（错误发现率 5 %）。",
        )
        return join([head, tag("p", message)])
    return join([head, _slice_table(context, target, tested, message)])


def _slice_table(context: Context, target: Target, tested: Slices, caption: str) -> Html:
    say = context.say
    share = number if target.numeric else percent
    heads = [
        say("column", "列"), say("slice", "子集"), say("rows", "行数"), say(*target.error),
        say("elsewhere", "其余行"), say("p (adjusted)", "偶然概率（校正后）"),
    ]  # fmt: skip
    lines = [
        [
            named(slice_.column),
            slice_words(context, slice_),
            f"{slice_.rows:,}",
            share(slice_.error),
            share(slice_.rest),
            f"{slice_.q:.2g}",
        ]
        for slice_ in tested.found[:ROWS_SHOWN]
    ]
    return table(heads, lines, caption=caption, left=2)


def slice_words(context: Context, slice_: Slice) -> Html:
    """What the rows of a slice have in common."""
    say = context.say
    if slice_.how == "missing":
        return tag("span", say("missing", "缺失"), class_="chip")
    if slice_.how == "range":
        return join([f"{compact(slice_.low)} – {compact(slice_.high)}"])
    return named(slice_.value)
