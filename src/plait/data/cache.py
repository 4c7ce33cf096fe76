"""Where plait keeps what it can make again: opened tables and prepared columns.

The folder is ``$PLAIT_CACHE`` or ``~/.cache/plait``. Everything in it may be deleted at any time, also
while plait runs: readers hold their own memory maps.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from plait.errors import StoreError

DEFAULT_CAP_GB = 20.0


@dataclass(frozen=True)
class Entry:
    """One cached thing: its folder or file, its size in bytes, when it was last used (seconds)."""

    path: Path
    size: int
    used: float


def cache_folder() -> Path:
    """The cache's root; not created by asking."""
    named = os.environ.get("PLAIT_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "plait"


def cap_bytes() -> int:
    """How large the cache may grow, from ``$PLAIT_CACHE_GB`` (20 when unset).

    Raises:
        StoreError: the variable is not a positive number.
    """
    text = os.environ.get("PLAIT_CACHE_GB", str(DEFAULT_CAP_GB))
    try:
        cap = float(text)
    except ValueError:
        cap = 0.0
    if not 0 < cap < float("inf"):
        raise StoreError(f"PLAIT_CACHE_GB is '{text}'; it must be a positive number of gigabytes.")
    return int(cap * 1e9)


def entries(folder: Path | None = None) -> list[Entry]:
    """Everything cached, least recently used first."""
    root = folder or cache_folder()
    listed = []
    for kind in ("store", "tables"):
        for path in (root / kind).glob("*") if (root / kind).is_dir() else ():
            try:
                listed.append(_entry(path))
            except FileNotFoundError:  # another process removed it meanwhile
                continue
    return sorted(listed, key=lambda entry: entry.used)


def _entry(path: Path) -> Entry:
    inside = [part.stat() for part in path.iterdir()] if path.is_dir() else []
    size = sum(part.st_size for part in inside) if path.is_dir() else path.stat().st_size
    return Entry(path, size, path.stat().st_mtime)


def touch(path: Path) -> None:
    """Mark an entry as just used."""
    try:
        os.utime(path)
    except OSError:  # a read-only or vanished entry is still readable, only its age is off
        return


def remove(entry: Entry) -> None:
    """Delete one entry; it is no error when it is gone already."""
    if entry.path.is_dir():
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        entry.path.unlink(missing_ok=True)


def trim(folder: Path | None = None, cap: int | None = None) -> list[Entry]:
    """Delete the least recently used entries until the cache fits its cap; returns what went."""
    every = entries(folder)
    limit = cap_bytes() if cap is None else cap
    total = sum(entry.size for entry in every)
    gone = []
    whole = [
        entry for entry in every if not entry.path.name.startswith(".")
    ]  # others are being written
    for entry in whole[:-1]:  # the newest stays even when it alone is over the cap
        if total <= limit:
            break
        remove(entry)
        gone.append(entry)
        total -= entry.size
    return gone


def clear(folder: Path | None = None) -> list[Entry]:
    """Delete everything cached; returns what went."""
    cleared = entries(folder)
    for entry in cleared:
        remove(entry)
    return cleared
