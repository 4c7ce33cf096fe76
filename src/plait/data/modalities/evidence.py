"""What the `matches` of several modalities share: counting cells, and looking inside a few files."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

from plait.data.modalities.base import Evidence, Settings
from plait.data.modalities.decode import named, reason_of
from plait.errors import PlaitError

OPENED_CELLS = 8
"""How many media cells are opened to look inside."""

_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml|head|body|svg)", re.IGNORECASE)
_FILE = re.compile(r"\S.*\.[A-Za-z][A-Za-z0-9]{1,4}")


def media_evidence(
    kind: str,
    cells: Sequence[object],
    settings: Settings,
    extensions: frozenset[str],
    has_magic: Callable[[bytes], bool],
    look: Callable[[object], object],
) -> Evidence | None:
    """Evidence that cells are files or bytes of one kind.

    Args:
        kind: the word for the reason, ``image``.
        cells: sampled cells without missing ones.
        settings: opens the first few.
        extensions: in lower case, with the dot.
        has_magic: whether bytes begin like this kind.
        look: opens one cell, and raises when it is of another kind.
    """
    if not cells:
        return None
    blobs = [blob for blob in map(inline_bytes, cells) if blob is not None]
    if blobs:
        right = sum(map(has_magic, blobs))
        if 2 * right < len(cells):
            return None
        which = f"{quantity(right, len(cells))} {be(right, len(cells))}"
        what = f"{which} bytes that begin like {kind} files"
        return Evidence(0.95 * right / len(cells), what)
    paths = [path for path in map(path_text, cells) if path is not None]
    right = sum(PurePath(path).suffix.lower() in extensions for path in paths)
    named_so = 2 * right >= len(cells)
    if not named_so and not (
        paths and all(settings.media.exists(path) for path in paths[:OPENED_CELLS])
    ):
        return None
    step = max(len(cells) // OPENED_CELLS, 1)
    opened, complaint = _look_inside(cells[::step][:OPENED_CELLS], look)
    tried = len(cells[::step][:OPENED_CELLS])
    if not named_so:
        if opened < tried:
            return None
        return Evidence(0.9, f"the {tried} files opened are {kind} files, whatever they are called")
    suffixes = "/".join(sorted({PurePath(path).suffix.lower() for path in paths} & extensions))
    what = f"{quantity(right, len(cells))} {'ends' if right == 1 else 'end'} in {suffixes}"
    if opened == 0:
        return Evidence(0.75, f"{what}, but none of the {tried} opened could be read: {complaint}")
    return Evidence(
        0.95 * right / len(cells), f"{what}, and {opened} of {tried} opened are {kind} files"
    )


def _look_inside(cells: Sequence[object], look: Callable[[object], object]) -> tuple[int, str]:
    """How many cells open, and why the first other one does not."""
    opened, complaint = 0, ""
    for cell in cells:
        try:
            look(cell)
            opened += 1
        except PlaitError as error:
            complaint = complaint or named(cell, str(error))
        except Exception as error:  # codecs raise anything on hostile bytes
            complaint = complaint or named(cell, reason_of(error))
    return opened, complaint


def inline_bytes(cell: object) -> bytes | None:
    """The bytes a cell holds, if it holds some itself."""
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    return bytes(cell) if isinstance(cell, bytes | bytearray | memoryview) else None


def path_text(cell: object) -> str | None:
    """The path a cell holds, if it may be one."""
    if isinstance(cell, dict):
        cell = cell.get("path")
    if isinstance(cell, PurePath):
        return str(cell)
    return cell if isinstance(cell, str) and len(cell) <= 4096 and "\n" not in cell else None


def looks_like_file(cell: object) -> bool:
    """Whether a text ends like a file's name: ``photos/7.jpg``."""
    return isinstance(cell, str) and len(cell) <= 4096 and _FILE.fullmatch(cell.strip()) is not None


def starts_like_markup(data: bytes) -> bool:
    """Whether bytes begin like HTML or XML, as an error page saved under a media name does."""
    return _MARKUP.match(data[:256]) is not None


def quantity(part: int, whole: int) -> str:
    """``all 50 sampled cells``, ``48 of 50 sampled cells``."""
    if part == whole:
        return "the one sampled cell" if whole == 1 else f"all {whole} sampled cells"
    return f"{part} of {whole} sampled cells"


def be(part: int, whole: int) -> str:
    """``is`` or ``are``, to go with `quantity`."""
    return "is" if part == 1 == whole else "are"
