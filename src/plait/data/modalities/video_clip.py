"""One video from memory: opened within the caps, its packets listed, the frames asked for decoded.

All bytes come from the cell. PyAV is imported when the first video is opened. FFmpeg is told which of
its containers to use, so nothing is probed; one of a few decoders runs, and only once the header has
been checked; no other file or address is opened, whatever the bytes ask for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import EINVAL
from io import BytesIO
from math import ceil
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from plait.data.media import Limits
from plait.data.modalities.video_container import check_container
from plait.errors import CellError, MissingExtra

T = TypeVar("T")

DECODERS = (
    *("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mpeg1video", "mpeg2video"),
    *("h263", "msmpeg4v2", "msmpeg4", "mjpeg", "prores", "dnxhd", "ffv1", "rawvideo"),
)
"""FFmpeg's names of the decoders that may run."""

MAX_EARLIER_SECONDS = 0.5
"""Seconds by which a frame may be earlier than asked, where a packet turns out to show nothing."""

_PASSING = frozenset({"h264", "hevc"})
"""Decoders that can be told frame by frame what nobody asked for."""

_WHOLE = frozenset({"mjpeg", "ffv1", "rawvideo", "dnxhd", "prores", "vp8"})
"""Codecs whose frames are sent in the order they are shown."""


def library() -> Any:
    """PyAV.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtra("Reading videos", "video", "av") from None
    return av


@dataclass(frozen=True)
class Clip:
    """An open video.

    Attributes:
        container, stream: PyAV's; the stream is the first that is a film and no cover picture.
        limits: the caps.
        deadline: when decoding must have ended, on the monotonic clock.
    """

    container: Any
    stream: Any
    limits: Limits
    deadline: float

    def hurry(self) -> None:
        """Give up when decoding has taken too long."""
        if monotonic() > self.deadline:
            limit = self.limits.decode_seconds
            raise CellError(f"took longer than {limit:g} s to decode (max_decode_seconds)")


@dataclass(frozen=True)
class Packets:
    """A film's packets in the order they are decoded, and when each one's frame is shown.

    Attributes:
        packets: PyAV's, with the bytes.
        times: when each one's frame is shown, in ticks of the stream.
        keys: which packets decoding can begin at; the first counts as one.
        shown: which frames are meant to be seen; an edit list hides others.
        end: when the last frame leaves the screen.
        counted: the times tell how many frames there are and not which is which, as in an AVI whose
            frames are sent in another order than shown; then all are decoded and counted.
    """

    packets: list[Any] = field(repr=False)
    times: np.ndarray
    keys: np.ndarray
    shown: np.ndarray
    end: int
    counted: bool = False


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[Clip]:
    """Open a video, check what its header claims, and close it in the end.

    Raises:
        CellError: the bytes are no video, a damaged one, or one that is too long or large.
    """
    av = library()
    deadline = monotonic() + limits.decode_seconds
    try:
        container = av.open(
            BytesIO(data),
            format=check_container(data),
            # No decoder may run before the header has been compared with the caps.
            options={"codec_whitelist": "none", "threads": "1"},
            io_open=_refuse,
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise CellError(_damaged(error)) from None
    with container:
        clip = Clip(container, _film(container), limits, deadline)
        _check(clip)
        yield clip


def _refuse(url: str, flags: int, options: Any) -> Any:
    """What FFmpeg calls when a container asks for another file."""
    raise CellError("asks for another file, which plait does not open")


def _film(container: Any) -> Any:
    """The first stream of moving pictures."""
    films = [film for film in container.streams.video if not film.disposition & _ATTACHED_PICTURE]
    if not films:
        what = "only sound, no video" if container.streams.audio else "no frames"
        raise CellError(f"holds {what}")
    return films[0]


_DISCARD_ALL = 48
"""FFmpeg's AVDISCARD_ALL."""

_ATTACHED_PICTURE = 1024
"""FFmpeg's AV_DISPOSITION_ATTACHED_PIC."""


