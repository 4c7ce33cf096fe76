"""What a video file claims about itself, read from its bytes before any library sees them.

A file is one of three containers, told by its first bytes and by nothing else, so that a playlist or a
script that only bears a video's name is never followed.
"""

from collections.abc import Iterator

from plait.data.modalities.evidence import starts_like_markup
from plait.errors import CellError

MAX_SAMPLES = 1_000_000
"""Entries that one table of an MP4 may claim: each costs the reader 24 bytes of memory."""

_MAX_SOUND_SAMPLE_BYTES = 16
"""Bytes up to which samples of one size are taken for uncompressed sound, which has many of them."""

_KNOWN = "MP4, MOV, WebM, MKV, AVI"
_STARTS = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_OTHER_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"M4A ", b"M4B "})
_NESTED = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"

Box = tuple[bytes, int, int]
"""The kind of an MP4 box, where its content begins, and where it claims to end."""


def container_of(data: bytes) -> str | None:
    """``mov`` (MP4 and QuickTime), ``matroska`` (MKV and WebM), ``avi``, or None."""
    if data.startswith(_EBML):
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    if data[4:8] in _STARTS and data[8:12] not in _OTHER_BRANDS:
        return "mov"
    return None


def check_container(data: bytes) -> str:
    """The container, once what it claims has been compared with the bytes there are.

    Raises:
        CellError: the bytes are no video, are cut off, or claim tables far larger than they can hold.
    """
    kind = container_of(data)
    if kind is None:
        raise CellError(_what_else(data))
    if short := _shortfall(data, kind):
        raise CellError(f"is truncated: {short} of the bytes its header claims are not there")
    if kind == "mov":
        _check_boxes(data)
    return kind


def _what_else(data: bytes) -> str:
    if starts_like_markup(data):
        return "is HTML or XML, not a video"
    if data.startswith((b"#EXT", b"ffconcat")):
        return "is a playlist of other files, which plait does not follow, not a video"
    return f"is not a video of a known kind ({_KNOWN})"


def _shortfall(data: bytes, kind: str) -> int:
    """How many bytes are missing at the end, by the sizes that the outermost parts claim."""
    if kind == "avi":
        return max(8 + int.from_bytes(data[4:8], "little") - len(data), 0)
    if kind == "matroska":
        return _segment_shortfall(data)
    return max([0, *(end - len(data) for _, _, end in _boxes(data, 0, len(data)))])


def _segment_shortfall(data: bytes) -> int:
    """A segment whose size is all ones was streamed and does not know how long it is."""
    header, width, _ = _vint(data, 4)
    at = 4 + width + header
    if data[at : at + 4] != _SEGMENT:
        return 0
    size, width, unknown = _vint(data, at + 4)
    return 0 if unknown else max(at + 4 + width + size - len(data), 0)


def _vint(data: bytes, at: int) -> tuple[int, int, bool]:
    """An EBML number (RFC 8794, section 4): its value, its bytes, and whether it says "unknown"."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return 0, 8, True
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return value, width, value == (1 << 7 * width) - 1


def _boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """The boxes of one level of an MP4 (ISO/IEC 14496-12, section 4.2), up to one that is none."""
    while at + 8 <= end:
        size, kind, begin = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, begin = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < begin - at or not (kind.isalnum() or kind[:1] == b"\xa9" or kind[-1:] == b" "):
            return
        yield kind, begin, at + size
        at += size


def _check_boxes(data: bytes) -> None:
    kinds = {kind for kind, _, _ in _boxes(data, 0, len(data))}
    if b"moov" not in kinds:
        raise CellError("is truncated or damaged: its index (the moov box) is not there")
    _check_tables(data, 0, len(data))


def _check_tables(data: bytes, begin: int, end: int) -> None:
    """Refuse tables that claim more samples than their bytes could describe, or a film could have."""
    for kind, inner, stop in _boxes(data, begin, end):
        stop = min(stop, end)
        if kind in _NESTED:
            _check_tables(data, inner, stop)
        elif kind == b"stsz":
            size, count = (
                int.from_bytes(data[inner + at : inner + at + 4], "big") for at in (4, 8)
            )
            sound = 0 < size <= _MAX_SOUND_SAMPLE_BYTES and size * count <= len(data)
            if count > MAX_SAMPLES and not sound:
                raise CellError(_too_many(count))
        elif kind == b"trun":
            count = int.from_bytes(data[inner + 4 : inner + 8], "big")
            if count > MAX_SAMPLES:
                raise CellError(_too_many(count))


def _too_many(count: int) -> str:
    return f"claims {count} samples, more than the {MAX_SAMPLES} that are believed"
