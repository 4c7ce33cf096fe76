"""What plots are drawn with: colours, texts, lines, marks, and a frame with axes."""

import math
from collections.abc import Callable, Sequence
from html import escape

from plait.display.markup import compact
from plait.display.plot_labels import Box

INK = "var(--plot-ink, #1f2933)"
FAINT = "var(--plot-faint, #6b7785)"
GRID = "var(--plot-grid, #e3e7ec)"
PAPER = "var(--plot-paper, #ffffff)"
FILL = "var(--plot-fill, #0072b2)"
GREY = "var(--plot-grey, #b3bcc6)"
COLOURS = tuple(
    f"var(--plot-{number}, {colour})"
    for number, colour in enumerate(
        ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"), start=1
    )
)
TEXT = 11
"""Size of labels, in pixels."""
LINE = 14
"""Pixels between two lines of labels."""


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``, at most ``most``."""
    if not low < high:
        return [low]
    raw = (high - low) / max(1, most - 1)
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 5, 10, 20) if base * m >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive numbers; 2 and 5 times those too where there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for marks in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**d for d in decades for m in marks]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            return inside
    return nice_ticks(low, high, 5)


def short_number(value: float) -> str:
    """Few characters: 0.85, 120, 3.4k, 12M."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return compact(value / limit, 3) + suffix
    return compact(value, 3)


def caption(
    x: float,
    y: float,
    text: str,
    *,
    colour: str = INK,
    anchor: str = "start",
    hint: str | None = None,
    halo: bool = False,
) -> str:
    """One line of text; ``hint`` is shown when it is pointed at, ``halo`` keeps lines off it."""
    around = f";stroke:{PAPER};stroke-width:3px;paint-order:stroke" if halo else ""
    inner = escape(text) + (f"<title>{escape(hint)}</title>" if hint else "")
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{TEXT}" text-anchor="{anchor}" '
        f'style="fill:{colour}{around}">{inner}</text>'
    )


def stroke(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dash: str = ""
) -> str:
    """A straight line."""
    dashed = f";stroke-dasharray:{dash}" if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'style="stroke:{colour};stroke-width:{width}{dashed}"/>'
    )


def dot(group: int, x: float, y: float, hint: str) -> str:
    """A circle, square, triangle or diamond of the group's colour."""
    colour = COLOURS[group % len(COLOURS)]
    style = f'style="fill:{colour};stroke:{PAPER};stroke-width:1"'
    hint_html = f"<title>{escape(hint)}</title>" if hint else ""
    if group % 4 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {style}>{hint_html}</circle>'
    corners: list[tuple[float, float]] = {
        1: [(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
        2: [(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)],
        3: [(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)],
    }[group % 4]
    spots = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{spots}" {style}>{hint_html}</polygon>'


def picture(title: str, width: int, height: float, parts: Sequence[str]) -> str:
    """The whole: an SVG element with its title on top."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height:.0f}" '
        f'width="{width}" height="{height:.0f}" font-family="system-ui, sans-serif" '
        f'font-size="{TEXT}"><title>{escape(title)}</title>'
        f'<text x="4" y="16" font-size="13" font-weight="600" style="fill:{INK}">{escape(title)}</text>'
        f"{''.join(parts)}</svg>"
    )


class Frame:
    """Where data lies on the paper, and the axes around it."""

    def __init__(
        self, width: int, height: int, *, left: float, right: float, top: float, bottom: float
    ) -> None:
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = left, right, top, bottom
        self.x_range = self.y_range = (0.0, 1.0)
        self.log_x = False

    def scale(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        log_x: bool = False,
        margin_x: float = 0.06,
    ) -> None:
        """Fit the axes to the data, with a little air around it."""
        self.log_x = log_x
        self.x_range = _aired([math.log10(x) for x in xs] if log_x else xs, margin_x)
        self.y_range = _aired(ys, 0.06)

    def x(self, value: float) -> float:
        """The data's x on the paper."""
        low, high = self.x_range
        share = ((math.log10(value) if self.log_x else value) - low) / (high - low)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """The data's y on the paper, where down is more."""
        low, high = self.y_range
        share = (value - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def inside(self) -> Box:
        """The rectangle of the data."""
        return Box(self.left, self.top, self.width - self.right, self.height - self.bottom)

    def axes(
        self,
        x_label: str,
        y_label: str,
        x_ticks: Sequence[float] | None = None,
        x_text: Callable[[float], str] | None = None,
        y_ticks: Sequence[float] | None = None,
    ) -> str:
        """Grid lines with numbers, and the axes' names."""
        box, parts = self.inside(), []
        if x_ticks is None:
            low, high = self.x_range
            x_ticks = log_ticks(10**low, 10**high) if self.log_x else nice_ticks(low, high)
        for tick in x_ticks:
            x = self.x(tick)
            parts.append(stroke(x, box.top, x, box.bottom, GRID, 1))
            label = (x_text or short_number)(tick)
            parts.append(caption(x, box.bottom + 15, label, colour=FAINT, anchor="middle"))
        for tick in nice_ticks(*self.y_range) if y_ticks is None else y_ticks:
            y = self.y(tick)
            parts.append(stroke(box.left, y, box.right, y, GRID, 1))
            parts.append(caption(box.left - 6, y + 4, compact(tick, 3), colour=FAINT, anchor="end"))
        middle = (box.left + box.right) / 2
        parts.append(caption(middle, self.height - 12, x_label, colour=FAINT, anchor="middle"))
        if y_label:
            parts.append(caption(4, box.top - 8, y_label, colour=FAINT))
        return "".join(parts)


def _aired(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = (high - low) * margin or (0.0 if high > low else abs(low) * 0.05 or 0.5)
    return low - air, high + air


def finite(*values: float) -> bool:
    """Whether all are numbers that can be drawn."""
    return all(math.isfinite(value) for value in values)
