"""An explanation as HTML for the page: a bar a stream, and cells with their parts marked."""

import base64
import io
from typing import Any

import numpy as np

from plait.display.markup import Html, join, named, signed, tag
from plait.insight.explain.occlusion import Marked
from plait.insight.report.heat import (
    AGAINST,
    FOR,
    over_picture,
    over_signal,
    over_spectrum,
    over_words,
)

SIDE_PIXELS = 224
"""Pixels a picture is wide or high."""

_FOR, _AGAINST = (",".join(f"{part:.0f}" for part in colour) for colour in (FOR, AGAINST))
_COLOURS = f"--for:{_FOR};--against:{_AGAINST};--ink:currentColor"
_BELOW = "margin:1.4rem 0 .2rem"  # the label of the box lies above
_BAR = "display:grid;grid-template-columns:6rem 1fr 4rem;gap:.5rem;align-items:center"


def bars(answers: dict[str, Any]) -> Html:
    """Contributions of streams as bars, of every score that is explained."""
    parts = []
    for target, answer in answers.items():
        for score in answer.get("scores", []):
            shares = score["contributions"]
            most = max(map(abs, shares.values())) or 1.0
            of = tag("b", named(target), ": ", named(str(score["of"])))
            parts.append(tag("p", of, style=_BELOW))
            parts += [_bar(stream, share, abs(share) / most) for stream, share in shares.items()]
    return join(parts)


def _bar(stream: str, share: float, part: float) -> Html:
    colour = _FOR if share >= 0 else _AGAINST
    length = f"background:rgb({colour});height:.8rem;width:{100 * part:.1f}%;border-radius:.2rem"
    return tag(
        "div", tag("span", named(stream)), tag("span", style=length), tag("span", signed(share)),
        style=_BAR,
    )  # fmt: skip


def marks(marked: list[Marked]) -> Html:
    """Every cell once a target, what speaks for the answer in orange, against it in blue."""
    targets = list(marked[0].marks) if marked else []
    parts = []
    for target in targets:
        if len(targets) > 1:
            parts.append(tag("p", tag("b", named(target))))
        for marked_cell in marked:
            parts.append(tag("p", named(marked_cell.column), style=_BELOW))
            parts.append(_drawn(marked_cell, marked_cell.marks[target]))
    return tag("div", *parts, style=_COLOURS)


def _drawn(marked: Marked, values: np.ndarray) -> Html:
    if isinstance(marked.cell, list):
        return over_words(marked.cell, values)
    if marked.kind == "pixels":
        return _picture(over_picture(marked.cell, values, SIDE_PIXELS), marked.column)
    if marked.kind == "spectrum":
        return _picture(over_spectrum(marked.cell.astype(np.float64), values), marked.column)
    stretch = np.linspace(0, len(values), len(marked.cell), endpoint=False).astype(np.int64)
    wide = np.repeat(values[stretch][:, None], marked.cell.shape[1], axis=1)
    return over_signal(marked.cell.astype(np.float64), wide, marked.column)


def _picture(pixels: np.ndarray, alt: str) -> Html:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    style = "max-width:100%;image-rendering:auto"
    return tag("img", src=f"data:image/png;base64,{data}", alt=alt, style=style)
