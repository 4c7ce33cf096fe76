"""Videos of every container, their frames compared with PyAV's own, and hostile ones."""

import builtins
import struct
import sys
import tracemalloc
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from clips import encode, only_sound, shades, square
from fuzz import examples
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from PIL import Image

from plait.data.media import Limits
from plait.data.modalities import video_clip as clips
from plait.data.modalities.base import Settings
from plait.data.modalities.image import boxed
from plait.data.modalities.registry import MODALITIES
from plait.data.modalities.video import VideoModality, cropped, load
from plait.data.modalities.video_clip import frames, listed, opened, picture, runs, spread
from plait.data.modalities.video_container import check_container, container_of
from plait.errors import CellError, MissingExtra

VIDEO = VideoModality()
LIMITS = Limits()
KNOWN = "is not a video of a known kind (MP4, MOV, WebM, MKV, AVI)"
KINDS = [
    ("mp4", "mpeg4", {}),
    ("mp4", "libx264", {"between": 2}),
    ("mp4", "libx265", {"between": 2, "options": {"x265-params": "log-level=none"}}),
    ("mov", "mpeg4", {"between": 2}),
    ("mov", "prores", {"pixels": "yuv422p10le"}),
    ("webm", "libvpx", {"options": {"auto-alt-ref": "1", "lag-in-frames": "10"}}),
    ("webm", "libvpx-vp9", {}),
    ("mkv", "ffv1", {}),
    ("mkv", "libx264", {"between": 3}),
    ("avi", "mjpeg", {}),
    ("avi", "mpeg4", {"between": 2}),
    ("avi", "libx264", {"between": 2}),
    ("avi", "rawvideo", {}),
]


