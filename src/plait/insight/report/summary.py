"""The first part: how good the model is, on what, made of what."""

from plait.answers.evaluation import Result
from plait.answers.metrics import distinct
from plait.data.targets.cells import short
from plait.data.targets.target import Target
from plait.display.markup import (
    Html,
    bullets,
    details,
    facts,
    join,
    named,
    note,
    number,
    table,
    tag,
    tidy,
    tiles,
)
from plait.display.section import Language, Section, spoken
from plait.errors import counted
from plait.insight.report.context import Context

KEY_FIGURES = 4
"""Metrics that are key figures; the others are in the table."""

FEW_ROWS = 10
"""Rows below which no interval is given, and a warning."""

NAMED = 8
"""Classes named at most."""

FIRST = ("accuracy", "auroc", "macro_f1", "mae", "rmse", "calibration_error", "exact_match")
"""Which come first, behind the primary one."""


def section(context: Context) -> Section | None:
    """Metrics with intervals, the streams compared, the model and the data."""
    say = context.say
    parts = [_target(context, target, context.results[target.name]) for target in context.judged]
    if not parts:
        message = say(
            "No row of this table is labelled, so nothing is measured.",
            "此表没有任何一行带有已知的真实答案，因此没有可度量的指标。",
        )
        parts = [note(message)]
    unknown = [note(line, bad=True) for line in strangers(context, context.language)]
    return Section(
        "summary",
        say("Summary", "概要"),
        join([*unknown, *parts, _model(context), _notes(context)]),
    )


def strangers(context: Context, language: Language) -> list[str]:
    """A line for each target with cells that hold no class the model knows, or no number."""
    lines = []
    for target in context.model.targets:
        if target.name not in context.table.columns:
            continue
        strange = [target.strange(cell) for cell in context.table.cells(target.name)]
        count, kinds = (
            sum(map(bool, strange)),
            list(dict.fromkeys(name for unknown in strange for name in unknown)),
        )
        if not count:
            continue
        names = ", ".join(short(name) for name in kinds[:NAMED]) + ", ..." * (len(kinds) > NAMED)
        known = ", ".join(map(short, target.classes[:NAMED]))
        known += ", ..." * (len(target.classes) > NAMED)
        lines.append(tidy(spoken(language, *target.strangers(count, names, known))))
    return lines


def _target(context: Context, target: Target, result: Result) -> Html:
    """One target's key figures, then the table of streams."""
    say = context.say
    first = (result.primary, *FIRST)
    figures = []
    for key in [key for key in dict.fromkeys(first) if key in result.metrics][:KEY_FIGURES]:
        low, high = result.intervals.get(key, (float("nan"), float("nan")))
        interval = say("95 % interval", "95 % 区间") + f" {number(low)} – {number(high)}"
        if (
            result.rows < FEW_ROWS or low == high
        ):  # such an interval would promise what is not known
            interval = say("too few rows or errors for an interval", "行数或错误太少，不给出区间")
        figures.append((context.metric(key), number(result.metrics[key]), interval))
    chip = tag("span", say(target.kind, target.chinese), class_="chip")
    heading = tag("h3", named(target.name), " ", chip)
    rows_told = say(
        f"Measured on {counted(result.rows)} with a label.",
        f"在 {result.rows:,} 行已知答案的数据上度量。",
    )
    return join(
        [
            heading,
            tag("p", rows_told, class_="faint"),
            _few(context, result.rows),
            tiles(figures),
            _streams(context, target, result),
        ]
    )


def _few(context: Context, rows: int) -> Html | None:
    """That the figures rest on next to nothing."""
    if rows >= FEW_ROWS:
        return None
    warning = context.say(
        f"Too few rows to measure a model ({rows:,}): the metrics on this page are mostly chance, and "
        f"say next to nothing about other rows. Use at least {FEW_ROWS}, better several hundred.",
        f"{rows:,} 行不足以度量模型：本页各项数字多属偶然，几乎不能说明其他数据上的表现。"
        f"至少需要 {FEW_ROWS} 行，最好数百行。",
    )
    return note(warning, bad=True)


