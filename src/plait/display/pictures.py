"""Small plots as pixels, for logs that hold pictures and no SVG."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

INK, GRID, BAR, MARK = (31, 41, 51), (227, 231, 236), (0, 114, 178), (213, 94, 0)
PAPER = (255, 255, 255)
LETTERS = 18
"""Characters of a name at most."""

Picture = UInt8[np.ndarray, "height width 3"]


def matrix(names: Sequence[str], shares: Float[np.ndarray, "rows columns"], title: str) -> Picture:
    """A square table whose cells are the darker the higher their share."""
    cell = 46 if len(names) <= 12 else 24
    left, top = 150, 64
    image, draw = _sheet(left + cell * len(names) + 12, top + cell * len(names) + 12, title)
    for place, name in enumerate(names):
        _text(draw, left - 8, top + cell * place + cell / 2, _cut(name), "rm")
        _text(draw, left + cell * place + cell / 2, top - 10, _cut(name, cell // 7), "mm")
    for (row, column), share in np.ndenumerate(shares):
        x, y = left + cell * column, top + cell * row
        level = 0.0 if np.isnan(share) else float(share)
        fill = tuple(round(p + level * (b - p)) for p, b in zip(PAPER, BAR, strict=True))
        draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=fill)
        if cell > 30 and not np.isnan(share):
            ink = PAPER if level > 0.5 else INK
            _text(draw, x + cell / 2, y + cell / 2, f"{level:.2f}", "mm", ink)
    return np.asarray(image)


def bars(names: Sequence[str], values: Sequence[float], title: str) -> Picture:
    """Bars from zero, a line each."""
    left, width, line = 150, 520, 24
    image, draw = _sheet(left + width + 60, 40 + line * len(names) + 10, title)
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    zero = left + width * (0.0 - low) / span
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = 40 + line * place
        ends = sorted((zero, left + width * (value - low) / span))
        draw.rectangle((ends[0], y + 3, max(ends[1], ends[0] + 1), y + line - 4), fill=BAR)
        _text(draw, left - 8, y + line / 2, _cut(name), "rm")
        _text(draw, left + width + 8, y + line / 2, f"{value:.3f}", "lm")
    draw.line((zero, 38, zero, 40 + line * len(names)), fill=INK)
    return np.asarray(image)


def reliability(confidence: Sequence[float], accuracy: Sequence[float], title: str) -> Picture:
    """The accuracy of answers over their confidence, and the line where both are the same.

    Args:
        confidence, accuracy: of each bin; NaN for an empty one, which is left out.
    """
    side, left, top = 320, 60, 40
    image, draw = _sheet(left + side + 20, top + side + 40, title)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + side * tick, top + side * (1 - tick)
        draw.line((x, top, x, top + side), fill=GRID)
        draw.line((left, y, left + side, y), fill=GRID)
        _text(draw, x, top + side + 14, f"{tick:g}", "mm")
        _text(draw, left - 8, y, f"{tick:g}", "rm")
    draw.line((left, top + side, left + side, top), fill=INK)
    spots = [
        (left + side * x, top + side * (1 - y))
        for x, y in zip(confidence, accuracy, strict=True)
        if x == x and y == y
    ]
    if len(spots) > 1:
        draw.line(spots, fill=MARK, width=2)
    for x, y in spots:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=MARK)
    _text(draw, left + side / 2, top + side + 30, "confidence (across), accuracy (up)", "mm")
    return np.asarray(image)


def _sheet(width: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (max(width, 240), height), PAPER)
    draw = ImageDraw.Draw(image)
    _text(draw, 8, 16, title, "lm")
    return image, draw


def _text(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    text: str,
    anchor: str,
    colour: tuple[int, ...] = INK,
) -> None:
    draw.text((x, y), text, fill=colour, anchor=anchor, font=_font())


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)


def _cut(name: str, letters: int = LETTERS) -> str:
    """A name on one line, of at most so many letters."""
    line = " ".join(name.split())
    return line if len(line) <= max(1, letters) else line[: max(1, letters - 1)] + "…"