def every_frame(data: bytes) -> list[np.ndarray]:
    """All frames in order, by PyAV's own loop."""
    with av.open(BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def some_frames(data: bytes, count: int, limits: Limits = LIMITS) -> list[np.ndarray]:
    with opened(data, limits) as film:
        found = listed(film)
        return frames(film, found, spread(found, count), lambda frame: picture(film, frame))


def state(**changes: Any) -> dict[str, Any]:
    return {"frames": 8, "size": 32, "channels": 3, "seconds": 1.0, "fit": "pad"} | changes


def refused(data: bytes, **caps: float) -> str:
    """Why a video is refused."""
    with pytest.raises(CellError) as caught:
        some_frames(data, 4, Limits(**caps))
    return str(caught.value)


# Which frames, and what becomes of them.


@pytest.mark.parametrize(
    ("ending", "codec", "options"), KINDS, ids=lambda v: v if isinstance(v, str) else ""
)
@pytest.mark.parametrize("gop", [1, 6, 40])
def test_the_frames_are_those_in_the_middle_of_equal_parts(
    ending: str, codec: str, options: dict[str, Any], gop: int
) -> None:
    data = encode(square(40), ending, codec, gop=gop, **options)
    whole = every_frame(data)
    assert len(whole) == 40
    for count in (1, 5, 8):
        wanted = [int((part + 0.5) * 40 / count) for part in range(count)]
        for found, number in zip(some_frames(data, count), wanted, strict=True):
            np.testing.assert_array_equal(found, whole[number])


def test_pixels_of_a_lossless_video_arrive_as_they_are() -> None:
    clip = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
    found = load(encode(clip, "mkv", "ffv1"), state(), LIMITS)
    np.testing.assert_array_equal(found, clip)


def test_a_short_clip_shows_frames_twice() -> None:
    data = encode(shades(3), "mkv", "ffv1")
    levels = [int(found[0, 0, 0]) for found in some_frames(data, 8)]
    assert levels == [0, 0, 0, 10, 10, 20, 20, 20]
    alone = some_frames(encode(shades(1), "mkv", "ffv1"), 4)
    assert len(alone) == 4 and all((found == alone[0]).all() for found in alone)


def test_frames_are_spread_by_time_not_by_number() -> None:
    """Ten frames in the first tenth, then two that stay on screen."""
    ticks = [*range(10), 40, 70]
    data = encode(shades(12), "mkv", "ffv1", ticks=ticks, rate=10)
    levels = [int(found[0, 0, 0]) // 10 for found in some_frames(data, 7)]
    assert levels == [5, 9, 9, 9, 10, 10, 10]


def test_only_what_leads_to_a_frame_is_decoded() -> None:
    with opened(encode(square(60), "mp4", "libx264", gop=10, between=0), LIMITS) as film:
        found = listed(film)
        assert len(found.packets) == 60 and found.keys.sum() == 6
        assert runs(found, [25, 3, 25, 27]) == [(0, 3), (20, 27)]
        seen = frames(film, found, [25, 3, 25], lambda frame: int(frame.pts))
        assert seen == [found.times[25], found.times[3], found.times[25]]


def test_a_frame_shown_before_its_key_frame_needs_the_stretch_before() -> None:
    packets = [None] * 6
    times, keys = (
        np.array([0, 10, 20, 40, 30, 50]),
        np.array([True, False, False, True, False, False]),
    )
    found = clips.Packets(packets, times, keys, np.ones(6, bool), 60)
    assert runs(found, [4]) == [(0, 4)]
    assert runs(found, [3]) == [(3, 3)]
    assert runs(found, [1, 4]) == [(0, 4)]
    first = clips.Packets(packets, times[::-1].copy(), keys, np.ones(6, bool), 60)
    assert runs(first, [1]) == [(0, 1)]


def test_a_packet_that_shows_nothing_leaves_the_frame_before_on_screen() -> None:
    with opened(encode(shades(12), "mkv", "ffv1", gop=12), LIMITS) as film:
        found = listed(film)
        times = found.times.copy()
        times[5] += 60  # in milliseconds; no frame says it is shown then
        late = clips.Packets(found.packets, times, found.keys, found.shown, found.end)
        (level,) = frames(
            film, late, [5], lambda frame: int(frame.to_ndarray(format="rgb24").max())
        )
        assert level == 50
        seen = frames(film, late, [5, 9], lambda frame: int(frame.to_ndarray(format="rgb24").max()))
        assert seen == [50, 90]
        times[5] += 10_000
        with pytest.raises(
            CellError, match=r"is a damaged video \(no frame can be decoded at 10\.7 s\)"
        ):
            frames(film, late, [5], lambda frame: frame)


def test_frames_without_a_time_are_passed_over() -> None:
    with opened(encode(shades(4), "mkv", "ffv1"), LIMITS) as film:
        found = listed(film)
        decoder = film.stream.codec_context

        class Timeless:
            """The decoder, whose second frame has lost its time."""

            codec, flush_buffers = decoder.codec, decoder.flush_buffers

            def decode(self, packet: object) -> list[Any]:
                made = decoder.decode(packet)
                for frame in made:
                    if frame.pts == int(found.times[1]):
                        frame.pts = frame.dts = None
                return list(made)

        stream = SimpleNamespace(codec_context=Timeless(), time_base=film.stream.time_base)
        lost = replace(film, stream=stream)
        levels = frames(
            lost, found, [0, 1, 2], lambda frame: int(frame.to_ndarray(format="rgb24").max())
        )
        assert levels == [0, 0, 20]


def faulty(film: clips.Clip, **changes: Any) -> clips.Clip:
    """The clip, with parts of PyAV that answer as told."""
    codec = SimpleNamespace(name="ffv1")
    decoder = SimpleNamespace(codec=codec, decode=changes.get("decode"), flush_buffers=lambda: None)
    stream = SimpleNamespace(codec_context=decoder, time_base=film.stream.time_base, index=0)
    return replace(film, stream=stream, container=changes.get("container", film.container))


def test_what_ffmpeg_complains_of_is_a_reason() -> None:
    def broken(*_: object) -> Any:
        raise av.InvalidDataError(1, "Invalid data found when processing input")

    incomplete = SimpleNamespace(is_corrupt=True)
    with opened(encode(shades(4), "mkv", "ffv1"), LIMITS) as film:
        found = listed(film)
        for decode, told in (
            (broken, "is a damaged video (invalid data found when processing input)"),
            (lambda _: [incomplete], "is a damaged video (a frame is incomplete)"),
        ):
            with pytest.raises(CellError) as caught:
                frames(faulty(film, decode=decode), found, [0], lambda frame: frame)
            assert str(caught.value) == told
        packet = SimpleNamespace(
            pts=0, dts=0, size=4, is_discard=False, is_corrupt=True, is_keyframe=True
        )
        for demux, told in (
            (broken, "is a damaged video (invalid data found when processing input)"),
            (lambda _: [packet], "is a damaged video (some of its packets are cut off)"),
        ):
            container = SimpleNamespace(streams=[], demux=demux)
            with pytest.raises(CellError) as caught:
                listed(faulty(film, container=container))
            assert str(caught.value) == told


def test_pictures_are_turned_upright() -> None:
    clip = np.zeros((4, 24, 32, 3), np.uint8)
    clip[:, :12, :16] = 255  # top left
    for turn, corner in ((0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))):
        found = some_frames(encode(clip, "mp4", turn=turn), 1)[0]
        assert found.shape == ((24, 32, 3) if turn in (0, 180) else (32, 24, 3))
        height, width = found.shape[0] // 2, found.shape[1] // 2
        quarters = found[:, :, 0].reshape(2, height, 2, width).mean(axis=(1, 3))
        assert np.unravel_index(int(quarters.argmax()), (2, 2)) == corner


def test_wide_pixels_are_made_square() -> None:
    data = encode(square(4), "mkv", "mpeg4", shape=(2, 1))
    assert some_frames(data, 1)[0].shape == (32, 64, 3)


def test_clips_are_padded_like_images() -> None:
    clip = square(8, size=(24, 48))
    found = load(encode(clip, "mkv", "ffv1"), state(size=32), LIMITS)
    for number in range(8):
        np.testing.assert_array_equal(found[number], boxed(Image.fromarray(clip[number]), 32, 3))
    grey = load(encode(clip, "mkv", "ffv1"), state(size=16, channels=1), LIMITS)
    assert grey.shape == (8, 16, 16, 1)


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        (16, 16, (16, 16, 3)),
        ([20, 30], 18, (18, 18, 3)),
        (None, 20, (20, 20, 3)),
        (8, 20, (20, 20, 3)),
    ],
)
def test_crops_have_the_size_asked_for(resize: Any, size: int, expected: tuple[int, ...]) -> None:
    for shape in ((24, 40), (40, 24)):
        image = Image.fromarray(square(1, size=shape)[0])
        assert cropped(image, resize, 2, size).shape == expected


