"""Prepared columns on disk: addressed by content, memory-mapped, decoded once.

An entry's name is a hash of the modality, its state, the caps, and the fingerprint of every cell; so a
changed file, a changed option or a new row is a new entry, and an old one is never wrong. Equal cells
are decoded and stored once. An entry is written under another name and renamed when it is whole, so
several processes may use one store, and a half-written one is never read.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from plait.data import cache
from plait.data.modalities.base import Modality, Prepared, Problem, Settings, State, is_missing
from plait.errors import StoreError, error_line

FORMAT = 1
"""Part of every entry's name: raised when what is written changes, so that old entries are not read."""

CHUNK_CELLS = 512
"""Cells prepared at a time; memory in use is about this many decoded cells."""

Cells = Callable[[np.ndarray], list[object]]
"""Gives the cells of the row numbers passed."""

Advance = Callable[[int], None]
"""Told how many more rows are done."""


@dataclass(frozen=True)
class PreparedColumn:
    """One column ready for batching.

    Attributes:
        values: ``[cells, ...]``, or all steps of all cells one after the other when ``offsets`` is set.
        offsets: where each cell's steps begin, ``[cells + 1]``; None when cells have one shape.
        present: which cells hold something.
        index: the cell each row shows, ``[rows]``; None when rows are cells.
        problems: the unreadable rows, with reasons.
        entry: the name of the store's entry that it was read from; empty for one in memory.
        views: how many versions there are of each cell, one after the other; ``present`` and ``offsets``
            have so many entries a cell, ``index`` counts cells. The first version is the cell itself.
        shortened: cells that were cut, where that was counted.
    """

    values: Shaped[np.ndarray, "..."]
    offsets: Int64[np.ndarray, " cells_1"] | None
    present: Bool[np.ndarray, " cells"]
    index: Int64[np.ndarray, " rows"] | None = None
    problems: list[Problem] = field(default_factory=list)
    entry: str = ""
    views: int = 1
    shortened: int = 0

    @classmethod
    def from_prepared(cls, prepared: Prepared) -> "PreparedColumn":
        """Wrap what a modality prepared in memory."""
        offsets = None
        if prepared.lengths is not None:
            offsets = np.concatenate([[0], np.cumsum(prepared.lengths)]).astype(np.int64)
        return cls(
            prepared.values,
            offsets,
            prepared.present,
            problems=prepared.problems,
            shortened=prepared.shortened,
        )

    def __len__(self) -> int:
        return len(self.present) // self.views if self.index is None else len(self.index)

    @property
    def rows_present(self) -> Bool[np.ndarray, " rows"]:
        """Which rows hold something."""
        present = self.present[:: self.views]
        return present if self.index is None else present[self.index]

    @property
    def lengths(self) -> Int64[np.ndarray, " rows"] | None:
        """Steps of each row's first version; None when all cells have one shape."""
        if self.offsets is None:
            return None
        lengths = np.diff(self.offsets)[:: self.views]
        return lengths if self.index is None else lengths[self.index]

    def batch(
        self,
        rows: Int64[np.ndarray, " batch"],
        view: Int64[np.ndarray, " batch"] | None = None,
    ) -> tuple[Shaped[np.ndarray, "batch ..."], Bool[np.ndarray, "batch *steps"]]:
        """Values and mask of some rows; ragged cells are padded with zeros to the longest.

        Args:
            view: which version of each row's cell; None: the first.
        """
        cells = rows if self.index is None else self.index[rows]
        if self.views > 1:
            cells = cells * self.views + (0 if view is None else view)
        present = self.present[cells]
        if self.offsets is None:
            return np.asarray(self.values[cells]), present
        starts = self.offsets[cells]
        lengths = self.offsets[cells + 1] - starts
        steps = np.arange(max(1, int(lengths.max(initial=0))))
        mask = steps < lengths[:, None]
        # Indexing place 0 of an array without steps would fail, even where the mask hides it.
        if not len(self.values):
            return np.zeros((*mask.shape, *self.values.shape[1:]), self.values.dtype), mask
        # Padding reads step 0, which is then zeroed: one gather, and no index past the end.
        values = self.values[np.where(mask, starts[:, None] + steps, 0)]
        values[~mask] = 0
        return values, mask


