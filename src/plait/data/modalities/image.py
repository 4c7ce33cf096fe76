"""Images: any Pillow mode, letterboxed to one small square of grey or colour bytes."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from struct import unpack_from
from typing import Any, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from plait.data.media import Limits
from plait.data.modalities.base import (
    Display,
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    Unit,
)
from plait.data.modalities.decode import decode_all
from plait.data.modalities.evidence import inline_bytes, media_evidence, starts_like_markup
from plait.data.modalities.image_recipe import Recipe, describe_recipe, execute
from plait.data.modalities.sample import sample
from plait.errors import CellError

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO"]
if features.check("avif"):
    FORMATS.append("AVIF")
EXTENSIONS = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jfif", "png", "gif", "bmp", "webp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "ico", "avif"),
    )
)
MAX_SIDE = {"fast": 48, "balanced": 64, "best": 128}
"""Pixels along a side at most, by preset; the cost of an encoder grows with their square."""

MIN_SIDE = 16
"""Pixels along a side at least: the encoders halve the picture down to 4 x 4 tokens."""

SAMPLED_IMAGES = 200
"""Images whose size and colour are looked at; a median needs no more."""

FILE_BYTES_PER_PIXEL = 4
"""Bytes of a file per pixel of the cap: as many as uncompressed RGBA takes."""

GREY_SPREAD = 8
"""An image whose colours differ by no more than this, of 255, counts as grey."""
LIGHT_BYTES, LIGHT_SIDE, LIGHT_PIXELS = 1 << 16, 1 << 12, 1 << 18
"""A file of no more bytes and pixels is decoded in some milliseconds."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_ICON = b"\0\0\1\0"
_SCAN = b"\xff\xda"
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", _ICON)


