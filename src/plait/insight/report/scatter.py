"""Many points at once as SVG: no names beside them, a hint on each, a legend below."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from plait.display.plot_frame import (
    COLOURS,
    FAINT,
    GREY,
    INK,
    PAPER,
    TEXT,
    Frame,
    caption,
    finite,
    picture,
    stroke,
)
from plait.display.plot_labels import width_of
from plait.errors import shortened

OTHERS = 12
"""So many groups can be told apart: six colours, four shapes, and no pair of them twice. The next one,
for all the rest, is small and grey."""

_SHAPES = (
    "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z",
    "M-2.9 -2.9h5.8v5.8h-5.8z",
    "M0 -3.8L3.4 2.9H-3.4z",
    "M0 -4L4 0L0 4L-4 0z",
)
_ROW = 18


@dataclass(frozen=True)
class Spot:
    """A point, its group, and what is told when it is pointed at; ``ring`` sets it apart."""

    x: float
    y: float
    group: int
    hint: str
    ring: bool = False


def grouped_scatter(
    spots: Sequence[Spot],
    groups: Sequence[str],
    *,
    title: str,
    axes: tuple[str, str] | None = None,
    ring: str = "",
    guides: Collection[Literal["diagonal", "level"]] = (),
    size: tuple[int, int] = (640, 480),
) -> str:
    """Points by group.

    Args:
        groups: names; from the `OTHERS`-th on grey.
        axes: names of x and y; None draws no axes.
        ring: what a ring means, for the legend.
        guides: dashed lines: ``diagonal`` where x and y are the same, ``level`` where y is zero.
        size: width and height, in pixels, without the legend.
    """
    width, height = size
    shown = [spot for spot in spots if finite(spot.x, spot.y)]
    if not shown:
        return picture(title, width, 60, [caption(8, 44, "–", colour=FAINT)])
    used = sorted({spot.group for spot in shown})
    legend, rows = _legend([(group, groups[group]) for group in used], ring, width)
    left, bottom = (60.0, 48.0) if axes else (10.0, 10.0)
    whole = height + _ROW * rows
    frame = Frame(width, height, left=left, right=12, top=40 if axes else 26, bottom=bottom)
    frame.scale([spot.x for spot in shown], [spot.y for spot in shown])
    parts = [frame.axes(*axes)] if axes else []
    if "diagonal" in guides:
        ends = [
            max(frame.x_range[0], frame.y_range[0]),
            min(frame.x_range[1], frame.y_range[1]),
        ]
        if ends[0] < ends[1]:
            (a, b), (c, d) = ((frame.x(end), frame.y(end)) for end in ends)
            parts.append(stroke(a, b, c, d, INK, 1, "4 3"))
    if "level" in guides and frame.y_range[0] < 0 < frame.y_range[1]:
        y = frame.y(0.0)
        parts.append(stroke(left, y, width - 12, y, INK, 1, "4 3"))
    # Points set apart come last, so that none lies below another.
    for ringed in (False, True):
        for group in used:
            own = [spot for spot in shown if spot.group == group and spot.ring == ringed]
            parts.append(_points(own, group, ringed, frame))
    return picture(
        title, width, whole, [*parts, f'<g transform="translate(0 {height})">{legend}</g>']
    )


def _points(spots: Sequence[Spot], group: int, ringed: bool, frame: Frame) -> str:
    """One group's points; the style is told once."""
    if not spots:
        return ""
    around = f"stroke:{INK};stroke-width:1.6" if ringed else f"stroke:{PAPER};stroke-width:.5"
    marks = "".join(
        f'<path transform="translate({frame.x(spot.x):.1f} {frame.y(spot.y):.1f})" '
        f'd="{_shape(group)}"><title>{escape(spot.hint)}</title></path>'
        for spot in spots
    )
    return f'<g style="fill:{_colour(group)};fill-opacity:.85;{around}">{marks}</g>'


def _colour(group: int) -> str:
    return GREY if group >= OTHERS else COLOURS[group % len(COLOURS)]


def _shape(group: int) -> str:
    return _SHAPES[0 if group >= OTHERS else group % len(_SHAPES)]


def _legend(groups: Sequence[tuple[int, str]], ring: str, width: int) -> tuple[str, int]:
    """Marks and names in as many rows as they need."""
    parts, x, row = [], 10.0, 0
    entries = [(group, name, False) for group, name in groups]
    entries += [(OTHERS, ring, True)] if ring else []
    for group, name, ringed in entries:
        label = shortened(name, 40)
        need = width_of(label, TEXT) + 26
        if x + need > width and x > 10:
            x, row = 10.0, row + 1
        around = f"stroke:{INK};stroke-width:1.6" if ringed else "stroke:none"
        fill = "none" if ringed else _colour(group)
        y = row * _ROW + 8
        parts.append(
            f'<path transform="translate({x + 4:.1f} {y})" d="{_shape(group)}" '
            f'style="fill:{fill};{around}"/>'
        )
        parts.append(caption(x + 13, y + 4, label))
        x += need
    return "".join(parts), row + 1