def test_a_crop_is_the_middle_and_black_where_nothing_is() -> None:
    image = Image.fromarray(np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3))
    found = cropped(image, None, 2, 6)
    assert (found[0] == 0).all()
    np.testing.assert_array_equal(found[1:], np.asarray(image)[:, 1:7])


def test_a_thin_frame_is_not_made_huge() -> None:
    with pytest.raises(CellError) as caught:
        cropped(Image.new("RGB", (4000, 2)), 224, 2, 224)
    assert str(caught.value) == "is 4000 x 2 pixels, too thin to be resized to 224"


# What is fitted.


@pytest.mark.parametrize(
    ("preset", "side", "size", "count"),
    [
        ("fast", 24, 24, 8),
        ("fast", 64, 32, 8),
        ("balanced", 64, 48, 8),
        ("best", 120, 96, 16),
        ("best", 8, 16, 16),
    ],
)
def test_size_and_frames_follow_the_clips_and_the_preset(
    settings: Settings, preset: str, side: int, size: int, count: int
) -> None:
    data = encode(square(10, size=(side, side), top=0), "mkv", "ffv1", rate=5)
    fitted = VIDEO.fit([data, None, b"junk"], Settings(settings.media, preset))
    assert fitted == {"frames": count, "size": size, "channels": 3, "seconds": 2.0, "fit": "pad"}
    assert VIDEO.describe(fitted) == f"{count} frames of {size}x{size} colour, padded to a square"


def test_grey_clips_are_found(settings: Settings) -> None:
    grey = encode(shades(4), "mkv", "ffv1", pixels="gray")
    looks_grey = encode(shades(4), "mp4")
    fitted = VIDEO.fit([grey, looks_grey], settings)
    assert fitted["channels"] == 1
    assert VIDEO.describe(fitted) == "8 frames of 32x32 grey, padded to a square"
    assert VIDEO.fit([grey, encode(square(4), "mp4")], settings)["channels"] == 3
    assert VIDEO.describe(fitted | {"fit": "crop"}).endswith("32x32 grey, cut from the middle")


