"""How the model was trained: losses, scores, rates, which stream learnt, where the time went."""

from plait.display.markup import (
    Html,
    bullets,
    details,
    figure,
    join,
    named,
    number,
    plots,
    table,
    tag,
    tiles,
)
from plait.display.plots import Bar, Series, bars, lines
from plait.display.progress import SHARE
from plait.display.section import Section
from plait.errors import shortened
from plait.insight.report.context import Context

WIDTH = 400
HEIGHT = 260
EPOCHS_LISTED = 30
"""Epochs that the table lists; more are listed evenly spaced."""

STAGES = {
    "prepare": ("reading and decoding cells", "读取与解码"),
    "encode": ("frozen encoders", "冻结编码器"),
    "pretrain": ("pretraining", "预训练"),
    "train": ("training", "训练"),
    "all": ("everything", "总计"),
}
"""Stages of a fit in words; others keep their names."""


def section(context: Context) -> Section | None:
    """Curves by epoch, time by stage, decisions; nothing where no history was kept."""
    history = context.model.history
    if not history:
        return None
    say = context.say
    parts = [
        _facts(context),
        plots(*_curves(context)),
        _learning(context),
        _stages(context),
        _epochs(context),
        _decisions(context),
    ]
    return Section("training", say("Training", "训练过程"), join(parts))


def _best(context: Context) -> int:
    """The epoch whose weights the model has: the highest score, then the lowest loss, the first."""
    history = context.model.history
    return max(
        range(len(history)),
        key=lambda at: (history[at].get("score", 0.0), -history[at].get("loss", 0.0), -at),
    )


def _facts(context: Context) -> Html:
    say, history = context.say, context.model.history
    best, rows = _best(context), context.model.record.get("rows", {})
    facts = [
        (say("epochs", "轮数"), f"{len(history)}", say("epochs", "遍历数据的次数")),
        (
            say("best epoch", "最佳轮"),
            f"{history[best].get('epoch', best + 1):.0f}",
            say("its weights are kept", "保留其权重"),
        ),
        (
            say("validation score", "验证得分"),
            number(history[best].get("score")),
            say("of the best epoch", "最佳轮"),
        ),
    ]
    if rows:
        note = say(f"and {rows['validation']:,} held out", f"另留出 {rows['validation']:,} 行验证")
        facts.append((say("training rows", "训练行数"), f"{rows['training']:,}", note))
    rate = _rate(context)
    if rate is not None:
        note = say("the median epoch, validation included", "各轮中位数，含验证")
        facts.append((say("rows per second", "每秒行数"), f"{rate:,.0f}", note))
    return tiles(facts)


