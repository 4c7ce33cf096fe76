"""Maps drawn on the things they are of: pixels, spectrograms, signals, words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from plait.display.markup import Html, join, tag

FOR = np.array([213.0, 94.0, 0.0])
AGAINST = np.array([0.0, 114.0, 178.0])
"""What speaks for an answer, and against it: told apart by people who see red and green alike."""

STRONGEST = 0.85
"""How much of the colour covers what it lies on, at most."""

FAINTEST = 0.04
"""Marks below this share of the strongest are left out."""

HEIGHT = 96
"""Pixels a spectrogram is high."""

WIDTH = 320
"""Pixels a spectrogram or a signal is wide."""

Picture = UInt8[np.ndarray, "high wide 3"]


def over_picture(
    pixels: UInt8[np.ndarray, "height width channels"],
    marks: Float[np.ndarray, "rows columns"],
    side: int,
) -> Picture:
    """A picture in grey, its marks in colour, enlarged to ``side`` pixels along the longer side.

    Args:
        marks: of each pixel, or of the parts of a grid over the picture.
    """
    grey = pixels.astype(np.float64).mean(axis=2)
    if marks.shape == grey.shape:
        marks = _smooth(marks)
    # Less contrast, so that a colour shows on black as on white.
    return _blended(55 + 0.6 * grey, marks, _fitting(grey.shape, side))


def over_spectrum(
    log_mel: Float[np.ndarray, "steps mels"], marks: Float[np.ndarray, "moments bands"]
) -> Picture:
    """A spectrogram in grey, low notes below, its marks in colour.

    Args:
        marks: of each step and band, or of the parts of a grid over them.
    """
    levels = log_mel.astype(np.float64)
    low, high = np.percentile(levels, [5, 99])
    grey = 40 + 190 * np.clip((levels - low) / max(high - low, 1e-9), 0, 1)
    if marks.shape == levels.shape:
        marks = _smooth(marks)
    return _blended(grey.T[::-1], marks.T[::-1], (HEIGHT, WIDTH))


def _fitting(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    scale = side / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _blended(
    grey: Float[np.ndarray, "height width"],
    marks: Float[np.ndarray, "rows columns"],
    size: tuple[int, int],
) -> Picture:
    """Grey under colours whose strength goes with the marks, both enlarged smoothly."""
    base, heat = _enlarged(grey, size), _enlarged(marks, size)
    top = max(float(np.percentile(np.abs(heat), 99.5)), 1e-12)
    share = np.clip(np.abs(heat) / top, 0, 1)
    alpha = (STRONGEST * np.where(share < FAINTEST, 0, share) ** 0.8)[:, :, None]
    colour = np.where(heat[:, :, None] > 0, FOR, AGAINST)
    mixed = (1 - alpha) * base[:, :, None] + alpha * colour
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _smooth(marks: np.ndarray) -> np.ndarray:
    """A Gaussian over a fiftieth of the longer side: single pixels tell little, and scatter."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(marks.astype(np.float64), max(marks.shape) / 50))


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float64)


def over_words(words: Sequence[str], marks: Float[np.ndarray, " steps"]) -> Html:
    """The text, each piece the stronger coloured the more it matters."""
    top = max(float(np.abs(marks).max(initial=0)), 1e-12)
    return tag(
        "p",
        *(_marked(word, float(mark) / top) for word, mark in zip(words, marks, strict=True)),
        class_="words",
    )


def _marked(word: str, share: float) -> Html:
    """A piece of text; its leading space stays outside the mark."""
    bare = word.lstrip(" ")
    space = " " if bare != word else None
    if abs(share) < FAINTEST or not bare:
        return join([space, bare])
    of = "--for" if share > 0 else "--against"
    style = f"background:rgba(var({of}),{0.45 * abs(share):.2f})"
    return join([space, tag("mark", bare, style=style)])


def over_signal(
    values: Float[np.ndarray, "steps leads"], marks: Float[np.ndarray, "steps leads"], title: str
) -> Html:
    """Up to three leads as lines, on stripes whose strength goes with the marks."""
    leads = min(3, values.shape[1])
    order = np.sort(np.argsort(-np.abs(marks).sum(axis=0), kind="stable")[:leads])
    top = max(float(np.abs(marks).max(initial=0)), 1e-12)
    high = 64
    parts = []
    for place, lead in enumerate(order):
        parts += _stripes(marks[:, lead] / top, place * high, high)
        parts.append(_line(values[:, lead].astype(np.float64), place * high, high))
    return tag(
        "svg",
        tag("title", title),
        *parts,
        viewBox=f"0 0 {WIDTH} {high * leads}",
        width=WIDTH,
        height=high * leads,
        role="img",
    )


def _stripes(shares: Float[np.ndarray, " steps"], down: int, high: int) -> list[Html]:
    """Up to 64 stripes, the strongest mark of each."""
    stripes = []
    pieces = np.array_split(shares, min(64, len(shares)))
    wide = WIDTH / len(pieces)
    for at, piece in enumerate(pieces):
        share = float(piece[np.abs(piece).argmax()])
        if abs(share) < FAINTEST:
            continue
        of = "--for" if share > 0 else "--against"
        stripes.append(
            tag(
                "rect",
                x=f"{at * wide:.1f}",
                y=down,
                width=f"{wide:.1f}",
                height=high,
                style=f"fill:rgba(var({of}),{0.7 * abs(share):.2f})",
            )
        )
    return stripes


def _line(values: Float[np.ndarray, " steps"], down: int, high: int) -> Html:
    """One lead, at most two points a pixel."""
    every = max(1, len(values) // (2 * WIDTH))
    shown = values[::every]
    low, span = float(shown.min()), float(np.ptp(shown)) or 1.0
    xs = np.linspace(0, WIDTH, len(shown))
    ys = down + high - 4 - (high - 8) * (shown - low) / span
    spots = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return tag("polyline", points=spots, style="fill:none;stroke:var(--ink);stroke-width:1.2")