def test_a_pretrained_state_crops(settings: Settings) -> None:
    crop = state(fit="crop", resize=24, resample=2, size=16)
    clip = square(8, size=(32, 48))
    prepared = VIDEO.prepare([encode(clip, "mkv", "ffv1"), None], crop, settings)
    assert prepared.values.shape == (2, 8, 16, 16, 3)
    image = Image.fromarray(clip[2]).resize((36, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(prepared.values[0, 2], np.asarray(image)[4:20, 10:26])


def test_rows_are_prepared_in_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.data.modalities.video._BATCH_BYTES", 1)
    cells = [encode(shades(4) + np.uint8(30 * n), "mkv", "ffv1") for n in range(5)] * 4
    cells[9] = b"junk"
    prepared = VIDEO.prepare(cells, state(), settings)
    assert [int(row[0, 0, 0, 0]) for row in prepared.values] == [
        0 if n == 9 else 30 * (n % 5) for n in range(20)
    ]
    assert [problem.row for problem in prepared.problems] == [9]


# What a column of clips looks like.


def test_it_is_recognised(settings: Settings, tmp_path: Path) -> None:
    for number, ending in enumerate(("mp4", "webm", "mkv")):
        codec = "libvpx" if ending == "webm" else "mpeg4"
        (tmp_path / f"{number}.{ending}").write_bytes(encode(square(4), ending, codec))
        (tmp_path / f"{number}").write_bytes(encode(square(4), ending, codec))
    found = VIDEO.matches("film", ["0.mp4", "1.webm", "2.mkv"], settings)
    assert found is not None and found.strength > 0.9
    assert found.reason == (
        "all 3 sampled cells end in .mkv/.mp4/.webm, and 3 of 3 opened are video files"
    )
    bare = VIDEO.matches("film", ["0", "1", "2"], settings)
    assert bare is not None
    assert bare.reason == "the 3 files opened are video files, whatever they are called"
    held = VIDEO.matches("film", [(tmp_path / "0").read_bytes()], settings)
    assert held is not None and "bytes that begin like video files" in held.reason


def test_nothing_else_is_taken_for_a_video(settings: Settings) -> None:
    photo, sound = BytesIO(), only_sound("mp4")
    Image.new("RGB", (8, 8)).save(photo, "AVIF")
    assert container_of(photo.getvalue()) is None
    assert VIDEO.matches("photo", [photo.getvalue()], settings) is None
    assert MODALITIES["image"].matches("film", [encode(square(2))], settings) is None
    assert container_of(sound) == "mov"
    assert container_of(b"RIFF\0\0\0\0WAVEfmt ") is None
    assert container_of(b"\0\0\0\x20ftypM4A \0\0\0\0") is None


# Without PyAV.


@pytest.fixture
def no_av(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def hidden(name: str, *args: Any, **named: Any) -> Any:
        if name == "av" or name.startswith("av."):
            raise ImportError(name)
        return whole(name, *args, **named)

    monkeypatch.delitem(sys.modules, "av")
    monkeypatch.setattr(builtins, "__import__", hidden)


@pytest.mark.usefixtures("no_av")
def test_without_the_extra_it_says_what_to_install(settings: Settings) -> None:
    for call in (
        lambda: VIDEO.fit([b"x"], settings),
        lambda: VIDEO.prepare(["a.mp4"], state(), settings),
    ):
        with pytest.raises(MissingExtra) as caught:
            call()
        assert str(caught.value) == (
            "Reading videos needs the package av, which is not installed.\n"
            'Install it with:  pip install "plait[video]"'
        )
    assert not VIDEO.prepare([None], state(), settings).present.any()
    assert VIDEO.fit([None], settings)["frames"] == 8


@pytest.mark.usefixtures("no_av")
def test_without_the_extra_a_column_is_still_recognised(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    found = VIDEO.matches("film", ["a.mp4"], settings)
    assert found is not None and found.strength == 0.75
    assert "Reading videos needs the package av" in found.reason


# Hostile and broken.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!doctype html><p>no", "is HTML or XML, not a video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is a playlist of other files, which plait does not follow, not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is a playlist of other files, which plait does not follow, not a video"),
        (b"file 'a.mp4'\n", KNOWN),
        (b"just a text", KNOWN),
        (b"GIF89a" + b"\0" * 40, KNOWN),
        (b"\0\0\0\x10ftypisom\0\0\0\0", "is truncated or damaged: its index (the moov box) is not there"),
        (b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov", "holds no frames"),
        (b"\x1a\x45\xdf\xa3", "is a damaged video"),
        (b"RIFF\x04\0\0\0AVI ", "is a damaged video"),
    ],
)  # fmt: skip
def test_what_is_no_video_is_named(data: bytes, reason: str) -> None:
    assert refused(data).startswith(reason)


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "mpeg4"), ("mov", "mjpeg"), ("mkv", "ffv1"), ("webm", "libvpx"), ("avi", "mjpeg")]
)  # fmt: skip
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_truncated_file_is_no_shorter_film(ending: str, codec: str, share: float) -> None:
    data = encode(square(30), ending, codec)
    cut = data[: int(len(data) * share)]
    assert refused(cut).startswith(("is truncated", "is a damaged video", KNOWN))