def _rate(context: Context) -> float | None:
    """Training rows per second in the median epoch."""
    rows = context.model.record.get("rows", {}).get("training")
    seconds = sorted(line["seconds"] for line in context.model.history if "seconds" in line)
    if not rows or not seconds or seconds[len(seconds) // 2] <= 0:
        return None
    return float(rows / seconds[len(seconds) // 2])


def _series(context: Context, key: str, name: str) -> Series:
    known = [line for line in context.model.history if key in line]
    return Series(name, [line["epoch"] for line in known], [line[key] for line in known])


def _curves(context: Context) -> list[Html]:
    """Losses, the score, the learning rate."""
    say = context.say
    asked = (
        (
            say("Losses", "损失"),
            {"train_loss": say("training", "训练"), "loss": say("validation", "验证")},
            say(
                "The training loss has terms that the validation loss does not have (label smoothing, "
                "each stream's own answer, augmentation): compare their shapes, not their levels.",
                "训练损失含有验证损失没有的部分（标签平滑、各模态单独回答、数据增强）：请比较走势而非高低。",
            ),
        ),
        (
            say("Validation score", "验证得分"),
            {"score": say("score", "得分")},
            say("Mean of the targets' primary metrics.", "各目标主要指标的均值。"),
        ),
        (say("Learning rate", "学习率"), {"lr": say("at the epoch's end", "轮末")}, None),
    )
    epoch = say("epoch", "轮")
    return [
        figure(
            lines(
                [_series(context, key, name) for key, name in keys.items()],
                title=title,
                x_label=epoch,
                y_label="",
                ticks="whole",
                size=(WIDTH, HEIGHT),
            ),
            caption,
        )
        for title, keys, caption in asked
    ]


def _learning(context: Context) -> Html:
    """Each encoder's share of the gradient."""
    say = context.say
    names = [key for key in context.model.history[0] if key.startswith(SHARE)]
    if not names:
        return Html("")
    series = [_series(context, key, shortened(key.removeprefix(SHARE), 24)) for key in names]
    drawn = lines(
        series,
        title=say("Share of the gradient", "梯度占比"),
        x_label=say("epoch", "轮"),
        y_label="",
        ticks="whole",
        reach=(0.0,),
        size=(WIDTH, HEIGHT),
    )
    caption = say(
        "The norm of each encoder's gradient, as a fraction of the sum over encoders. A stream that "
        "stays near 0 learns nothing; one that has nearly all of it may prevent the others from "
        "learning.",
        "各编码器梯度范数占总和的比例。长期接近 0 的模态没有学到东西；"
        "占据几乎全部的模态可能妨碍其他模态学习。",
    )
    title = tag("h3", say("Gradient per stream", "哪个模态在学习"))
    return join([title, plots(figure(drawn, caption))])


def _stages(context: Context) -> Html:
    """Where the time of the fit went."""
    say, seconds = context.say, dict(context.model.record.get("seconds", {}))
    if not seconds:
        return Html("")
    whole = float(seconds.pop("all", sum(seconds.values())))
    other = whole - sum(seconds.values())
    shown = [Bar(_stage(context, name), float(value)) for name, value in seconds.items()]
    if other > 0:
        shown.append(Bar(say("everything else", "其他"), other))
    drawn = bars(
        shown,
        title=say("Time by stage", "各阶段用时"),
        x_label=say("seconds", "秒"),
        width=WIDTH,
    )
    caption = say(
        f"{whole:,.1f} seconds in total, before this page was made. Cells in the cache cost next to "
        "nothing.",
        f"总计 {whole:,.1f} 秒（不含生成本页）。此前已解码的单元格几乎不耗时。",
    )
    return join([tag("h3", say("Time spent", "时间花在哪里")), plots(figure(drawn, caption))])


def _stage(context: Context, name: str) -> str:
    return context.say(*STAGES[name]) if name in STAGES else shortened(name, 32)


def _epochs(context: Context) -> Html:
    """Every epoch as a line, or some of them."""
    say, history = context.say, context.model.history
    every = max(1, -(-len(history) // EPOCHS_LISTED))
    best = _best(context)
    places = [at for at in range(len(history)) if at % every == 0 or at in (best, len(history) - 1)]
    heads = [
        say("epoch", "轮"),
        say("training loss", "训练损失"),
        say("validation loss", "验证损失"),
    ]
    heads += [say("score", "得分"), say("seconds", "秒")]
    rows = [
        [
            f"{history[at].get('epoch', at + 1):.0f}",
            *(number(history[at].get(key)) for key in ("train_loss", "loss", "score")),
            number(history[at].get("seconds"), 1),
        ]
        for at in places
    ]
    caption = say("The best epoch is in bold.", "最佳轮以粗体显示。")
    block = table(heads, rows, caption=caption, strong=[places.index(best)])
    return details(say("Every epoch", "各轮明细"), block)


def _decisions(context: Context) -> Html:
    """What was decided for the user, with its reason, as the fit told it."""
    notes = context.model.record.get("notes", [])
    if not notes:
        return Html("")
    title = context.say("Decisions, with their reasons", "自动决定及其理由")
    return details(title, bullets(named(shortened(note, 400)) for note in notes))
