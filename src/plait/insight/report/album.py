"""Cells of a table as a page can show them: small pictures, short sounds, plots, words."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from plait.data.features import Features
from plait.data.media import label
from plait.data.modalities import audio, image, registry
from plait.data.modalities.base import Display, Prepared, Settings, is_missing
from plait.data.table.source import Table
from plait.display.markup import Html, join, named, tag
from plait.display.section import Language, spoken
from plait.errors import CellError, shortened
from plait.insight.report.heat import over_signal

MAX_BYTES = 9_000_000
"""Characters of pictures and sounds that a page holds at most; the rest of it is far smaller."""

MAX_SIDE = 160
"""Pixels along a thumbnail's side."""

MAX_SECONDS = 8.0
"""Of a sound that can be played."""

RATE = 16_000
MAX_LETTERS = 400
FRAMES = 4
"""Frames of a video that are shown."""

_BROKEN = (CellError, OSError, ValueError, SyntaxError, EOFError, ArithmeticError, MemoryError)
"""What decoders raise on damaged files. A cell that raises is named and not shown."""


class Album:
    """Shows cells, and keeps count of the bytes they take.

    Args:
        table: whose cells are shown.
        features: its columns' modalities and states.
        settings: opens media within the caps.
        room: characters of pictures and sounds at most, `MAX_BYTES` by default; when they are used up,
            cells are named only.

    Attributes:
        used: characters taken so far.
        left_out: cells that there was no room for.
    """

    def __init__(
        self,
        table: Table,
        features: Features,
        settings: Settings,
        *,
        language: Language = "en",
        room: int | None = None,
        side: int = MAX_SIDE,
    ) -> None:
        self.table = table
        self.features = features
        self.settings = settings
        self.language = language
        self.room = MAX_BYTES if room is None else room
        self.side = side
        self.used = 0
        self.left_out = 0

    def raw(self, column: str, row: int) -> object:
        """The cell itself; None where it is missing or there is no such column."""
        if column not in self.table.columns:
            return None
        return self.table.cells(column, np.array([row]))[0]

    def display(self, column: str) -> Display:
        """How the column's cells are shown; as text, those of a column that is no input."""
        kind = self.features.modalities.get(column)
        return "text" if kind is None else registry.get(kind).display

    def cell(self, column: str, row: int) -> Html:
        """What a reader sees of a cell: a picture, a player, a line, or its text.

        Args:
            row: within the table of this album.
        """
        cell = self.raw(column, row)
        if cell is None or is_missing(cell):
            return tag("span", spoken(self.language, "missing", "缺失"), class_="chip")
        try:
            match self.display(column):
                case "picture":
                    return self._image(column, cell)
                case "player":
                    return self._sound(column, cell)
                case "curve":
                    return self._curve(column, row)
                case "frames":
                    return self._frames(column, row)
        except _BROKEN as error:
            unreadable = spoken(self.language, "unreadable", "无法读取")
            return tag("span", f"{unreadable}: ", named(_short(str(error))), class_="chip")
        return named(_short(cell))

    def picture(
        self, pixels: UInt8[np.ndarray, "height width channels"], alt: str, *, wide: bool = False
    ) -> Html:
        """An array as an ``img``; its name where there is no room.

        Args:
            wide: as large as it is; else of at most the album's side, small ones enlarged.
        """
        from PIL import Image

        shown = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        picture = Image.fromarray(np.ascontiguousarray(shown))
        if max(picture.size) > self.side and not wide:
            picture.thumbnail((self.side, self.side))
        data = BytesIO()
        picture.save(data, "JPEG", quality=82)
        source = self._packed("image/jpeg", data.getvalue())
        if source is None:
            return self._named_only(alt)
        width, height = picture.size
        grown = max(1, self.side // max(width, height, 1))
        return tag(
            "img",
            src=source,
            alt=shortened(alt),
            width=width * grown,
            height=height * grown,
            class_="cell",
        )

    def player(self, wave: Float[np.ndarray, " samples"], rate: int, name: str) -> Html:
        """A sound that can be played, its first `MAX_SECONDS`; its name where there is no room."""
        import soundfile

        data = BytesIO()
        excerpt = np.clip(wave[: round(MAX_SECONDS * rate)], -1, 1)
        soundfile.write(data, excerpt, rate, format="MP3", subtype="MPEG_LAYER_III")
        source = self._packed("audio/mpeg", data.getvalue())
        if source is None:
            return self._named_only(name)
        return tag(
            "audio", controls=True, preload="metadata", src=source, aria_label=shortened(name)
        )

    def wave(self, column: str, row: int) -> tuple[np.ndarray, int] | None:
        """A sound's samples and rate; None where it cannot be read."""
        cell = self.raw(column, row)
        try:
            return self._load(cell), RATE
        except _BROKEN:
            return None

    def arrays(self, column: str, row: int) -> Prepared:
        """What preparation makes of one cell, before any frozen encoder.

        Raises:
            CellError: it cannot be read.
        """
        kind, state = self.features.modalities[column], self.features.states[column]
        table = self.table.take(np.array([row]))
        whole = Features({column: kind}, {column: state}).prepare(table, self.settings)
        prepared = whole.columns[column]
        if not prepared.present[0]:
            raise CellError(prepared.problems[0].reason if prepared.problems else "holds nothing")
        return Prepared(prepared.values, prepared.lengths, prepared.present)

    def _image(self, column: str, cell: Any) -> Html:
        limits = self.settings.media.limits
        cap = limits.image_pixels * image.FILE_BYTES_PER_PIXEL
        data = self.settings.media.read(cell, cap)
        return self.picture(image.load(data, self.side, 3, limits), f"{column}: {label(cell)}")

    def _load(self, cell: object) -> np.ndarray:
        limits = self.settings.media.limits
        data = self.settings.media.read(cell, limits.audio_bytes)
        return audio.load(data, RATE, MAX_SECONDS, limits)

    def _sound(self, column: str, cell: Any) -> Html:
        return self.player(self._load(cell), RATE, f"{column}: {label(cell)}")

    def _name(self, column: str, row: int) -> str:
        return f"{column}: {_short(self.raw(column, row))}"

    def _curve(self, column: str, row: int) -> Html:
        values = self.arrays(column, row).values.astype(np.float64)
        return tag("div", over_signal(values, np.zeros_like(values), self._name(column, row)))

    def _frames(self, column: str, row: int) -> Html:
        prepared = self.arrays(column, row)
        frames = prepared.values if prepared.lengths is not None else prepared.values[0]
        shown = np.unique(np.linspace(0, len(frames) - 1, FRAMES).astype(np.int64))
        name = self._name(column, row)
        return tag("div", *(self.picture(frames[at], name) for at in shown), class_="pair")

    def _packed(self, kind: str, data: bytes) -> str | None:
        """Bytes as an address within the page; None where they would not fit."""
        text = f"data:{kind};base64,{b64encode(data).decode()}"
        if self.used + len(text) > self.room:
            self.left_out += 1
            return None
        self.used += len(text)
        return text

    def _named_only(self, name: str) -> Html:
        explanation = spoken(
            self.language, "not shown, to limit the size of the page", "因页面大小限制未显示"
        )
        return join([tag("span", explanation, class_="chip"), " ", named(_short(name))])


def _short(cell: object) -> str:
    """A cell as a line of text."""
    if isinstance(cell, dict):
        cell = cell.get("path") or "bytes"
    if isinstance(cell, bytes | bytearray):
        return f"{len(cell)} bytes"
    return shortened(" ".join(str(cell).split()), MAX_LETTERS)
