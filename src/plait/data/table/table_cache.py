"""Where tables too large for memory are kept, and under which names."""

import hashlib
import os
from pathlib import Path

_VERSION = 1


def cache_folder(cache: Path | str | None) -> Path:
    """Where large tables are spilled: ``cache``, else ``$PLAIT_CACHE/tables``, else
    ``tables`` in the user's cache folder.
    """
    if cache is not None:
        return Path(cache)
    named = os.environ.get("PLAIT_CACHE")
    if named:
        return Path(named) / "tables"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "plait" / "tables"


def cache_key(path: Path, reader: str) -> str:
    """A name for a file's content, without reading it: its place, then its size and time.

    The first half names the place alone, so that older versions of one file can be found.
    """
    status = path.stat()
    place = hashlib.sha256(f"{_VERSION} {reader} {path.resolve()}".encode()).hexdigest()[:24]
    content = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    return f"{place}-{content}"
