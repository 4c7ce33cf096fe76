"""Images of every mode, and hostile ones."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plait.data.media import Limits
from plait.data.modalities.image import ImageModality, load
from plait.errors import CellError

IMAGE = ImageModality()
LIMITS = Limits()
KNOWN = "is not an image of a known kind (JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM, ICO"


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(image: Image.Image, size: int = 16, channels: int = 3, kind: str = "PNG", **options):
    return load(encode(image, kind, **options), size, channels, LIMITS)


def claiming(width: int, height: int, content: bytes = b"") -> bytes:
    """A small PNG that claims to be large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = content or zlib.compress(b"\0" * 10_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def test_pixels_arrive_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(opened(Image.fromarray(pixels)), pixels)
    grey = pixels[:, :, 0]
    np.testing.assert_array_equal(opened(Image.fromarray(grey), channels=1)[:, :, 0], grey)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF"]
)
def test_every_format(kind: str) -> None:
    found = opened(Image.new("RGB", (32, 32), (250, 10, 10)), kind=kind)
    assert abs(found.astype(int) - (250, 10, 10)).max() <= 12


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (16, 16), 1), (255, 255, 255)),
        (Image.new("L", (16, 16), 90), (90, 90, 90)),
        (Image.new("LA", (16, 16), (0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (16, 16), (0, 0, 0, 128)), (127, 127, 127)),
        (Image.new("I;16", (16, 16), 65535), (255, 255, 255)),
        (Image.new("I;16", (16, 16), 32896), (128, 128, 128)),
        (Image.new("I;16", (16, 16), 300), (1, 1, 1)),
    ],
)
def test_modes_in_png(image: Image.Image, expected: tuple[int, int, int]) -> None:
    np.testing.assert_array_equal(opened(image), np.broadcast_to(expected, (16, 16, 3)))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("F", (16, 16), 0.5), (128, 128, 128)),
        (Image.new("F", (16, 16), 200.0), (200, 200, 200)),
        (Image.new("F", (16, 16), float("nan")), (0, 0, 0)),
        (Image.new("I", (16, 16), 200), (200, 200, 200)),
        (Image.new("I", (16, 16), 65535), (255, 255, 255)),
    ],
)
def test_modes_in_tiff(image: Image.Image, expected: tuple[int, int, int]) -> None:
    np.testing.assert_array_equal(
        opened(image, kind="TIFF"), np.broadcast_to(expected, (16, 16, 3))
    )


def test_deep_values_of_no_known_range_are_spread() -> None:
    ramp = np.linspace(-5e6, 5e6, 256, dtype=np.float32).reshape(16, 16)
    found = opened(Image.fromarray(ramp), channels=1, kind="TIFF")
    assert found.min() == 0 and found.max() == 255
    assert opened(Image.fromarray(np.full((16, 16), -7, np.int32)), kind="TIFF").max() == 0


def test_16_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = opened(Image.fromarray(ramp), channels=1)[:, :, 0]
    np.testing.assert_array_equal(found, np.rint(ramp / 257).astype(np.uint8))


def test_palette_with_transparency() -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert (opened(image) == (200, 0, 0)).all()
    assert (opened(image, transparency=1) == 255).all()
    assert (opened(Image.new("RGB", (16, 16), (1, 2, 3)), transparency=(1, 2, 3)) == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("#ff0000", "#00ff00")]
    found = opened(frames[0], kind=kind, save_all=True, append_images=frames[1:])
    assert found[..., 0].min() > 200 and found[..., 1].max() < 30


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(orientation: int, kind: str) -> None:
    pixels = np.zeros((32, 16, 3), np.uint8)
    pixels[:16, :8] = 255
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {5: 5, 6: 8, 8: 6, 7: 7}.get(orientation, orientation)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    stored = upright.transpose(Image.Transpose(turns[undo])) if undo > 1 else upright
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    found = opened(stored, kind=kind, exif=exif, **options)
    expected = opened(upright)
    assert np.abs(found.astype(int) - expected).mean() < 8


@pytest.mark.parametrize(
    ("width", "height"), [(64, 32), (32, 64), (400, 1), (1, 400), (8, 4), (37, 23)]
)
def test_letterbox_keeps_the_shape(width: int, height: int) -> None:
    found = opened(Image.new("RGB", (width, height), (9, 99, 199)))
    assert (found == (9, 99, 199)).all()  # the border's own colour fills the rest
    pixels = np.full((height, width, 3), 40, np.uint8)
    pixels[height // 4 : -height // 4 or None, width // 4 : -width // 4 or None] = 240
    assert opened(Image.fromarray(pixels)).shape == (16, 16, 3)


def test_jpegs_are_scaled_while_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.radial_gradient("L").resize((1024, 768)).convert("RGB"), "JPEG", quality=95)
    drafted = load(data, 32, 1, LIMITS)
    with Image.open(BytesIO(data)) as image:
        image.draft("L", (64, 48))
        assert image.size == (128, 96)
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: None)
    full = load(data, 32, 1, LIMITS)
    assert np.abs(drafted.astype(int) - full).mean() < 2


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF"]
)
def test_truncated_images_are_errors(kind: str, settings, picture, reasons) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    for share in (0.3, 0.6, 0.9):
        cut = data[: int(len(data) * share)]
        (reason,) = reasons(IMAGE, [data], [cut])
        assert "cannot be decoded" in reason or KNOWN in reason


