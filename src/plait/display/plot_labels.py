"""Where the labels of a plot go, so that none lies on another."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle on the paper, in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: "Box") -> bool:
        """Whether it lies wholly inside the other."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


def width_of(text: str, size: float) -> float:
    """About how wide a text is drawn: wide characters count 1, others .62 of the font's size."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return size * (wide + 0.62 * (len(text) - wide))


def beside(
    label: str,
    spot: tuple[float, float],
    taken: Sequence[Box],
    frame: Box,
    *,
    size: float,
    gap: float = 7,
) -> Box | None:
    """A free place for a label right, left, above or below a point; None when there is none."""
    (x, y), wide, high = spot, width_of(label, size), size + 2
    for left, top in (
        (x + gap, y - high / 2),
        (x - gap - wide, y - high / 2),
        (x - wide / 2, y - gap - high),
        (x - wide / 2, y + gap),
        (x + gap, y - gap - high),
        (x + gap, y + gap),
        (x - gap - wide, y - gap - high),
        (x - gap - wide, y + gap),
    ):
        box = Box(left, top, left + wide, top + high)
        if box.within(frame) and not any(box.meets(other) for other in taken):
            return box
    return None


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Sorted places moved apart to at least ``gap``, within ``low`` to ``high`` where that is possible.

    They keep their order and move as little as a pass down and a pass up need. Where there are too many
    for the room, the gap shrinks.
    """
    if not places:
        return []
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    moved: list[float] = []
    for place in places:
        moved.append(max(place, low, moved[-1] + gap if moved else low))
    ceiling = high
    for number in reversed(range(len(moved))):
        moved[number] = min(moved[number], ceiling)
        ceiling = moved[number] - gap
    return moved
