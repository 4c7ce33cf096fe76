"""Tiny videos, made when a test runs."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np

PIXELS = {"mjpeg": "yuvj420p", "ffv1": "bgr0", "rawvideo": "bgr24"}
MUXERS = {"mkv": "matroska"}


def square(
    frames: int = 12,
    *,
    size: tuple[int, int] = (32, 32),
    start: int = 0,
    step: int = 2,
    top: int = 8,
) -> np.ndarray:
    """A bright square that moves ``step`` pixels a frame: ``uint8 [frames, height, width, 3]``."""
    height, width = size
    clip = np.full((frames, height, width, 3), (40, 30, 60), np.uint8)
    for number in range(frames):
        across = (start + step * number + np.arange(8)) % width
        clip[number, top : top + 8, across] = (240, 200, 90)
    return clip


def shades(frames: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Plain frames, each grey and 10 levels brighter than the one before, so that each is known."""
    levels = (10 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, *size, 3)).copy()


def encode(
    clip: np.ndarray,
    ending: str = "mp4",
    codec: str = "mpeg4",
    *,
    rate: int = 8,
    pixels: str | None = None,
    gop: int = 5,
    between: int | None = None,
    turn: int = 0,
    shape: tuple[int, int] | None = None,
    ticks: list[int] | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """Frames as a video file.

    Args:
        gop: frames from one key frame to the next.
        between: frames that lean on a later one (B-frames).
        turn: degrees that a player turns the picture by, counter-clockwise.
        shape: width and height of a pixel.
        ticks: when each frame is shown, in parts of ``rate`` a second.
        sound: add a stream of silence.
    """
    import av

    file = BytesIO()
    with av.open(file, "w", format=MUXERS.get(ending, ending)) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = pixels or PIXELS.get(codec, "yuv420p")
        stream.codec_context.gop_size = gop
        if between is not None:
            stream.codec_context.max_b_frames = between
        if turn:
            stream.set_display_rotation(turn)
        if shape:
            stream.codec_context.sample_aspect_ratio = Fraction(*shape)
        if sound:
            _silence(container)
        container.start_encoding()
        for number, picture in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = ticks[number] if ticks else number
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def only_sound(ending: str = "mp4") -> bytes:
    """A file of a video's kind without pictures."""
    import av

    file = BytesIO()
    with av.open(file, "w", format=MUXERS.get(ending, ending)) as container:
        _silence(container)
    return file.getvalue()


def _silence(container: Any) -> None:
    import av

    track = container.add_stream("aac", rate=8000)
    for number in range(4):
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        quiet.sample_rate, quiet.pts = 8000, 1024 * number
        container.mux(track.encode(quiet))
    container.mux(track.encode())
