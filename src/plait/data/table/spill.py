"""Streams of batches as one table: held in memory while small, else a memory-mapped Arrow file."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa

from plait.errors import TableError

MAX_MEMORY_BYTES = 8 * 2**20
"""Bytes of Arrow data kept in memory; a larger stream goes to disk."""


def cached(folder: Path, key: str) -> pa.Table | None:
    """The table spilled under ``key`` before, or None."""
    try:
        return map_file(folder / f"{key}.arrow")
    except (OSError, pa.ArrowException):  # not there, or damaged: written anew
        return None


def map_file(path: Path) -> pa.Table:
    """An Arrow file as a table whose buffers are the file's own pages."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def collect(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    folder: Path,
    key: str | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Batches of one schema as a table, in memory up to a limit, else mapped from disk.

    Args:
        batches: read once, in order.
        schema: of every batch.
        folder: where the file goes; made if it does not exist.
        key: the file's name, without its ending, for a later `cached`; None: removed when the
            table is no longer in use.
        limit: bytes that may stay in memory; None: `MAX_MEMORY_BYTES`.

    Raises:
        TableError: when the file cannot be written.
    """
    held: list[pa.RecordBatch] = []
    size = 0
    limit = MAX_MEMORY_BYTES if limit is None else limit
    stream = iter(batches)
    for batch in stream:
        held.append(batch)
        size += batch.nbytes
        if size > limit:
            return _to_disk(_drain(held, stream), schema, folder, key)
    return pa.Table.from_batches(held, schema)


def _drain(
    held: list[pa.RecordBatch], stream: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """What is held, letting go of it, then the rest of the stream."""
    # Popped from the end, each batch is freed once it is written: memory does not double.
    held.reverse()
    yield from chain((held.pop() for _ in range(len(held))), stream)


def _to_disk(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: Path, key: str | None
) -> pa.Table:
    """Write to a name of our own, then rename: several processes may do so at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the target: a rename is atomic within one file system only.
        handle, name = tempfile.mkstemp(dir=folder, prefix="writing-", suffix=".tmp")
        os.close(handle)
    except OSError as error:
        raise _unwritable(folder, error) from error
    temporary = Path(name)
    try:
        sink = pa.OSFile(name, "wb")
        with sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                try:
                    writer.write_batch(batch)
                except OSError as error:
                    raise _unwritable(folder, error) from error
        if key is None:
            return map_file(temporary)
        target = folder / f"{key}.arrow"
        temporary.replace(target)
        _forget_older(folder, key)
        return map_file(target)
    finally:
        # Mapped pages outlive the name, except on Windows, where the file stays until cleared.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _forget_older(folder: Path, key: str) -> None:
    """Remove what was spilled for earlier versions of the same file."""
    # The first half names the file, the second its size and time (`table_cache.cache_key`).
    place = key.split("-")[0]
    for old in folder.glob(f"{place}-*.arrow"):
        if old.stem != key:
            with contextlib.suppress(OSError):
                old.unlink()


def _unwritable(folder: Path, error: OSError) -> TableError:
    return TableError(
        f"a table too large for memory is kept as a file in {folder}, which cannot be written "
        f"({error}). Free some space, or name another folder: PLAIT_CACHE=/path plait ..."
    )
