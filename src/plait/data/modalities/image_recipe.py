"""A pretrained checkpoint's way with a picture, as data: resize, crop, pad, and nothing else.

Pictures become RGB first, at their own size, and are then resized by Pillow from their full pixels (no
draft, no reducing gap), as the checkpoint's own processor does without torchvision; so both agree to
the last bit on RGB and grey pictures. What differs on purpose: transparency is laid on white (the
processors drop it), a turned photograph is set upright first (they leave it lying), and grey of more
than 8 bits is scaled to the range it uses (they clip it).
"""

from typing import Any

import numpy as np
from PIL import Image

from plait.errors import CheckpointError, unknown

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
RESIZES = {
    "exact": "resized to {0}x{1}",
    "shortest": "shorter side to {0}",
    "within": "longer side to {0}",
}
CROPS = ("down", "even")

Recipe = dict[str, Any]
"""How to bring a picture to one size; JSON values only.

``resize``: None, or ``[how, height, width]``: ``exact``, to both; ``shortest``, the shorter side to
``height`` at the picture's own aspect ratio; ``within``, as large as fits into both at that ratio.
``resample``: the name of one of Pillow's filters. ``crop``: None, or the ``[height, width]`` cut from
the middle, with black where the picture is smaller. ``rounds``: where the middle lies when it is
between two pixels: ``down``, or ``even`` as in torchvision. ``pad``: None, or the ``[height, width]``
to fill up to, below and to the right, with the colour ``fill``.
"""


def check_recipe(recipe: Recipe) -> int:
    """The side of the square a recipe ends in.

    Raises:
        CheckpointError: it names a resampling or a resize that plait does not have, or pictures would
            come out in different sizes, or not square.
    """
    if recipe["resample"] not in FILTERS:
        raise CheckpointError(unknown("resampling", str(recipe["resample"]), FILTERS))
    if recipe["rounds"] not in CROPS:
        raise CheckpointError(unknown("rounding of a crop", str(recipe["rounds"]), CROPS))
    resize = recipe["resize"]
    if resize is not None and resize[0] not in RESIZES:
        raise CheckpointError(unknown("resize", str(resize[0]), RESIZES))
    exact = resize[1:] if resize is not None and resize[0] == "exact" else None
    shape = recipe["pad"] or recipe["crop"] or exact
    if shape is None:
        raise CheckpointError(
            "the checkpoint's preprocessing leaves pictures in different sizes (it neither crops nor "
            "pads them, nor resizes them to one size); plait needs one size for a column. Set "
            "do_center_crop and crop_size in its preprocessor_config.json."
        )
    height, width = shape
    if recipe["pad"] and not _fits(resize, recipe["crop"], height, width):
        raise CheckpointError(
            f"the checkpoint's preprocessing pads to {height}x{width} pictures that may be larger"
        )
    if height != width:
        raise CheckpointError(
            f"the checkpoint's preprocessing makes pictures {height} high and {width} wide; plait "
            "expects squares."
        )
    return int(height)


def _fits(resize: list[Any] | None, crop: list[int] | None, height: int, width: int) -> bool:
    """Whether no picture can be larger than what it is padded to."""
    if crop is not None:
        return crop[0] <= height and crop[1] <= width
    known = resize is not None and resize[0] in ("exact", "within")
    return resize is not None and known and resize[1] <= height and resize[2] <= width


def execute(image: Image.Image, recipe: Recipe) -> np.ndarray:
    """An RGB picture as ``uint8 [height, width, 3]``. Memory: the picture, and the result."""
    if recipe["resize"] is not None:
        target = _target(image.size, *recipe["resize"])
        if target != image.size:
            image = image.resize(target, FILTERS[recipe["resample"]])
    pixels = np.asarray(image)
    if recipe["crop"] is not None:
        pixels = _crop(pixels, *recipe["crop"], even=recipe["rounds"] == "even")
    if recipe["pad"] is not None:
        height, width = recipe["pad"]
        filled = np.empty((height, width, 3), np.uint8)
        filled[:] = recipe["fill"]
        filled[: pixels.shape[0], : pixels.shape[1]] = pixels
        pixels = filled
    return pixels


def describe_recipe(recipe: Recipe) -> str:
    """For instance ``shorter side to 256 (bicubic), cut from the middle``."""
    words = []
    if recipe["resize"] is not None:
        how, *sides = recipe["resize"]
        words.append(f"{RESIZES[how].format(*sides)} ({recipe['resample']})")
    if recipe["crop"] is not None:
        words.append("cut from the middle")
    if recipe["pad"] is not None:
        words.append("padded to a square")
    return ", ".join(words)


def _target(size: tuple[int, int], how: str, height: int, width: int) -> tuple[int, int]:
    """Width and height after the resize; sides are cut to whole pixels, as the processors do."""
    wide, high = size
    if how == "exact":
        return width, height
    if how == "shortest":
        longer = int(height * max(size) / min(size))
        return (height, longer) if wide <= high else (longer, height)
    scale = min(height / high, width / wide)
    return max(int(wide * scale), 1), max(int(high * scale), 1)


def _crop(pixels: np.ndarray, height: int, width: int, *, even: bool) -> np.ndarray:
    """The middle, on black where the picture is smaller."""
    high, wide, channels = pixels.shape
    if high < height or wide < width:
        black = np.zeros((max(high, height), max(wide, width), channels), np.uint8)
        # The processors leave the odd line of black at the top and left, torchvision the other way.
        top, left = (_half(black.shape[n] - pixels.shape[n], up=not even) for n in (0, 1))
        black[top : top + high, left : left + wide] = pixels
        pixels, (high, wide) = black, black.shape[:2]
    top = round((high - height) / 2) if even else (high - height) // 2
    left = round((wide - width) / 2) if even else (wide - width) // 2
    return pixels[top : top + height, left : left + width]


def _half(number: int, *, up: bool) -> int:
    return -(-number // 2) if up else number // 2
