"""The guard: every byte of a media cell comes through here, within the caps and inside the root.

A cell is a path (text or `Path`), bytes, or a Hugging Face ``{"bytes": ..., "path": ...}``. Nothing is
fetched from a network, no pipe or device is ever opened for reading, and nothing outside the table's
folder is read unless the user named another root. Reasons name the cell's own text and never a folder
of this machine.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import NoReturn

import numpy as np

from plait.config import Config
from plait.errors import CellError

_URL = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.\-]*://|data:[\w/+.\-]*[;,])")
_OPEN = (
    os.O_RDONLY
    # The path was resolved before: a link here was put in its place since then.
    | getattr(os, "O_NOFOLLOW", 0)
    # Opening a pipe that nobody writes to would block for ever.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_MISSING = b"missing"
_MAX_NAME_CHARACTERS = 120  # of a path in a message; the end is kept, which has the file's name


@dataclass(frozen=True)
class Limits:
    """Caps on what one cell may cost. A data file can lower none of them and raise none of them.

    Attributes:
        image_pixels: pixels of an image, checked in its header before anything is allocated.
        audio_bytes: bytes of an audio file.
        audio_seconds: length of an audio file.
        audio_decoded_bytes: frames x channels x 4, whatever the file claims its rate to be.
        video_bytes: bytes of a video file.
        video_seconds: length of a video.
        video_pixels: pixels of one frame of a video, checked in its header and again in every frame.
        text_bytes: bytes of a text in UTF-8.
        signal_bytes: bytes of a signal file, and of the array it claims to hold.
        decode_seconds: time to decode one cell.
    """

    # Far above what a camera, a phone or a sensor makes, and below what would take a machine down while
    # several threads decode at once: 64 megapixels are 256 MB as RGBA, ten minutes of 48 kHz stereo are
    # 230 MB as float32, 16 megapixels hold a frame of 4K, and 64 MB are 8 million float64.
    image_pixels: int = 64_000_000
    audio_bytes: int = 25_000_000
    audio_seconds: float = 600.0
    audio_decoded_bytes: int = 256 * 2**20
    video_bytes: int = 200_000_000
    video_seconds: float = 600.0
    video_pixels: int = 16_000_000
    text_bytes: int = 1_000_000
    signal_bytes: int = 64_000_000
    decode_seconds: float = 10.0

    @classmethod
    def from_config(cls, config: Config) -> "Limits":
        """The caps as the user's options set them."""
        return cls(
            image_pixels=round(config.max_image_megapixels * 1e6),
            audio_bytes=round(config.max_audio_mb * 1e6),
            audio_seconds=config.max_audio_seconds,
            audio_decoded_bytes=round(config.max_audio_decoded_mib * 2**20),
            video_bytes=round(config.max_video_mb * 1e6),
            video_seconds=config.max_video_seconds,
            video_pixels=round(config.max_video_megapixels * 1e6),
            text_bytes=round(config.max_text_mb * 1e6),
            signal_bytes=round(config.max_signal_mb * 1e6),
            decode_seconds=config.max_decode_seconds,
        )


