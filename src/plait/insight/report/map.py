"""The rows on a plane: what the model takes for alike lies close together."""

from itertools import pairwise

import numpy as np
from jaxtyping import Int64

from plait.data.targets.target import Target
from plait.display.markup import (
    Html,
    compact,
    figure,
    join,
    named,
    note,
    number,
    plots,
    tag,
    tidy,
)
from plait.display.section import Section
from plait.errors import counted, shortened
from plait.insight.diagnose.plane import TSNE, Plane, flatten
from plait.insight.report.context import Context
from plait.insight.report.scatter import OTHERS, Spot, grouped_scatter

ROWS = 1000
"""Rows on the map at most, evenly spaced."""

SHADES = 5
"""Groups that a number's answers are cut into."""

LARGE_ERROR_SHARE = 0.1
"The share of a number's answers that counts as large error."


def section(context: Context) -> Section | None:
    """The fused vectors in two dimensions, coloured by answer and by right and wrong."""
    if len(context) < 2:
        return None
    places = np.unique(np.linspace(0, len(context) - 1, ROWS).astype(np.int64))
    with context.threads():
        plane = flatten(context.vectors[places], seed=context.seed)
    say = context.say
    parts = [tag("p", _lead(context, plane, len(places)))]
    if plane.kept != plane.kept:
        message = say(
            "All rows have the same fused vector: the model does not distinguish them.",
            "所有行的融合向量都相同：模型无法区分任何两行。",
        )
        parts.append(note(message, bad=True))
    else:
        parts += [_target(context, target, plane, places) for target in context.model.targets]
    return Section("map", say("Map of the rows", "数据分布图"), join(parts))


def _lead(context: Context, plane: Plane, rows: int) -> str:
    say = context.say
    if plane.method == TSNE:
        return say(
            f"{counted(rows)}, laid out by t-SNE of their fused vectors: rows that are similar to the "
            "model are neighbours. Distances between groups far apart, and the sizes of groups, mean "
            "nothing. Point at a mark to see its row.",
            f"{rows:,} 行的融合向量经 t-SNE 降到二维：模型认为相似的行彼此相邻。"
            "相距较远的组之间的距离以及组的大小没有意义。将指针移到标记上可查看该行。",
        )
    return say(
        f"{counted(rows)} on the first two principal components of their fused vectors, which explain "
        f"{number(100 * plane.kept, 0)} % of the variance. Point at a mark to see its row.",
        f"{rows:,} 行的融合向量在前两个主成分上的位置，这两个主成分占全部方差的 "
        f"{number(100 * plane.kept, 0)} %。将指针移到标记上可查看该行。",
    )


def _target(
    context: Context, target: Target, plane: Plane, places: Int64[np.ndarray, " shown"]
) -> Html:
    """One target: the map by answer, and where answers are known, by right and wrong."""
    say, known = context.say, target in context.judged
    groups, names = _groups(context, target, places)
    wrong = _wrong(context, target)[places] if known else np.zeros(len(places))
    hints = _hints(context, target, places)
    ring = say("large error", "偏差大") if target.numeric else say("wrong", "答错")
    by_class = grouped_scatter(
        [
            Spot(float(x), float(y), int(group), hint, bool(bad == 1))
            for (x, y), group, hint, bad in zip(plane.places, groups, hints, wrong, strict=True)
        ],
        names,
        title=say("By true answer", "按真实答案") if known else say("By answer", "按模型答案"),
        ring=ring if known and (wrong == 1).any() else "",
    )
    shown = [figure(by_class)]
    if known:
        shown.append(figure(_by_right(context, target, plane, wrong, hints)))
    head = tag("h3", named(target.name)) if len(context.model.targets) > 1 else Html("")
    return join([head, plots(*shown)])