class ImageModality(Modality):
    """Images to ``uint8 [rows, height, width, channels]``.

    State: ``size``, the side of the square in pixels; ``channels``, 1 (grey) or 3; ``fit``: ``pad``,
    the whole picture is kept at its own aspect ratio, and the rest filled with the median colour of
    its border. ``recipe``: only where a pretrained checkpoint says how it wants its pictures
    (`plait.data.modalities.image_recipe`); ``fit`` is then ``recipe``, and ``channels`` 3.
    """

    name: ClassVar[str] = "image"
    media: ClassVar[bool] = True
    stored: ClassVar[bool] = True
    display: ClassVar[Display] = "picture"
    folder_suffixes: ClassVar[frozenset[str]] = frozenset(
        {
            *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"),
            *(".tif", ".tiff", ".ppm", ".pgm", ".ico"),
        }
    )
    file_suffix: ClassVar[str] = ".png"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Paths or bytes whose headers are images."""

        def check(cell: object) -> None:
            _open(_read(cell, settings), settings.media.limits).close()

        return media_evidence("image", cells, settings, EXTENSIONS, _has_magic, check)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Size from the median longer side, colour from whether any sampled image has some."""
        survey = partial(_survey, settings=settings)
        seconds = settings.media.limits.decode_seconds
        surveys = decode_all(survey, sample(cells, SAMPLED_IMAGES), settings.threads, seconds)
        seen = [entry for entry in surveys if isinstance(entry, tuple)]
        cap = MAX_SIDE[settings.preset]
        side = float(np.median([longer for longer, _ in seen])) if seen else cap
        size = int(min(max(round(side / 4) * 4, MIN_SIDE), cap))
        grey = bool(seen) and all(is_grey for _, is_grey in seen)
        return {"size": size, "channels": 1 if grey else 3, "fit": "pad"}

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Decode, turn upright, flatten onto white, shrink and pad every image."""
        size, channels, limits = int(state["size"]), int(state["channels"]), settings.media.limits

        def decode(cell: object) -> np.ndarray:
            data = _read(cell, settings)
            if "recipe" in state:
                return load_by(data, state["recipe"], limits)
            return load(data, size, channels, limits)

        decoded = decode_all(decode, cells, settings.threads, limits.decode_seconds, self.is_light)
        values = np.zeros((len(cells), size, size, channels), np.uint8)
        present = np.zeros(len(cells), bool)
        problems: list[Problem] = []
        for row, entry in enumerate(decoded):
            if isinstance(entry, CellError):
                problems.append(Problem(row, str(entry)))
            elif entry is not None:
                values[row] = entry
                present[row] = True
        return Prepared(values, None, present, problems)

    def is_light(self, cell: object) -> bool:
        """A small PNG or JPEG whose size is said once and whose pixels are there once.

        A second header of a PNG may claim millions of pixels; a JPEG, progressive or not, may go over
        all of its pixels in thousands of scans.
        """
        data = inline_bytes(cell)
        if data is None or len(data) > LIGHT_BYTES:
            return False
        if data.count(b"IHDR") > 1 or data.count(_SCAN) > 1:
            return False
        if data.startswith(_PNG) and len(data) >= 24:  # sooner said than Pillow does
            width, height = unpack_from(">II", data, 16)
            return bool(max(width, height) <= LIGHT_SIDE and width * height <= LIGHT_PIXELS)
        try:
            with Image.open(BytesIO(data), formats=("JPEG",)) as image:
                small = image.width * image.height <= LIGHT_PIXELS
                return small and "progressive" not in image.info
        except Exception:  # said in words by whoever decodes it
            return False

    def describe(self, state: State) -> str:
        """For instance ``28x28 grey, padded to a square``."""
        colour = "grey" if state["channels"] == 1 else "colour"
        if "recipe" in state:
            recipe = describe_recipe(state["recipe"])
            return f"{state['size']}x{state['size']} {colour}" + (f", {recipe}" if recipe else "")
        return f"{state['size']}x{state['size']} {colour}, padded to a square"

    def unit(self, inner: tuple[int, ...], ragged: bool, state: State) -> Unit:
        """A pixel."""
        raw = not ragged and len(inner) == 3
        return "pixels" if raw else super().unit(inner, ragged, state)

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """``uint8 [height, width, channels]``."""
        return list(prepared.values)

    def write(self, file: Path, cell: np.ndarray, rate: int) -> None:
        """Grey or colour."""
        Image.fromarray(cell[:, :, 0] if cell.shape[2] == 1 else cell).save(file)


def load(data: bytes, size: int, channels: int, limits: Limits) -> np.ndarray:
    """One image as ``uint8 [size, size, channels]``.

    Raises:
        CellError: when the bytes are no image, or one that claims too many pixels.
        Exception: whatever Pillow raises on a damaged image; `decode_all` puts it into words.
    """
    image = _open(data, limits)
    with image:
        if image.format == "JPEG":
            # JPEG decodes to a fraction of its size for free; twice the target still resizes well.
            image.draft("L" if channels == 1 else "RGB", _target(image.size, 2 * size))
        image.load()
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        flat = _flatten(image, size, "L" if channels == 1 else "RGB")
    if turn is not None:
        flat = flat.transpose(turn)
    pixels = np.asarray(flat)
    return _letterbox(pixels[:, :, None] if channels == 1 else pixels, size)


def load_by(data: bytes, recipe: Recipe, limits: Limits) -> np.ndarray:
    """One image as ``uint8 [height, width, 3]``, by a checkpoint's recipe. Raises as `load` does."""
    image = _open(data, limits)
    with image:
        image.load()
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        flat = _flatten(image, max(image.size), "RGB")
    return execute(flat if turn is None else flat.transpose(turn), recipe)