_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Media:
    """Opens media cells.

    Attributes:
        root: the folder that relative paths start from and that no path may leave. None: paths start
            from the working folder and may lead anywhere, for tables that were never a file.
        limits: the caps.
        named: the user named ``root``, so absolute paths inside it are welcome.
        paths: False refuses every path, for a server whose cells come from strangers.
    """

    root: Path | None
    limits: Limits = _DEFAULT_LIMITS
    named: bool = False
    paths: bool = True
    _folders: dict[str, str] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    def read(self, cell: object, cap_bytes: int, option: str = "") -> bytes:
        """The bytes of a cell.

        Args:
            cell: a path, bytes or a Hugging Face dictionary.
            cap_bytes: refuse more bytes than this, before reading them.
            option: the name of the option that sets the cap, told to the user.

        Raises:
            CellError: saying why the cell cannot be read.
        """
        source = _source(cell)
        if isinstance(source, str):
            return self._read_path(source, cap_bytes, option)
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        _check_size(label(cell), size, cap_bytes, option)
        return bytes(source)

    def fingerprint(self, cell: object) -> bytes:
        """What identifies a cell's content, for the store: cheap, and never raises.

        A path gives its text, size, modification time and inode; bytes and arrays a hash of their
        content; an unreadable cell its text. The caps are not part of it: put them in the store's key.
        """
        if cell is None:
            return _MISSING
        if isinstance(cell, np.ndarray):
            head = f"{cell.dtype.str}{cell.shape}".encode()
            # The bytes of an object array are addresses, which differ from run to run.
            content = repr(cell.tolist()).encode() if cell.dtype.hasobject else cell.tobytes()
            return b"array" + blake2b(head + content, digest_size=20).digest()
        try:
            source = _source(cell)
        except CellError:
            return b"value" + blake2b(_encode(repr(cell)), digest_size=20).digest()
        if not isinstance(source, str):
            return b"bytes" + blake2b(source, digest_size=20).digest()
        try:
            _, status = self._locate(source)
        except CellError:
            return b"unreadable" + blake2b(_encode(source), digest_size=20).digest()
        # The inode tells apart a file replaced within the clock's resolution, with the same size.
        seen = f"\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
        return b"file" + _encode(source) + seen.encode()

    def exists(self, cell: object) -> bool:
        """Whether a path cell leads to a regular file that may be read."""
        try:
            source = _source(cell)
            return isinstance(source, str) and stat.S_ISREG(self._locate(source)[1].st_mode)
        except CellError:
            return False

    def _read_path(self, text: str, cap_bytes: int, option: str) -> bytes:
        path, status = self._locate(text)
        _check_regular(text, status)
        _check_size(_quote(text), status.st_size, cap_bytes, option)
        try:
            handle = os.open(path, _OPEN)
        except OSError as error:
            _refuse(text, _reason(error))
        try:
            _check_regular(
                text, os.fstat(handle)
            )  # it may have been swapped since it was looked at
            data = os.read(handle, status.st_size + 1)
            # A read may return less than was asked for, and the file may be growing.
            while more := os.read(handle, max(status.st_size + 1 - len(data), 65_536)):
                data += more
                _check_size(_quote(text), len(data), cap_bytes, option)
        except OSError as error:
            _refuse(text, _reason(error))
        finally:
            os.close(handle)
        return data

    def _locate(self, text: str) -> tuple[str, os.stat_result]:
        """The real path of a file inside the root, and its status. The file may still be a folder."""
        if not self.paths:
            _refuse(text, "is a path, and only bytes are accepted here")
        if "\0" in text:
            _refuse(text, "holds a NUL character, which no path may")
        if ":" in text and is_url(text):
            _refuse(text, "is a URL, and plait does not fetch: download it and give its path")
        try:
            if self.root is None:
                return text, os.stat(text)
            folder, name = os.path.split(text)
            # Such a last part is a folder, and '..' would escape the check of its folder.
            if name in ("", ".", ".."):
                folder, name = text, ""
            # Resolving links takes a system call per part of the path; a table has few folders.
            real = self._folders.get(folder)
            if real is None:
                real = self._enter(folder, text)
            path = os.path.join(real, name) if name else real
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                path = os.path.realpath(path)
                if not _inside(path, self._folders[""]):
                    _refuse(text, "is a symbolic link that leads outside the root folder")
                status = os.lstat(path)
        except OSError as error:
            _refuse(text, _reason(error))
        except UnicodeError:
            _refuse(text, "holds half a character (lone surrogate), so there is no such file")
        return path, status

    def _enter(self, folder: str, text: str) -> str:
        """The resolved folder of a path, checked to lie inside the root, and remembered."""
        root = self._folders.setdefault("", os.path.realpath(str(self.root)))
        if folder == "":
            return root
        if os.path.isabs(folder) and not self.named:
            _refuse(
                text,
                "is absolute: give paths relative to the table's folder, or name the root "
                "folder that holds the media",
            )
        joined = os.path.join(root, folder)
        real = os.path.realpath(joined)
        if not _inside(real, root):
            spoken = os.path.normpath(joined)
            if os.path.isabs(folder) and ".." not in PurePath(folder).parts:
                _refuse(text, "is absolute and outside the root folder that was named")
            if not _inside(spoken, root):
                _refuse(text, "climbs out of the root folder by '..'")
            _refuse(text, "passes through a symbolic link that leads outside the root folder")
        self._folders[folder] = real
        return real


def is_url(text: str) -> bool:
    """Whether a text is a URL (``https://…``, ``s3://…``, ``data:…``) rather than a path."""
    return _URL.match(text) is not None


def label(cell: object) -> str:
    """How to name a cell in a message: its path in quotes, or an empty string when it has none."""
    if isinstance(cell, dict):
        cell = cell.get("path")
    return _quote(os.fspath(cell)) if isinstance(cell, str | PurePath) else ""


def _source(cell: object) -> str | bytes | bytearray | memoryview:
    """A cell's path as text, or its bytes."""
    if isinstance(cell, str | bytes | bytearray | memoryview):
        return cell
    if isinstance(cell, PurePath):
        return os.fspath(cell)
    if isinstance(cell, dict):
        # Bytes first: beside them a path only names the file.
        for inner in (cell.get("bytes"), cell.get("path")):
            if isinstance(inner, str | bytes | bytearray | memoryview | PurePath):
                return os.fspath(inner) if isinstance(inner, PurePath) else inner
        raise CellError("is a dictionary without 'bytes' or 'path'")
    raise CellError(f"is a {type(cell).__name__}, expected a path or bytes")


def _check_regular(text: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        _refuse(text, "is a folder")
    if not stat.S_ISREG(status.st_mode):
        _refuse(text, "is not a regular file (a pipe, socket or device)")


def _check_size(name: str, size: int, cap: int, option: str) -> None:
    if size == 0:
        raise CellError(_join(name, "is empty (zero bytes)"))
    if size > cap:
        hint = f" ({option})" if option else ""
        text = f"is {_bytes(size)} large, more than the cap of {_bytes(cap)}{hint}"
        raise CellError(_join(name, text))


def _bytes(size: int) -> str:
    return f"{size / 1e6:.4g} MB" if size >= 100_000 else f"{size} bytes"


def _inside(path: str, root: str) -> bool:
    # With the separator: /data-private must not pass for something inside /data.
    return path == root or path.startswith(root if root.endswith(os.sep) else root + os.sep)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return f"cannot be read ({(error.strerror or 'input or output error').lower()})"


def _join(name: str, reason: str) -> str:
    return f"{name}: {reason}" if name else reason


def _quote(text: str) -> str:
    text = text if len(text) <= _MAX_NAME_CHARACTERS else "…" + text[-_MAX_NAME_CHARACTERS:]
    return f"'{text}'" if text.isprintable() else repr(text)


def _encode(text: str) -> bytes:
    # File names that are not UTF-8 reach Python as lone surrogates.
    return text.encode("utf-8", "surrogatepass")


def _refuse(text: str, reason: str) -> NoReturn:
    raise CellError(_join(_quote(text), reason)) from None
