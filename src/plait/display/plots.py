"""Plots as inline SVG: scatter, lines, bars, heat map. No script, no file beside it, all text escaped.

Colours are CSS variables with a value to fall back on (``var(--plot-ink, #1f2933)``), so that a page may
restyle them, for the dark say. The categorical ones are those of Okabe & Ito (2008), which people who
see red and green alike can tell apart; shapes tell the groups apart as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from plait.display.markup import number as fixed
from plait.display.plot_frame import (
    COLOURS,
    FAINT,
    FILL,
    GREY,
    GRID,
    INK,
    LINE,
    TEXT,
    Frame,
    caption,
    dot,
    finite,
    nice_ticks,
    picture,
    short_number,
    stroke,
)
from plait.display.plot_labels import Box, beside, spread, width_of


@dataclass(frozen=True)
class Point:
    """A labelled point; ``low`` to ``high`` is its interval along y, ``group`` its colour and shape."""

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    group: int = 0


@dataclass(frozen=True)
class Series:
    """A line; a strong one has colour and label, others are grey and tell their name when pointed at."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    strong: bool = True


@dataclass(frozen=True)
class Bar:
    """A named value with an interval; ``group`` is its colour."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    group: int = 0


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    groups: Sequence[str] = (),
    log_x: bool = False,
    size: tuple[int, int] = (760, 480),
) -> str:
    """Points with interval bars, each with its name: beside it where there is room, else at the right.

    Args:
        groups: names of the groups, for a legend.
        log_x: a logarithmic axis; points whose x is not positive are left out.
        size: width and least height, in pixels.
    """
    width, height = size
    shown = [p for p in points if finite(p.x, p.y) and (p.x > 0 or not log_x)]
    if not shown:
        return _nothing(title, width)
    height = max(height, LINE * len(shown) // 2 + 120)
    frame = Frame(width, height, left=60, right=20 + _widest(shown), top=50, bottom=48)
    ends = [v for p in shown for v in (p.y, p.low, p.high) if v is not None and math.isfinite(v)]
    frame.scale([p.x for p in shown], ends, log_x=log_x)
    parts = [frame.axes(x_label, y_label), _legend(groups, frame)]
    spots = [(frame.x(p.x), frame.y(p.y)) for p in shown]
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    outside: list[int] = []
    names: list[str] = []
    for number, (point, (x, y)) in enumerate(zip(shown, spots, strict=True)):
        parts.append(_whisker(point, x, frame))
        box = beside(point.label, (x, y), taken, frame.inside(), size=TEXT)
        if box is None:
            outside.append(number)
            continue
        taken.append(box)
        names.append(caption(box.left, box.bottom - 3, point.label, halo=True))
    names += _beyond(shown, spots, outside, frame)
    marks = [
        dot(p.group, x, y, f"{p.label}: {short_number(p.x)}, {fixed(p.y)}")
        for p, (x, y) in zip(shown, spots, strict=True)
    ]
    return picture(title, width, height, [*parts, *names, *marks])


def _widest(points: Sequence[Point]) -> float:
    return max(width_of(point.label, TEXT) for point in points) + 24


def _beyond(
    points: Sequence[Point],
    spots: Sequence[tuple[float, float]],
    outside: Sequence[int],
    frame: Frame,
) -> list[str]:
    """Labels right of the frame, spread along it, with a thin line to each point."""
    order = sorted(outside, key=lambda number: spots[number][1])
    places = spread([spots[n][1] for n in order], LINE, frame.top, frame.height - frame.bottom)
    edge = frame.width - frame.right
    parts = []
    for number, y in zip(order, places, strict=True):
        at_x, at_y = spots[number]
        parts.append(stroke(at_x, at_y, edge + 16, y, GRID, 1))
        parts.append(caption(edge + 19, y + 4, points[number].label, halo=True))
    return parts


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    ticks: Literal["percent", "whole"] | None = None,
    reach: Sequence[float] = (),
    size: tuple[int, int] = (760, 420),
) -> str:
    """Lines, the strong ones coloured and named at their right end.

    Args:
        ticks: of x: ``percent``, a share, the values given as percentages; ``whole``, a count, whole
            numbers; None, any round numbers.
        reach: values that the y axis holds as well, for plots of one scale.
        size: width and height, in pixels.
    """
    width, height = size
    known = [
        Series(line.label, [x for x, _ in pairs], [y for _, y in pairs], line.strong)
        for line in series
        if (pairs := [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if finite(x, y)])
    ]
    if not known:
        return _nothing(title, width)
    strong = [line for line in known if line.strong]
    right = 40 + max((width_of(line.label, TEXT) for line in strong), default=0)
    frame = Frame(width, height, left=60, right=right, top=50, bottom=48)
    xs = [x for line in known for x in line.xs]
    frame.scale(xs, [*reach, *(y for line in known for y in line.ys)], margin_x=0.0)
    if ticks == "percent":
        parts = [frame.axes(x_label, y_label, sorted(set(xs)), lambda x: f"{x:.0%}")]
    else:
        counts = [tick for tick in nice_ticks(min(xs), max(xs)) if tick == round(tick)]
        parts = [frame.axes(x_label, y_label, counts if ticks == "whole" else None)]
    weak = [line for line in known if not line.strong]
    parts += [_path(line, frame, GREY, 1) for line in weak]
    ends = [frame.y(line.ys[-1]) for line in strong]
    order = sorted(range(len(strong)), key=lambda number: ends[number])
    places = spread([ends[n] for n in order], LINE, frame.top, height - frame.bottom)
    for number, y in zip(order, places, strict=True):
        line, colour = strong[number], COLOURS[number % len(COLOURS)]
        parts.append(_path(line, frame, colour, 2, "" if number < len(COLOURS) else "5 3"))
        end = frame.x(line.xs[-1])
        parts.append(stroke(end, ends[number], end + 14, y, colour, 1))
        parts.append(caption(end + 18, y + 4, line.label, halo=True))
    return picture(title, width, height, parts)


def bars(
    values: Sequence[Bar],
    *,
    title: str,
    x_label: str,
    groups: Sequence[str] = (),
    mark: float | None = None,
    width: int = 760,
) -> str:
    """Horizontal bars from zero with interval lines, a row each, in the order given.

    Args:
        mark: where a dashed line across all rows stands, for what the others are compared with.
    """
    shown = [bar for bar in values if finite(bar.value)]
    if not shown:
        return _nothing(title, width)
    height = 34 + LINE * len(shown) + len(shown) * 4 + 48
    left = 16 + max(width_of(bar.label, TEXT) for bar in shown)
    frame = Frame(width, height, left=left, right=70, top=34, bottom=48)
    ends = [v for b in shown for v in (b.value, b.low, b.high) if v is not None and finite(v)]
    frame.scale([min(0.0, *ends), max(0.0, *ends)], [0.0, 1.0], margin_x=0.0)
    parts = [frame.axes(x_label, "", y_ticks=[]), _legend(groups, frame)]
    for number, bar in enumerate(shown):
        y = frame.top + 2 + (LINE + 4) * number
        start, end = sorted((frame.x(0.0), frame.x(bar.value)))
        colour = COLOURS[bar.group % len(COLOURS)]
        hint = f"<title>{escape(f'{bar.label}: {fixed(bar.value)}')}</title>"
        parts.append(
            f'<rect x="{start:.1f}" y="{y}" width="{max(0.5, end - start):.1f}" height="{LINE}" '
            f'style="fill:{colour};fill-opacity:.75">{hint}</rect>'
        )
        centre = y + LINE / 2
        if bar.low is not None and bar.high is not None and finite(bar.low, bar.high):
            parts.append(stroke(frame.x(bar.low), centre, frame.x(bar.high), centre, INK, 1.5))
        parts.append(caption(left - 6, centre + 4, bar.label, anchor="end"))
        parts.append(caption(width - 62, centre + 4, fixed(bar.value)))
    if mark is not None and math.isfinite(mark):
        x = frame.x(mark)
        parts.append(stroke(x, frame.top, x, height - frame.bottom, INK, 1, "4 3"))
    return picture(title, width, height, parts)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    title: str,
    width: int = 760,
) -> str:
    """A table whose cells are the darker the higher their value; the value stands in each.

    Shades run from the lowest to the highest value of all. They are opacities of one colour, so that ink
    can be read on every one of them, by day and in the dark.
    """
    known = [value for row in values for value in row if finite(value)]
    if not known:
        return _nothing(title, width)
    low, span = min(known), (max(known) - min(known)) or 1.0
    left = 12 + max(width_of(name, TEXT) for name in rows)
    cell = min(110.0, (width - left - 4) / len(columns))
    heads = [_cut(name, cell - 6) for name in columns]
    parts = []
    for place, (name, head) in enumerate(zip(columns, heads, strict=True)):
        middle = left + cell * (place + 0.5)
        parts.append(caption(middle, 44, head, anchor="middle", hint=name))
    for at, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = 52 + at * (LINE + 6)
        parts.append(caption(left - 6, y + 14, name, anchor="end"))
        for place, value in enumerate(row):
            x = left + cell * place
            shade = 0.06 + 0.54 * (value - low) / span if finite(value) else 0.0
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{cell - 2:.1f}" height="{LINE + 4}" '
                f'style="fill:{FILL};fill-opacity:{shade:.2f}"/>'
            )
            label = fixed(value) if finite(value) else "-"
            parts.append(caption(x + cell / 2, y + 13, label, anchor="middle"))
    return picture(title, width, 58 + len(rows) * (LINE + 6), parts)


def _nothing(title: str, width: int) -> str:
    return picture(title, width, 60, [caption(8, 44, "nothing to show", colour=FAINT)])


def _cut(text: str, room: float) -> str:
    """Text that fits, with an ellipsis where it had to be cut."""
    if width_of(text, TEXT) <= room:
        return text
    while text and width_of(text + "…", TEXT) > room:
        text = text[:-1]
    return text + "…"


def _path(line: Series, frame: Frame, colour: str, width: float, dash: str = "") -> str:
    spots = [(frame.x(x), frame.y(y)) for x, y in zip(line.xs, line.ys, strict=True)]
    strokes = "".join(stroke(*a, *b, colour, width, dash) for a, b in pairwise(spots))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 1}" style="fill:{colour}"/>'
        for x, y in spots
    )
    return f"<g><title>{escape(line.label)}</title>{strokes}{dots}</g>"


def _whisker(point: Point, x: float, frame: Frame) -> str:
    if point.low is None or point.high is None or not finite(point.low, point.high):
        return ""
    return stroke(x, frame.y(point.low), x, frame.y(point.high), GREY, 1.5)


def _legend(groups: Sequence[str], frame: Frame) -> str:
    """The groups' marks and names at the top right."""
    parts, x = [], float(frame.width) - 8
    for group, name in reversed(list(enumerate(groups))):
        x -= width_of(name, TEXT)
        parts.append(caption(x, 16, name, colour=FAINT))
        parts.append(dot(group, x - 9, 12, ""))
        x -= 26
    return "".join(parts)
