"""Videos: a few frames spread evenly over each clip, letterboxed like images."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image

from plait.data.media import Limits
from plait.data.modalities.base import (
    Display,
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    is_missing,
)
from plait.data.modalities.decode import decode_all
from plait.data.modalities.evidence import media_evidence
from plait.data.modalities.image import GREY_SPREAD, boxed
from plait.data.modalities.sample import sample
from plait.data.modalities.video_clip import Clip, frames, library, listed, opened, picture, spread
from plait.data.modalities.video_container import container_of
from plait.data.modalities.write_video import write_clip
from plait.errors import CellError

EXTENSIONS = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".avi"})
MAX_SIDE = {"fast": 32, "balanced": 48, "best": 96}
"""Pixels along a side at most, by preset; smaller than an image's, since there are many frames."""

FRAMES = {"fast": 8, "balanced": 8, "best": 16}
"""Frames per clip, by preset; 8 and 16 are what pretrained models of videos read."""

MIN_SIDE = 16
"""Pixels along a side at least, as of an image."""

SAMPLED_CLIPS = 50
"""Clips that are opened for size, colour and length; each is opened and a frame of it decoded."""

MAX_RESIZED_PIXELS = 16_000_000
"""Pixels that resizing may make of a smaller frame."""

_BATCH_BYTES = 64 * 2**20
"""Decoded bytes that wait to be put in their place."""


