"""Frames to a video file that people can play."""

from pathlib import Path

import numpy as np

from plait.data.modalities.video_clip import library


def write_clip(file: Path, frames: np.ndarray, rate: int) -> None:
    """Write an MP4 in MPEG-4 part 2, which every FFmpeg can write and every player reads.

    Args:
        frames: ``uint8 [frames, height, width, channels]``, grey or colour, with even sides.
        rate: frames a second.

    Raises:
        MissingExtra: PyAV is not installed.
        OSError: the file cannot be written.
    """
    av = library()
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate, options={"qmin": "2", "qmax": "2"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            colours = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colours, format="rgb24")))
        container.mux(stream.encode())