def test_a_truncated_jpeg_by_name(picture, settings, reasons) -> None:
    name = picture("a.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path = settings.media.root / name
    path.write_bytes(path.read_bytes()[:1500])
    (reason,) = reasons(IMAGE, [], [name])
    assert reason.startswith("'a.jpg': cannot be decoded (image file is truncated")


def test_no_images(settings, reasons) -> None:
    (settings.media.root / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (settings.media.root / "empty.jpg").touch()
    (settings.media.root / "noise.jpg").write_bytes(bytes(range(256)))
    page, empty, noise = reasons(IMAGE, [], ["page.jpg", "empty.jpg", "noise.jpg"])
    assert page == "'page.jpg': is HTML or XML, not an image"
    assert empty == "'empty.jpg': is empty (zero bytes)"
    assert noise.startswith(f"'noise.jpg': {KNOWN}")


def test_formats_that_run_programs_are_not_opened() -> None:
    for kind in ("EPS", "PDF", "TGA", "PCX", "SGI"):
        with pytest.raises(CellError, match="not an image of a known kind"):
            opened(Image.new("RGB", (16, 16)), kind=kind)


@pytest.mark.parametrize("side", [8001, 10_000, 13_000, 65_535])
def test_small_files_that_claim_many_pixels(side: int, reasons) -> None:
    data = claiming(side, side)
    assert len(data) < 1024
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (reason,) = reasons(IMAGE, [], [data])
    assert f"claims {side * side / 1e6:.4g} megapixels" in reason
    assert reason.endswith("more than the cap of 64 (max_image_megapixels)")


def test_the_cap_follows_the_options(limited, reasons) -> None:
    (reason,) = reasons(IMAGE, [], [claiming(100, 200)], limited(image_pixels=10_000))
    assert reason == (
        "claims 0.02 megapixels (100 x 200), more than the cap of 0.01 (max_image_megapixels)"
    )


def test_an_icon_that_hides_a_large_picture(reasons) -> None:
    inner = claiming(9000, 9000)
    head = struct.pack("<HHH", 0, 1, 1) + struct.pack(
        "<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22
    )
    bitmap = struct.pack("<IiiHHIIiiII", 40, 9000, -18000, 1, 32, 0, 0, 0, 0, 0, 0)
    for content, size in ((inner, 81), (bitmap, 162)):
        (reason,) = reasons(IMAGE, [], [head + content])
        assert f"claims {size} megapixels" in reason
    assert reasons(IMAGE, [], [head])[0].startswith(KNOWN)


def test_damaged_pixels_are_errors(reasons) -> None:
    (reason,) = reasons(IMAGE, [], [claiming(64, 64, b"not zlib at all")])
    assert reason.startswith("cannot be decoded (")


def test_state_follows_the_sample(picture, settings) -> None:
    grey = [picture(f"g{n}.png", np.full((40 + n, 20), 99, np.uint8)) for n in range(3)]
    assert IMAGE.fit(grey, settings) == {"size": 40, "channels": 1, "fit": "pad"}
    assert IMAGE.describe(IMAGE.fit(grey, settings)) == "40x40 grey, padded to a square"
    also_grey = picture("rgb.png", np.full((40, 20, 3), 99, np.uint8))
    assert IMAGE.fit([*grey, also_grey], settings)["channels"] == 1
    colour = picture("c.png", np.full((4, 4, 3), (9, 99, 9), np.uint8))
    assert IMAGE.fit([*grey, colour], settings)["channels"] == 3
    assert IMAGE.fit([colour], settings)["size"] == 16
    large = picture("l.png", np.zeros((500, 300), np.uint8))
    assert IMAGE.fit([large, None, "gone.png"], settings)["size"] == 48


def test_matches(picture, settings) -> None:
    names = [picture(f"{n}.png", np.zeros((4, 4), np.uint8)) for n in range(10)]
    found = IMAGE.matches("x", names, settings)
    assert found.strength == 0.95
    assert found.reason == "all 10 sampled cells end in .png, and 8 of 8 opened are image files"
    gone = IMAGE.matches("x", ["a.JPG", "b.jpg"], settings)
    assert gone.strength == 0.75
    assert gone.reason == (
        "all 2 sampled cells end in .jpg, but none of the 2 opened could be read: "
        "'a.JPG': no such file"
    )
    blobs = [(settings.media.root / name).read_bytes() for name in names]
    found = IMAGE.matches("x", blobs, settings)
    assert found.reason == "all 10 sampled cells are bytes that begin like image files"
    assert IMAGE.matches("x", [{"bytes": blobs[0], "path": None}], settings).strength == 0.95
    assert IMAGE.matches("x", ["red", "blue"], settings) is None
    assert IMAGE.matches("x", [b"%PDF-1.7"], settings) is None
    (settings.media.root / "hash").write_bytes(blobs[0])
    found = IMAGE.matches("x", ["hash"], settings)
    assert found.reason == "the 1 files opened are image files, whatever they are called"
    (settings.media.root / "notes").write_text("words")
    assert IMAGE.matches("x", ["notes"], settings) is None
    for kind in ("JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF"):
        blob = encode(Image.new("RGB", (16, 16)), kind)
        assert IMAGE.matches("x", [blob], settings).strength == 0.95


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]),
)
def test_any_bytes_end_in_an_error_or_an_image(tail: bytes, head: bytes) -> None:
    try:
        found = load(head + tail, 16, 3, Limits(image_pixels=10_000))
    except Exception as error:  # whatever Pillow raises; decode_all puts it into words
        assert not isinstance(error, MemoryError)
    else:
        assert found.shape == (16, 16, 3)
