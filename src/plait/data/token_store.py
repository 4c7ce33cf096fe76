"""A pretrained model's tokens on disk: made once a distinct cell, half precision, resumable.

An entry is named by the prepared column it was made from, the checkpoint and what was done with its
tokens. It is written chunk by chunk; what is whole is noted after each, so that a run that was killed,
or met a full disk, goes on where it stopped. One process writes an entry, others wait for it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Int64

from plait.data import cache
from plait.data.store import PreparedColumn, Store, cannot_write, read_entry
from plait.errors import StoreError
from plait.sealed import whole_file, write_whole

try:
    import fcntl
except ImportError:  # Windows: two processes may do the same work twice there
    fcntl = None  # type: ignore[assignment]

FORMAT = 2
CHUNK_CELLS = 256
"""Cells whose tokens are in memory at a time."""

Encode = Callable[
    [Int64[np.ndarray, " cells"], int],
    tuple[Float16[np.ndarray, "steps hidden"], Int64[np.ndarray, " cells"]],
]
"""Cells and a view of them to their tokens, one cell after the other, and how many each has."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Encoding:
    """How cells become tokens.

    Attributes:
        recipe: everything besides the cells that could change the tokens; JSON values.
        hidden: numbers in a token.
        views: versions of each cell, the first being the cell itself.
    """

    recipe: Mapping[str, Any]
    encode: Encode
    hidden: int
    views: int = 1


def encoded_column(
    store: Store | None,
    raw: PreparedColumn,
    encoding: Encoding,
    *,
    advance: Advance | None = None,
    waiting: Callable[[], None] | None = None,
) -> PreparedColumn:
    """The tokens of a prepared column, ragged, float16.

    Args:
        store: where to keep them; None keeps them in memory.
        advance: called with the number of cells done since the last call.
        waiting: called once when another process is at it already.

    Raises:
        StoreError: the store cannot be written. What was done is kept, and taken up the next time.
    """
    advance = advance or (lambda done: None)
    cells = len(raw.present) // raw.views
    # Without an entry there is no name for the content, and so no key to keep the tokens under.
    if store is None or not raw.entry:
        return _in_memory(raw, encoding, cells, advance)
    path = store.folder / _key(raw.entry, encoding)
    try:
        with _alone(path, waiting):
            if not path.is_dir():
                _write(path, encoding, cells, advance)
            else:
                advance(cells)
    except OSError as error:
        reason = cannot_write(store.folder, error)
        raise StoreError(f"{reason} What was encoded is kept and taken up next time.") from error
    cache.trim(store.folder.parent)
    stored = read_entry(path, None)
    if stored is None:
        raise StoreError(f"the store at {store.folder} lost an entry while it was being read.")
    return replace(stored, index=raw.index, views=encoding.views)


def _key(entry: str, encoding: Encoding) -> str:
    described = json.dumps([FORMAT, entry, dict(encoding.recipe), encoding.views], sort_keys=True)
    return f"tokens-{hashlib.blake2b(described.encode(), digest_size=20).hexdigest()}"


def _in_memory(
    raw: PreparedColumn, encoding: Encoding, cells: int, advance: Advance
) -> PreparedColumn:
    parts, counts = [np.zeros((0, encoding.hidden), np.float16)], [np.zeros(0, np.int64)]
    for values, lengths, done in _chunks(encoding, cells, 0):
        parts.append(values)
        counts.append(lengths)
        advance(done)
    lengths = np.concatenate(counts)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return PreparedColumn(
        np.concatenate(parts), offsets, lengths > 0, raw.index, raw.problems, views=encoding.views
    )


def _chunks(
    encoding: Encoding, cells: int, start: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Tokens, token counts and number of cells of each chunk; a cell's views lie side by side."""
    for first in range(start, cells, CHUNK_CELLS):
        numbers = np.arange(first, min(first + CHUNK_CELLS, cells))
        if encoding.views == 1:
            values, lengths = encoding.encode(numbers, 0)
            yield values, lengths, len(numbers)
            continue
        seen = [encoding.encode(numbers, view) for view in range(encoding.views)]
        splits = [np.split(values, np.cumsum(lengths)[:-1]) for values, lengths in seen]
        ordered = [part for versions in zip(*splits, strict=True) for part in versions]
        yield (
            np.concatenate(ordered),
            np.stack([lengths for _, lengths in seen], axis=1).ravel(),
            len(numbers),
        )


@contextmanager
def _alone(path: Path, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Keep other processes from the same entry; the system lets go however this one ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A whole entry never changes, so reading it needs no lock.
    if path.is_dir() or not hasattr(fcntl, "flock"):
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _write(path: Path, encoding: Encoding, cells: int, advance: Advance) -> None:
    """Go on with the draft, or begin one; rename it when it is whole."""
    hidden = encoding.hidden
    draft = path.with_name(f".{path.name}")
    draft.mkdir(exist_ok=True)
    done, counts = _progress(draft, hidden)
    advance(done)
    with (draft / "values.bin").open("r+b" if done else "wb") as file:
        # Cuts off a chunk that a kill left half written after the last note; 2 bytes per float16.
        file.truncate(2 * hidden * int(counts.sum()))
        file.seek(0, os.SEEK_END)
        for values, lengths, more in _chunks(encoding, cells, done):
            file.write(np.ascontiguousarray(values).tobytes())
            file.flush()
            # On disk before the note says so: a note must never claim more than there is.
            os.fsync(file.fileno())
            counts = np.concatenate([counts, lengths])
            done += more
            _note(draft, done, counts)
            advance(more)
    np.save(draft / "present.npy", counts > 0, allow_pickle=False)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    np.save(draft / "offsets.npy", offsets, allow_pickle=False)
    meta = {"shape": [int(counts.sum()), hidden], "dtype": "<f2", "ragged": True, "problems": []}
    (draft / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for name in ("done.json", "counts.npy"):
        (draft / name).unlink(missing_ok=True)
    # Last: the entry exists from the moment it has its name.
    draft.rename(path)


def _progress(draft: Path, hidden: int) -> tuple[int, np.ndarray]:
    """How many cells a draft holds whole, and the tokens of each view of them."""
    nothing = 0, np.zeros(0, np.int64)
    try:
        done = json.loads((draft / "done.json").read_text(encoding="utf-8"))
        counts = np.load(draft / "counts.npy", allow_pickle=False)[: done["counts"]]
        size = (draft / "values.bin").stat().st_size
        # A longer file is fine, a chunk after the note; a shorter one lost what the note promised.
        whole = len(counts) == done["counts"] and size >= 2 * hidden * int(counts.sum())
        return (int(done["cells"]), counts) if whole else nothing
    except (OSError, ValueError, KeyError, TypeError):
        return nothing


def _note(draft: Path, done: int, counts: np.ndarray) -> None:
    """Note what is whole; a kill between the two files leaves the older note, which is true too."""
    # counts first: done.json names how many of them hold, so longer counts do no harm.
    with whole_file(draft / "counts.npy") as file:
        np.save(file, counts, allow_pickle=False)
    write_whole(draft / "done.json", json.dumps({"cells": done, "counts": len(counts)}))