def _by_right(
    context: Context, target: Target, plane: Plane, wrong: np.ndarray, hints: list[str]
) -> str:
    say = context.say
    numbers = target.numeric
    names = [
        say("near", "接近") if numbers else say("right", "答对"),
        say(
            f"the {LARGE_ERROR_SHARE:.0%} with the largest errors",
            f"偏差最大的 {LARGE_ERROR_SHARE:.0%}",
        )
        if numbers
        else say("wrong", "答错"),
    ]
    # Rows without a known answer are the grey group.
    groups = np.where(np.isnan(wrong), OTHERS, wrong)
    names += [""] * (OTHERS - 2) + [say("unknown", "未知")]
    spots = [
        Spot(float(x), float(y), int(group), hint)
        for (x, y), group, hint in zip(plane.places, groups, hints, strict=True)
    ]
    title = say("By correctness", "按对错") if not numbers else say("By error", "按误差")
    return grouped_scatter(spots, names, title=title)


def _wrong(context: Context, target: Target) -> np.ndarray:
    """1 for a wrong answer, 0 for a right one, NaN where the truth is unknown."""
    values, known = context.truths[target.name]
    scores = context.scores[target.name]
    right = target.right(values, scores)
    if right is None:
        error = target.errors(values, scores)
        right = (error < np.quantile(error[known], 1 - LARGE_ERROR_SHARE)) | (error == 0)
    return np.where(known, (~right).astype(float), np.nan)


def _groups(
    context: Context, target: Target, places: Int64[np.ndarray, " shown"]
) -> tuple[Int64[np.ndarray, " shown"], list[str]]:
    """The group of each row and the groups' names: true answers where there are some, else answers."""
    say, known = context.say, target in context.judged
    others = say("others", "其他")
    if target.numeric:
        values = context.answers.values[target.name]
        there = np.ones(len(values), bool)
        if known:
            encoded, there = context.truths[target.name]
            values = target.decode(encoded)
        edges = np.unique(np.quantile(values[there], np.linspace(0, 1, SHADES + 1)))
        cut = np.searchsorted(edges[1:-1], values, side="left")
        ends = edges if len(edges) > 1 else np.repeat(edges, 2)
        names = [f"{compact(low, 3)} – {compact(high, 3)}" for low, high in pairwise(ends)]
        groups = np.where(there, cut, OTHERS)
        names += [""] * (OTHERS - len(names)) + [say("unknown", "未知")]
        return groups[places], names
    labels = [_answer(context, target, place, known) for place in places.tolist()]
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    order = sorted(counts, key=lambda name: (-counts[name], name))
    kept = order[:OTHERS]
    if target.exclusive:
        rank = {name: place for place, name in enumerate(target.classes)}
        kept = sorted(kept, key=lambda name: rank.get(name, len(rank)))
    index = {name: group for group, name in enumerate(kept)}
    names = kept + [""] * (OTHERS - len(kept)) + [others]
    return np.array([index.get(label, OTHERS) for label in labels]), names


def _answer(context: Context, target: Target, place: int, true: bool) -> str:
    """A row's true answer, or the model's, in words."""
    answer = context.answers.values[target.name][place]
    if true:
        values, known = context.truths[target.name]
        if not known[place]:
            return context.say("unknown", "未知")
        answer = target.decode(values[place : place + 1])[0]
    if target.numeric:
        return compact(float(answer))
    return target.text(answer, context.say("no label", "无标签"))


def _hints(context: Context, target: Target, places: Int64[np.ndarray, " shown"]) -> list[str]:
    """What is told of each row: its number, truth, answer, and its cells in short."""
    say, scores = context.say, context.scores[target.name]
    names = [name for name in context.model.features.modalities if name in context.table.columns]
    cells = {name: context.table.cells(name, places) for name in names}
    hints = []
    for at, place in enumerate(places.tolist()):
        parts = [context.named_row(place)]
        if target in context.judged:
            parts.append(
                say("true ", "真实 ") + shortened(_answer(context, target, place, True), 40)
            )
        answer = shortened(_answer(context, target, place, False), 40)
        if target.exclusive:
            answer += f" ({scores[place].max():.0%})"
        parts.append(say("answer ", "模型 ") + answer)
        for name in names:
            cell = cells[name][at]
            if isinstance(cell, str | int | float):
                short = shortened(" ".join(str(cell).split()), 48)
                parts.append(f"{shortened(name, 20)}: {short}")
        hints.append(tidy(" · ".join(parts)))
    return hints