def test_a_truncated_file_with_its_index_first() -> None:
    data = encode(square(30), "mp4", options={"movflags": "faststart"})
    assert refused(data[:-500]) == (
        "is truncated: 500 of the bytes its header claims are not there"
    )


def test_a_streamed_file_need_not_know_its_length() -> None:
    data = bytearray(encode(square(20), "mkv", "ffv1"))
    at = data.index(b"\x18\x53\x80\x67")
    data[at + 4 : at + 12] = b"\x01" + b"\xff" * 7
    assert len(some_frames(bytes(data), 4)) == 4


def test_sound_alone_is_no_video() -> None:
    assert refused(only_sound("mp4")) == "holds only sound, no video"
    assert refused(only_sound("mkv")) == "holds only sound, no video"


def test_sound_beside_the_pictures_is_left_out() -> None:
    data = encode(shades(16), "mkv", "ffv1", sound=True)
    assert [int(found[0, 0, 0]) for found in some_frames(data, 4)] == [20, 60, 100, 140]


@pytest.mark.parametrize("ending", ["mp4", "avi"])
def test_a_film_without_frames(ending: str) -> None:
    assert refused(encode(square(4)[:0], ending, "mpeg4")) == "holds no frames"


def test_caps_hold_before_anything_is_decoded() -> None:
    data = encode(square(20, size=(64, 48)), "mp4", rate=10)
    assert refused(
        data, video_pixels=3000
    ) == (  # an MP4 leaves it to MPEG-4 to say how large it is
        "is damaged, or a frame has more than the cap of 0.003 megapixels (max_video_megapixels)"
    )
    assert refused(encode(square(4, size=(64, 48)), "mkv", "ffv1"), video_pixels=3000) == (
        "claims 0.003072 megapixels per frame (48 x 64), more than the cap of 0.003 (max_video_megapixels)"
    )
    assert refused(data, video_seconds=1.5) == (
        "lasts 2 s, more than the cap of 1.5 s (max_video_seconds)"
    )
    assert refused(data, decode_seconds=0) == "took longer than 0 s to decode (max_decode_seconds)"