class VideoModality(Modality):
    """Videos to ``uint8 [rows, frames, height, width, channels]``.

    Every clip gives the same number of frames: those on screen in the middle of each of so many equal
    parts of it. One with fewer frames, a single one even, shows some of them twice, as a screen does
    between two frames. So nothing is padded, an index is a batch, and a frame's place says when in the
    clip it was; how long the clip lasts is lost. Sound is left out: put it in a column of its own.

    State: ``frames``; ``size``, the side of the square in pixels; ``channels``, 1 (grey) or 3;
    ``seconds``, how long a clip usually lasts; ``fit``: ``pad``, the whole picture is kept and the rest
    filled with the median colour of its border, or ``crop`` (pretrained models): ``resize`` is the
    shorter side, or ``[height, width]``, or None, by the Pillow filter ``resample``, and ``size`` the
    square cut from the middle.
    """

    name: ClassVar[str] = "video"
    media: ClassVar[bool] = True
    stored: ClassVar[bool] = True
    display: ClassVar[Display] = "frames"
    folder_suffixes: ClassVar[frozenset[str]] = frozenset(
        {".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg"}
    )
    file_suffix: ClassVar[str] = ".mp4"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Paths or bytes whose headers are videos."""

        def check(cell: object) -> None:
            with opened(_read(cell, settings), settings.media.limits):
                pass

        return media_evidence("video", cells, settings, EXTENSIONS, _has_magic, check)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Size from the median longer side, colour from whether any sampled clip has some.

        Raises:
            MissingExtra: there are videos, and PyAV is not installed.
        """
        clips = sample(cells, SAMPLED_CLIPS)
        if clips:
            library()
        survey = partial(_survey, settings=settings)
        seconds = settings.media.limits.decode_seconds
        surveys = decode_all(survey, clips, settings.threads, seconds)
        seen = [entry for entry in surveys if isinstance(entry, _Seen)]
        cap = MAX_SIDE[settings.preset]
        side = float(np.median([entry.longer for entry in seen])) if seen else cap
        grey = bool(seen) and all(entry.grey for entry in seen)
        usual = float(np.median([entry.seconds for entry in seen])) if seen else 1.0
        return {
            "frames": FRAMES[settings.preset],
            "size": int(min(max(round(side / 4) * 4, MIN_SIDE), cap)),
            "channels": 1 if grey else 3,
            "seconds": round(usual, 3),
            "fit": "pad",
        }

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Decode the frames that are needed, turn them upright, shrink, and pad or crop them.

        Raises:
            MissingExtra: there are videos, and PyAV is not installed.
        """
        if any(not is_missing(cell) for cell in cells):
            library()
        limits = settings.media.limits
        shape = (
            int(state["frames"]),
            int(state["size"]),
            int(state["size"]),
            int(state["channels"]),
        )

        def decode(cell: object) -> np.ndarray:
            return load(_read(cell, settings), state, limits)

        values = np.zeros((len(cells), *shape), np.uint8)
        present = np.zeros(len(cells), bool)
        problems: list[Problem] = []
        batch = max(_BATCH_BYTES // int(np.prod(shape)), 4 * settings.threads)
        for begin in range(0, len(cells), batch):
            chunk = cells[begin : begin + batch]
            decoded = decode_all(decode, chunk, settings.threads, limits.decode_seconds)
            for row, entry in enumerate(decoded, begin):
                if isinstance(entry, CellError):
                    problems.append(Problem(row, str(entry)))
                elif entry is not None:
                    values[row] = entry
                    present[row] = True
        return Prepared(values, None, present, problems)

    def describe(self, state: State) -> str:
        """For instance ``8 frames of 48x48 colour, padded to a square``."""
        colour = "grey" if state["channels"] == 1 else "colour"
        how = "padded to a square" if state["fit"] == "pad" else "cut from the middle"
        return f"{state['frames']} frames of {state['size']}x{state['size']} {colour}, {how}"

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """``uint8 [frames, height, width, channels]``, without sound."""
        return list(prepared.values)

    def rate(self, state: State) -> int | None:
        """Frames per second that make a clip last as long as clips of the column usually do."""
        return max(1, round(state["frames"] / max(state.get("seconds", 1.0), 0.1)))

    def write(self, file: Path, cell: np.ndarray, rate: int) -> None:
        """Grey or colour, silent."""
        write_clip(file, cell, rate)


def load(data: bytes, state: State, limits: Limits) -> np.ndarray:
    """One video as ``uint8 [frames, size, size, channels]``.

    Raises:
        CellError: when the bytes are no video, a broken one, or one that is too long or large.
    """
    with opened(data, limits) as clip:
        packets = listed(clip)
        chosen = spread(packets, int(state["frames"]))
        return np.stack(frames(clip, packets, chosen, lambda frame: _framed(clip, frame, state)))


def _framed(clip: Clip, frame: Any, state: State) -> np.ndarray:
    image, size = Image.fromarray(picture(clip, frame)), int(state["size"])
    if state["fit"] == "pad":
        return boxed(image, size, int(state["channels"]))
    return cropped(image, state["resize"], int(state["resample"]), size)


def cropped(
    image: Image.Image, resize: int | list[int] | None, resample: int, size: int
) -> np.ndarray:
    """A picture resized and cut, as checkpoints ask for it: ``uint8 [size, size, 3]``.

    Args:
        resize: the shorter side, whole pixels of the longer one rounded down; or ``[height, width]``;
            None leaves the picture as it is.
        resample: a Pillow filter.
        size: the square cut from the middle; what a smaller picture leaves of it is black.

    Raises:
        CellError: a long and thin picture would become very large.
    """
    width, height = image.size
    if isinstance(resize, int):
        longer = int(resize * max(width, height) / min(width, height))
        target = (resize, longer) if width <= height else (longer, resize)
    else:
        target = image.size if resize is None else (resize[1], resize[0])
    if target[0] * target[1] > max(width * height, MAX_RESIZED_PIXELS):
        raise CellError(f"is {width} x {height} pixels, too thin to be resized to {resize}")
    if target != image.size:
        image = image.resize(target, Image.Resampling(resample))
    pixels = np.asarray(image)
    high, wide = pixels.shape[:2]
    padded = np.zeros((max(high, size), max(wide, size), 3), np.uint8)
    top, left = -((high - padded.shape[0]) // 2), -((wide - padded.shape[1]) // 2)
    padded[top : top + high, left : left + wide] = pixels
    top, left = (padded.shape[0] - size) // 2, (padded.shape[1] - size) // 2
    return padded[top : top + size, left : left + size]


class _Seen(NamedTuple):
    """What `fit` wants to know of a clip."""

    longer: int
    grey: bool
    seconds: float


def _survey(cell: object, settings: Settings) -> _Seen:
    with opened(_read(cell, settings), settings.media.limits) as clip:
        packets = listed(clip)
        seconds = float(
            (packets.end - int(packets.times[packets.shown].min())) * clip.stream.time_base
        )
        (middle,) = frames(clip, packets, spread(packets, 1), lambda frame: picture(clip, frame))
        small = boxed(Image.fromarray(middle), 32, 3).astype(np.int16)
        grey = int((small.max(axis=2) - small.min(axis=2)).max()) <= GREY_SPREAD
        return _Seen(max(middle.shape[:2]), grey, seconds)


def _read(cell: object, settings: Settings) -> bytes:
    return settings.media.read(cell, settings.media.limits.video_bytes, "max_video_mb")


def _has_magic(data: bytes) -> bool:
    return container_of(data) is not None