class Store:
    """The folder of prepared columns."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache.cache_folder()) / "store"

    def prepare(
        self,
        modality: Modality,
        cells: Cells,
        rows: int,
        state: State,
        settings: Settings,
        advance: Advance | None = None,
    ) -> PreparedColumn:
        """The prepared column, read from the store or made now.

        Args:
            cells: gives the cells of row numbers.
            rows: how many rows there are.
            advance: called with the rows that have been prepared since the last call.

        Raises:
            StoreError: the store cannot be written, for instance because the disk is full.
        """
        first, index, content = _distinct(cells, rows, settings)
        path = self.folder / _key(modality, state, settings, content)
        column = read_entry(path, index)
        if column is None:
            try:
                self._write(
                    path,
                    lambda places: modality.prepare(cells(first[places]), state, settings),
                    np.bincount(index, minlength=len(first)),
                    advance,
                )
            except OSError as error:
                raise cannot_write(self.folder, error) from error
            column = read_entry(path, index)
        elif advance:
            advance(rows)
        if column is None:
            raise StoreError(f"the store at {self.folder} lost an entry while it was being read.")
        return column

    def _write(
        self,
        path: Path,
        prepare: Callable[[slice], Prepared],
        weight: Int64[np.ndarray, " cells"],
        advance: Advance | None,
    ) -> None:
        """Prepare the distinct cells chunk by chunk into a hidden folder, then rename it.

        Args:
            prepare: some of the distinct cells, prepared.
            weight: in how many rows each of them stands.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        # In the same folder as the entry: a rename is atomic within one file system only.
        draft = self.folder / f".{path.name}.{uuid4().hex}"
        draft.mkdir()
        try:
            with (draft / "values.bin").open("wb") as file:
                meta = _write_values(
                    file,
                    (
                        (start, prepare(slice(start, start + CHUNK_CELLS)))
                        for start in range(0, len(weight), CHUNK_CELLS)
                    ),
                    lambda start, end: advance(int(weight[start:end].sum())) if advance else None,
                )
            for name in ("present", "offsets"):
                np.save(draft / f"{name}.npy", meta.pop(name), allow_pickle=False)
            (draft / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
            try:
                draft.rename(path)
            except OSError:
                if not path.is_dir():  # else another process was quicker, with the same arrays
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        # After the rename, so that the newest entry counts.
        cache.trim(self.folder.parent)

    def _sweep(self) -> None:
        """Remove drafts that a killed process left more than a day ago; resumable ones get a week."""
        for draft in self.folder.glob(".*"):
            days = 7 if draft.name.startswith(".tokens-") else 1
            try:
                if time.time() - draft.stat().st_mtime > 86_400 * days:
                    shutil.rmtree(draft, ignore_errors=True)
            except FileNotFoundError:
                continue


def _distinct(cells: Cells, rows: int, settings: Settings) -> tuple[np.ndarray, np.ndarray, bytes]:
    """The first row of each distinct cell, each row's distinct cell, and a hash of all the content."""
    seen: dict[bytes, int] = {}
    prints: dict[str, bytes] = {}
    first: list[int] = []
    index = np.empty(rows, np.int64)
    whole = hashlib.blake2b(digest_size=20)
    for start in range(0, rows, 4096):
        for row, cell in enumerate(cells(np.arange(start, min(start + 4096, rows))), start):
            if isinstance(cell, str):
                # Paths repeat in long tables, and each fingerprint costs a stat.
                print_ = prints.get(cell)
                if print_ is None:
                    print_ = prints[cell] = _fingerprint(cell, settings)
            else:
                print_ = _fingerprint(cell, settings)
            number = seen.setdefault(print_, len(first))
            if number == len(first):
                first.append(row)
                whole.update(print_)
            index[row] = number
    whole.update(index.tobytes())
    return np.array(first, np.int64), index, whole.digest()


def _fingerprint(cell: object, settings: Settings) -> bytes:
    return b"missing" if is_missing(cell) else settings.media.fingerprint(cell)


def _key(modality: Modality, state: State, settings: Settings, content: bytes) -> str:
    """The entry's name: everything that could change the arrays."""
    recipe = json.dumps(
        # The caps decide which cells are unreadable, so they are part of the name as well.
        [FORMAT, modality.name, modality.version, state, asdict(settings.media.limits)],
        sort_keys=True,
    )
    return (
        f"{modality.name}-{hashlib.blake2b(recipe.encode() + content, digest_size=20).hexdigest()}"
    )


def _write_values(
    file: BinaryIO,
    chunks: Iterator[tuple[int, Prepared]],
    done: Callable[[int, int], None],
) -> dict[str, Any]:
    """Append each chunk's values to the file; returns what `read_entry` needs to map it back."""
    present, lengths, problems = [], [], []
    shape: tuple[int, ...] = ()
    dtype, ragged, total = "float32", False, 0
    for start, part in chunks:
        file.write(np.ascontiguousarray(part.values).tobytes())
        shape, dtype, ragged = (
            part.values.shape[1:],
            part.values.dtype.str,
            part.lengths is not None,
        )
        total += len(part.values)
        present.append(part.present)
        lengths.append(part.lengths if part.lengths is not None else np.zeros(0, np.int64))
        problems += [[start + problem.row, problem.reason] for problem in part.problems]
        done(start, start + len(part.present))
    file.flush()
    # Else a power cut after the rename could leave a whole entry with empty values.
    os.fsync(file.fileno())
    offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
    return {
        "shape": [total, *shape],
        "dtype": dtype,
        "ragged": ragged,
        "problems": problems,
        "present": np.concatenate([np.zeros(0, bool), *present]),
        "offsets": offsets,
    }


def read_entry(path: Path, index: np.ndarray | None) -> PreparedColumn | None:
    """Map an entry; None when it is absent or was damaged, and then it is removed.

    Args:
        index: the cell each row shows; None when rows are cells.
    """
    if not path.is_dir():
        return None
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        shape = tuple(meta["shape"])
        # An empty file cannot be memory-mapped.
        if 0 in shape:
            values = np.zeros(shape, np.dtype(meta["dtype"]))
        else:
            values = np.memmap(path / "values.bin", np.dtype(meta["dtype"]), "r", shape=shape)
        present = np.load(path / "present.npy", allow_pickle=False)
        offsets = np.load(path / "offsets.npy", allow_pickle=False) if meta["ragged"] else None
        reasons = dict(meta["problems"])
    except (ValueError, KeyError, TypeError, OSError, EOFError):
        shutil.rmtree(path, ignore_errors=True)
        return None
    cache.touch(path)
    if index is None:
        index = np.arange(len(present))
    rows: np.ndarray = np.flatnonzero(np.isin(index, list(reasons)))
    problems = [Problem(int(row), reasons[int(index[row])]) for row in rows]
    # Without an index a batch spares one gather.
    same = len(index) == len(present) and bool((index == np.arange(len(index))).all())
    return PreparedColumn(
        values, offsets, present, None if same else index, problems, entry=path.name
    )


def cannot_write(folder: Path, error: OSError) -> StoreError:
    """Why the store cannot be written, and what can be done."""
    return StoreError(
        f"the store at {folder} cannot be written: {error_line(error)}. Free some space there, "
        "clear it with `plait cache --clear`, or name another folder in PLAIT_CACHE."
    )