def _streams(context: Context, target: Target, result: Result) -> Html:
    """Every metric with all streams, each alone, all but each."""
    say = context.say
    keys = distinct(result.metrics)
    only, without = say("only", "仅"), say("without", "去掉")
    lines = [(say("all streams", "全部模态"), result.metrics)]
    lines += [(f"{only} {name}", metrics) for name, metrics in result.alone.items()]
    lines += [(f"{without} {name}", metrics) for name, metrics in result.without.items()]
    heads = [say("streams used", "模型所见")]
    heads += [
        f"{context.metric(key)} {'↑' if target.higher_is_better[key] else '↓'}" for key in keys
    ]
    rows = [[named(label), *(number(metrics[key]) for key in keys)] for label, metrics in lines]
    caption = say(
        "The same rows, with streams hidden from the model. ↑ higher is better, ↓ lower is better.",
        "在同一批数据上向模型隐藏部分模态的结果。↑ 越高越好，↓ 越低越好。",
    )
    return table(heads, rows, caption=caption, strong=[0])


def _model(context: Context) -> Html:
    """What the model is made of."""
    say, model = context.say, context.model
    plan = model.blueprint
    size = sum(weight.numel() for weight in model.model.parameters())
    inputs = join(
        (
            join([named(name), tag("small", f" {kind}, {description}")])
            for (name, kind), description in zip(
                model.features.modalities.items(), model.features.describe().values(), strict=True
            )
        ),
        tag("br"),
    )
    encoders = join(
        (
            join([named(stream), tag("small", f" {description}")])
            for stream, description in _told(context).items()
        ),
        tag("br"),
    )
    pairs: list[tuple[str, Html | str]] = [
        (say("inputs", "输入"), inputs),
        (say("encoders", "编码器"), encoders),
        (say("fusion", "融合方法"), f"{plan.fusion}, {say('width', '宽度')} {plan.width}"),
        (say("parameters", "参数量"), f"{size:,}"),
        (say("preset, seed", "预设, 种子"), f"{plan.preset}, {model.config.seed}"),
        (say("table", "数据表"), named(context.about)),
        (say("rows looked at", "查看的行数"), _rows(context)),
    ]
    return join([tag("h3", say("The model and the data", "模型与数据")), facts(pairs)])


def _told(context: Context) -> dict[str, str]:
    plan = context.model.blueprint
    return {**plan.encoders, **{name: record.summary for name, record in plan.records.items()}}


def _rows(context: Context) -> str:
    if len(context) == context.total:
        return context.say(f"all {context.total:,}", f"全部 {context.total:,} 行")
    return context.say(
        f"{len(context):,} of {context.total:,}, evenly spaced",
        f"{context.total:,} 行中均匀抽取 {len(context):,} 行",
    )


def _notes(context: Context) -> Html:
    """What a reader must know: absent columns, unreadable cells, limits of what is said."""
    say, lines = context.say, []
    if context.held:
        lines.append(
            say(
                "These are validation rows of the fit. They were used to choose the best epoch and to "
                "fit temperatures and prediction sets, so the metrics here are slightly optimistic. "
                "For unseen rows: plait report FOLDER test.csv",
                "这些是训练时的验证数据：最佳轮由它们选出，温度与预测集也由它们拟合，因此各项数字略偏乐观。"
                "请用模型从未见过的数据：plait report 文件夹 test.csv",
            )
        )
    for name in context.prepared.absent:
        lines.append(
            say(
                f"The table has no column '{name}': it counted as missing in every row.",
                f"数据表没有列“{name}”：每一行都按缺失处理。",
            )
        )
    count = len(context.prepared.quarantine)
    if count:
        lines.append(
            say(
                f"{counted(count, 'cell')} could not be read and counted as missing.",
                f"{count} 个单元格无法读取，按缺失处理。",
            )
        )
    if not lines:
        return Html("")
    return details(say("Notes on the data", "数据说明"), bullets(lines), open_=True)