def _check(clip: Clip) -> None:
    context = clip.stream.codec_context
    if context is None or context.codec.name not in DECODERS:
        name = "a way that FFmpeg does not know" if context is None else context.codec.name
        raise CellError(f"is coded in {name}, which plait does not open")
    check_pixels(context.width, context.height, clip.limits)
    ticks, base = clip.stream.duration, clip.stream.time_base
    length = clip.container.duration
    seconds = float(ticks * base) if ticks and base else (length or 0) / 1e6
    _check_seconds(seconds, clip.limits)
    # One thread a video: several videos are decoded at once.
    context.thread_count = 1
    context.thread_type = "NONE"
    context.options = {"max_pixels": str(clip.limits.video_pixels)}


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raise CellError when a frame has more pixels than the cap."""
    if width * height > limits.video_pixels:
        raise CellError(
            f"claims {width * height / 1e6:.4g} megapixels per frame ({width} x {height}), more than "
            f"the cap of {limits.video_pixels / 1e6:g} (max_video_megapixels)"
        )


def _check_seconds(seconds: float, limits: Limits) -> None:
    if seconds > limits.video_seconds:
        raise CellError(
            f"lasts {seconds:.4g} s, more than the cap of {limits.video_seconds:g} s (max_video_seconds)"
        )


def _damaged(error: Exception) -> str:
    words = str(getattr(error, "strerror", "") or type(error).__name__).strip(" .").lower()
    return f"is a damaged video ({words})"


def listed(clip: Clip) -> Packets:
    """Read all packets of the film, decoding none. They hold as many bytes as the film has in its file.

    Raises:
        CellError: there are none, they cannot be read, or they run longer than the cap.
    """
    for stream in clip.container.streams:
        if stream.index != clip.stream.index:
            stream.discard = _DISCARD_ALL
    packets, times = [], []
    try:
        for packet in clip.container.demux(clip.stream):
            clip.hurry()
            when = packet.dts if packet.pts is None else packet.pts
            if when is not None and packet.size:
                packets.append(packet)
                times.append(when)
    except library().FFmpegError as error:
        raise CellError(_damaged(error)) from None
    shown = np.array([not packet.is_discard for packet in packets], bool)
    if not shown.any():
        raise CellError("holds no frames")
    if any(packet.is_corrupt for packet in packets):
        raise CellError("is a damaged video (some of its packets are cut off)")
    keys = np.array([packet.is_keyframe for packet in packets], bool)
    keys[0] = True
    seen = np.sort(np.array(times, np.int64)[shown])
    usual = float(np.median(np.diff(seen))) if len(seen) > 1 else 0.0
    last = max(packet.duration or 0 for packet in packets if packet.pts in (None, int(seen[-1])))
    end = int(seen[-1]) + max(last or ceil(usual), 1)
    _check_seconds(float((end - int(seen[0])) * clip.stream.time_base), clip.limits)
    name = clip.stream.codec_context.codec.name
    counted = clip.container.format.name == "avi" and name not in _WHOLE
    return Packets(packets, np.array(times, np.int64), keys, shown, end, counted)


def spread(packets: Packets, count: int) -> list[int]:
    """The frames on screen in the middle of each of ``count`` equal parts of the film, as packets.

    ``t_k = t_0 + (k + 1/2) (t_end - t_0) / count`` (the middle snippets of Wang et al. 2016, "Temporal
    segment networks"), by time and not by number, so films of any and of varying rate are spread alike.
    A film of fewer frames shows some of them twice, as a screen does.
    """
    order = np.flatnonzero(packets.shown)
    order = order[np.argsort(packets.times[order], kind="stable")]
    times = packets.times[order]
    begin = int(times[0])
    wanted = begin + (np.arange(count) + 0.5) / count * (packets.end - begin)
    chosen: list[int] = order[np.searchsorted(times, wanted, side="right") - 1].tolist()
    return chosen


def runs(packets: Packets, chosen: Sequence[int]) -> list[tuple[int, int]]:
    """The stretches of packets, first and last, that have to be decoded for some frames.

    A stretch begins at a key frame and ends with the last frame that is asked of it: nothing between
    is skipped, nothing else is decoded. A frame that is sent after a key frame and shown before it may
    also lean on the stretch before.
    """
    if packets.counted:
        return [(0, len(packets.packets) - 1)]
    starts = np.flatnonzero(packets.keys)
    needed: list[tuple[int, int]] = []
    for index in sorted(set(chosen)):
        group = int(np.searchsorted(starts, index, side="right")) - 1
        if packets.times[index] < packets.times[starts[group]]:
            group = max(group - 1, 0)
        start = int(starts[group])
        if needed and start <= needed[-1][1]:
            needed[-1] = (needed[-1][0], index)
        else:
            needed.append((start, index))
    return needed


def frames(
    clip: Clip, packets: Packets, chosen: Sequence[int], look: Callable[[Any], T]
) -> list[T]:
    """Decode some frames of a film.

    Args:
        chosen: packets whose frames are asked for, in order; one may be asked for twice.
        look: what to make of a frame, while its pixels are at hand.

    Raises:
        CellError: a frame cannot be decoded, is damaged or too large, or the time is up.
    """
    wanted = {int(packets.times[index]) for index in chosen}
    looked: dict[int, T] = {}
    for first, last in runs(packets, chosen):
        here = sorted(wanted & set(packets.times[first : last + 1].tolist()))
        before: tuple[int, Any] | None = None
        for when, frame in _decoded(clip, packets, first, last, wanted):
            while here and here[0] < when:
                looked[here[0]] = _earlier(clip, before, here[0], look)
                here.pop(0)
            if here and when == here[0]:
                looked[here.pop(0)] = look(frame)
            before = when, frame
        for when in here:
            looked[when] = _earlier(clip, before, when, look)
    return [looked[int(packets.times[index])] for index in chosen]


def _earlier(clip: Clip, before: tuple[int, Any] | None, when: int, look: Callable[[Any], T]) -> T:
    """The frame that stays on screen where a packet shows none of its own."""
    base = clip.stream.time_base
    if before is None or float((when - before[0]) * base) > MAX_EARLIER_SECONDS:
        raise CellError(
            f"is a damaged video (no frame can be decoded at {float(when * base):.3g} s)"
        )
    return look(before[1])


def _decoded(
    clip: Clip, packets: Packets, first: int, last: int, wanted: set[int]
) -> Iterator[tuple[int, Any]]:
    """The frames of some packets in the order they are shown, and when."""
    context, error_kind = clip.stream.codec_context, library().FFmpegError
    pass_over = context.codec.name in _PASSING and not packets.counted
    numbered = iter(np.sort(packets.times).tolist() if packets.counted else ())
    try:
        for index in [*range(first, last + 1), -1]:
            clip.hurry()
            if pass_over:  # no other frame leans on these
                asked = int(packets.times[index]) in wanted
                context.skip_frame = "DEFAULT" if asked else "NONREF"
            for frame in context.decode(None if index < 0 else packets.packets[index]):
                if frame.is_corrupt:
                    raise CellError("is a damaged video (a frame is incomplete)")
                check_pixels(frame.width, frame.height, clip.limits)
                when = frame.dts if frame.pts is None else frame.pts
                when = next(numbered, None) if packets.counted else when
                if when is not None:
                    yield when, frame
        context.flush_buffers()
    except error_kind as error:
        if error.errno == EINVAL:  # what a decoder says to max_pixels, where the header is silent
            cap = clip.limits.video_pixels / 1e6
            raise CellError(
                f"is damaged, or a frame has more than the cap of {cap:g} megapixels "
                "(max_video_megapixels)"
            ) from None
        raise CellError(_damaged(error)) from None


def picture(clip: Clip, frame: Any) -> np.ndarray:
    """A frame as people see it: ``uint8 [height, width, 3]``, square pixels, upright."""
    ratio = float(clip.stream.sample_aspect_ratio or 1)
    width = max(round(frame.width * ratio), 1) if 0.1 < ratio < 10 else frame.width
    check_pixels(width, frame.height, clip.limits)
    pixels: np.ndarray = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    return np.rot90(pixels, round(frame.rotation / 90))
