"""Prepared columns to batches: one index a batch, no Python call a row."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.tokens import ColumnBatch

POOLED_BATCHES = 16
"""Batches whose rows are sorted by length together."""


class Batch(NamedTuple):
    """Rows that travel together: their numbers, their columns, their targets."""

    rows: Int64[np.ndarray, " batch"]
    columns: dict[str, ColumnBatch]
    targets: dict[str, Tensor]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        columns = {
            name: ColumnBatch(column.values.to(device), column.mask.to(device))
            for name, column in self.columns.items()
        }
        return Batch(self.rows, columns, {k: v.to(device) for k, v in self.targets.items()})

    def split(self, parts: int) -> "list[Batch]":
        """The batch in so many parts of like size, none of them empty."""
        if parts == 1:
            return [self]
        # An empty part would give a mean over nothing, which is NaN.
        cuts = np.array_split(np.arange(len(self.rows)), min(parts, len(self.rows)))
        return [self._part(cut) for cut in cuts]

    def _part(self, cut: np.ndarray) -> "Batch":
        rows = slice(int(cut[0]), int(cut[-1]) + 1)
        columns = {
            name: ColumnBatch(column.values[rows], column.mask[rows])
            for name, column in self.columns.items()
        }
        return Batch(self.rows[rows], columns, {k: v[rows] for k, v in self.targets.items()})


def collate(
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " batch"],
    generator: np.random.Generator | None = None,
) -> dict[str, ColumnBatch]:
    """The columns of some rows as tensors.

    Args:
        generator: draws a version of every cell that has several; None takes the first.
    """
    batch = {}
    for name, column in columns.items():
        view = None
        if generator is not None and column.views > 1:
            view = generator.integers(column.views, size=len(rows))
        values, mask = column.batch(rows, view)
        batch[name] = ColumnBatch(torch.from_numpy(values), torch.from_numpy(mask))
    return batch


class Loader:
    """Batches over some rows, shuffled anew each epoch by a seed, restartable at any batch.

    All batches of an epoch have the same size give or take one row, so none is left too small for
    batch statistics. Rows of like length travel together, to spare padding: each run of
    ``POOLED_BATCHES`` batches is sorted by length and its batches are shuffled.
    """

    def __init__(
        self,
        columns: Mapping[str, PreparedColumn],
        targets: Mapping[str, np.ndarray],
        rows: Int64[np.ndarray, " rows"],
        *,
        batch_size: int,
        seed: int | None,
    ) -> None:
        """``seed`` None keeps the rows in order."""
        self.columns = columns
        self.targets = targets
        self.rows = rows
        self.seed = seed
        self.batches = max(1, -(-len(rows) // batch_size))
        self.lengths = row_bytes(columns)

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch ``start`` on."""
        rows = self.rows
        if self.seed is not None:
            rows = self._shuffled(np.random.default_rng([self.seed, number]))
        for step, part in enumerate(np.array_split(rows, self.batches)[start:], start):
            targets = {
                name: torch.from_numpy(values[part]) for name, values in self.targets.items()
            }
            draw = None
            if self.seed is not None:  # by the step, so that a resumed epoch draws alike
                draw = np.random.default_rng([self.seed, number, step])
            yield Batch(part, collate(self.columns, part, draw), targets)

    def _shuffled(self, generator: np.random.Generator) -> Int64[np.ndarray, " rows"]:
        rows = generator.permutation(self.rows)
        if self.lengths is None:
            return rows
        parts = np.array_split(rows, self.batches)
        mixed: list[np.ndarray] = []
        for first in range(0, self.batches, POOLED_BATCHES):
            run = parts[first : first + POOLED_BATCHES]
            pool = np.concatenate(run)
            # Within a pool only: sorted as a whole, all epochs would have the same batches.
            ordered = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches = np.split(ordered, np.cumsum([len(part) for part in run])[:-1])
            # Sizes differ by one at most and must stay where they were.
            mixed += [batches[place] for place in generator.permutation(len(batches))]
        return np.concatenate(mixed)


def row_bytes(columns: Mapping[str, PreparedColumn]) -> Int64[np.ndarray, " rows"] | None:
    """The bytes each row has in ragged columns, or None when there is none of those."""
    total: np.ndarray | None = None
    for column in columns.values():
        lengths = column.lengths
        if lengths is None:
            continue
        size = column.values.itemsize * int(np.prod(column.values.shape[1:], dtype=np.int64))
        total = lengths * size + (0 if total is None else total)
    return total