def boxed(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """An upright picture as ``uint8 [size, size, channels]``: shrunk, and padded to a square."""
    pixels = np.asarray(_flatten(image, size, "L" if channels == 1 else "RGB"))
    return _letterbox(pixels[:, :, None] if channels == 1 else pixels, size)


def _read(cell: object, settings: Settings) -> bytes:
    cap = settings.media.limits.image_pixels * FILE_BYTES_PER_PIXEL
    return settings.media.read(cell, cap, "max_image_megapixels x 4 bytes")


def _survey(cell: object, settings: Settings) -> tuple[int, bool]:
    """The longer side of an image in pixels, and whether it is grey."""
    data = _read(cell, settings)
    with _open(data, settings.media.limits) as image:
        longer = max(image.size)
        if image.mode in _GREY_MODES:
            return longer, True
    colours = load(data, 32, 3, settings.media.limits).astype(np.int16)
    return longer, int((colours.max(axis=2) - colours.min(axis=2)).max()) <= GREY_SPREAD


def _open(data: bytes, limits: Limits) -> Image.Image:
    """Read the header only, and check the size it claims before anything is allocated for pixels."""
    if data.startswith(_ICON):
        _check_sizes(_icon_sizes(data), limits)  # Pillow decodes an icon as soon as it opens it
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise CellError(_too_large(int(pixels[0]) if pixels else 0, "", limits)) from None
    except UnidentifiedImageError:
        kind = "is HTML or XML, not an image" if starts_like_markup(data) else ""
        raise CellError(kind or f"is not an image of a known kind ({', '.join(FORMATS)})") from None
    _check_sizes([image.size], limits)
    return image


def _check_sizes(sizes: Iterable[tuple[int, int]], limits: Limits) -> None:
    for width, height in sizes:
        if width * height > limits.image_pixels:
            raise CellError(_too_large(width * height, f" ({width} x {height})", limits))


def _too_large(pixels: int, sides: str, limits: Limits) -> str:
    claimed, cap = pixels / 1e6, limits.image_pixels / 1e6
    return f"claims {claimed:.4g} megapixels{sides}, more than the cap of {cap:g} (max_image_megapixels)"


def _icon_sizes(data: bytes) -> list[tuple[int, int]]:
    """The sizes that the pictures inside an icon claim; its directory may say less than they do."""
    sizes = []
    for entry in range(int.from_bytes(data[4:6], "little")):
        start = int.from_bytes(data[6 + 16 * entry + 12 : 6 + 16 * entry + 16], "little")
        if len(data) < start + 24:
            continue
        png = data[start : start + 4] == b"\x89PNG"
        width, height = unpack_from(">II" if png else "<ii", data, start + (16 if png else 4))
        sizes.append((abs(width), abs(height)))
    return sizes


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height that bring the longer side to ``side`` and keep the aspect ratio."""
    longer = max(size)
    return max(round(size[0] * side / longer), 1), max(round(size[1] * side / longer), 1)


def _flatten(image: Image.Image, size: int, mode: str) -> Image.Image:
    """Shrink to ``size`` at the longer side, composite on white, and convert to L or RGB."""
    seen = image
    if image.mode.startswith("I") or image.mode == "F":
        seen = _to_bytes(image)
    elif image.has_transparency_data:
        # Before resizing: a palette cannot be interpolated, and transparency would be lost.
        seen = image.convert("RGBA")
    elif image.mode != mode:
        seen = image.convert(mode)
    target = _target(seen.size, size)
    if target != seen.size:
        seen = seen.resize(target, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if seen.mode == "RGBA":
        seen = Image.alpha_composite(Image.new("RGBA", seen.size, (255, 255, 255, 255)), seen)
    return seen if seen.mode == mode else seen.convert(mode)


def _to_bytes(image: Image.Image) -> Image.Image:
    """Scale deep grey to 0..255: 16 bits by their whole range, others by the values they hold."""
    deep = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(deep.min()), float(deep.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scaled = (deep - low) * (255.0 / (high - low or 1.0))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _letterbox(pixels: np.ndarray, size: int) -> np.ndarray:
    """Centre ``[height, width, channels]`` on a square of the median colour of its border."""
    height, width, channels = pixels.shape
    if height == width == size:
        return pixels
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    colour = np.median(np.concatenate(edges), axis=0).astype(np.uint8)
    square = np.empty((size, size, channels), np.uint8)
    square[:] = colour
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _has_magic(data: bytes) -> bool:
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    if data[4:8] == b"ftyp":
        return data[8:12] in (b"avif", b"avis")
    return data.startswith(_MAGICS) or (
        data[:1] == b"P" and data[1:2].isdigit() and data[2:3].isspace()
    )