def test_a_large_file_is_not_read(limited, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x" * 200_001)
    prepared = VIDEO.prepare(["a.mp4"], state(), limited(video_bytes=200_000))
    assert prepared.problems[0].reason == (
        "'a.mp4': is 0.2 MB large, more than the cap of 0.2 MB (max_video_mb)"
    )


def test_seconds_are_counted_where_the_header_is_silent() -> None:
    data = bytearray(encode(shades(20), "mkv", "ffv1", rate=10))
    at = data.index(b"\x44\x89\x88")  # Duration, a float of eight bytes
    data[at + 3 : at + 11] = struct.pack(">d", 1.0)
    assert refused(bytes(data), video_seconds=1.5) == (
        "lasts 2 s, more than the cap of 1.5 s (max_video_seconds)"
    )


def test_a_header_that_claims_a_huge_frame_allocates_nothing() -> None:
    data = bytearray(encode(square(4), "mkv", "ffv1"))
    for tag in (b"\xb0\x81\x20", b"\xba\x81\x20"):  # PixelWidth, PixelHeight: 32
        at = data.index(tag)
        data[at + 2] = 0x7F
    tracemalloc.start()
    assert "max_video_megapixels" in refused(bytes(data), video_pixels=10_000)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_frame_larger_than_its_header_says() -> None:
    """The file says 32 x 32, the stream inside has frames of 96 x 96."""
    data = bytearray(encode(square(4, size=(96, 96)), "avi", "mjpeg"))
    for at in (data.index(b"avih") + 8 + 32, data.index(b"strf") + 8 + 4):
        data[at : at + 8] = struct.pack("<II", 32, 32)
    assert "is a damaged video" in refused(bytes(data), video_pixels=3000) or (
        "max_video_megapixels" in refused(bytes(data), video_pixels=3000)
    )


def mp4(*boxes: bytes) -> bytes:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    inner = b"".join(boxes)
    for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        inner = box(kind, inner)
    return box(b"ftyp", b"isom\0\0\0\0") + inner


def table(kind: bytes, *numbers: int) -> bytes:
    body = struct.pack(f">{len(numbers)}I", *numbers)
    return struct.pack(">I", 8 + len(body)) + kind + body


def test_tables_that_claim_millions_of_samples_are_refused() -> None:
    told = "claims 400000000 samples, more than the 1000000 that are believed"
    assert refused(mp4(table(b"stsz", 0, 0, 400_000_000))) == told
    assert refused(mp4(table(b"stsz", 0, 4, 400_000_000))) == told
    assert refused(mp4(table(b"trun", 0, 400_000_000, 0))) == told
    padding = table(b"free", *[0] * 1_000_000)
    assert check_container(mp4(table(b"stsz", 0, 2, 2_000_000), padding)) == "mov"
    assert check_container(mp4(table(b"trun", 0, 4, 0))) == "mov"


def test_boxes_of_every_form() -> None:
    long = struct.pack(">I4sQ", 1, b"free", 24) + b"\0" * 8
    last = struct.pack(">I4s", 0, b"mdat") + b"\0" * 30
    assert check_container(mp4() + long + last) == "mov"
    assert check_container(mp4() + b"\0\0\0\x04\0\0\0\0" + b"rubbish") == "mov"
    with pytest.raises(CellError, match="is truncated: 92 of the bytes"):
        check_container(mp4() + struct.pack(">I4s", 100, b"mdat"))


def test_matroska_sizes() -> None:
    head = b"\x1a\x45\xdf\xa3\x80"
    assert check_container(head + b"\x18\x53\x80\x67\x80") == "matroska"
    assert check_container(head + b"\x15\x49\xa9\x66\x90") == "matroska"
    with pytest.raises(CellError, match="is truncated: 16 of the bytes"):
        check_container(head + b"\x18\x53\x80\x67\x90")
    assert check_container(b"\x1a\x45\xdf\xa3\0") == "matroska"


def test_a_decoder_outside_the_list_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(square(4), "avi", "huffyuv", pixels="rgb24")
    assert refused(data) == "is coded in huffyuv, which plait does not open"


def test_another_file_is_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CellError) as caught:
        clips._refuse("file:/etc/passwd", 1, {})
    assert str(caught.value) == "asks for another file, which plait does not open"


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("mkv", "ffv1"), ("avi", "mjpeg")]
)
@given_settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**31))
def test_bytes_changed_anywhere_give_frames_or_a_reason(ending: str, codec: str, seed: int) -> None:
    data = bytearray(_cached(ending, codec))
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), int(rng.integers(1, 12))):
        data[at] = int(rng.integers(256))
    try:
        found = load(bytes(data), state(), LIMITS)
    except CellError as error:
        assert 10 < len(str(error)) < 160
    else:
        assert found.shape == (8, 32, 32, 3)


_MADE: dict[tuple[str, str], bytes] = {}


def _cached(ending: str, codec: str) -> bytes:
    if (ending, codec) not in _MADE:
        _MADE[ending, codec] = encode(square(20), ending, codec)
    return _MADE[ending, codec]
