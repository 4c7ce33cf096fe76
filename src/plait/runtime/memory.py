"""Tokens of cells that come again: kept by content, the least recently used going first."""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

_Tokens = Float[np.ndarray, "tokens width"]


class Memory:
    """What encoders gave for the cells they saw last.

    The key of a cell is the digest of its prepared content, so that the same picture under two names is
    one. One lock guards it; an encoder runs outside it.

    Args:
        most: cells kept, of all encoders together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.hits = self.misses = 0
        self._kept: OrderedDict[bytes, tuple[_Tokens, Bool[np.ndarray, " tokens"]]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def encode(
        self, encoder: str, session: Any, feed: Mapping[str, np.ndarray]
    ) -> tuple[Float[np.ndarray, "batch tokens width"], Bool[np.ndarray, "batch tokens"]]:
        """Tokens and mask of a batch; only cells not kept, each once, go through the encoder.

        Args:
            feed: ``values_0``, ``mask_0`` and so on, as the session takes them.
        """
        keys = _keys(encoder, feed)
        with self._lock:
            # Taken out under the lock: another thread may evict them while the encoder runs.
            kept = {key: self._kept[key] for key in set(keys) & self._kept.keys()}
            for key in kept:
                self._kept.move_to_end(key)
        fresh = {key: row for row, key in enumerate(keys) if key not in kept}
        self.hits += len(keys) - len(fresh)
        self.misses += len(fresh)
        if fresh:
            rows = list(fresh.values())
            fed = {name: part[rows] for name, part in feed.items()}
            values, mask = session.run(["tokens", "mask"], fed)
            for key, tokens, real in zip(fresh, values, mask, strict=True):
                last = int(np.flatnonzero(real).max(initial=-1)) + 1
                # A view would keep the whole batch in memory for one cell.
                kept[key] = tokens[:last].copy(), real[:last].copy()
            self._keep({key: kept[key] for key in fresh})
        return _joined([kept[key] for key in keys])

    def _keep(self, cells: Mapping[bytes, tuple[np.ndarray, np.ndarray]]) -> None:
        with self._lock:
            self._kept.update(cells)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)


def _keys(encoder: str, feed: Mapping[str, np.ndarray]) -> list[bytes]:
    """A digest of each row's cells, without what pads them."""
    rows = len(next(iter(feed.values())))
    digests = [blake2b(encoder.encode(), digest_size=16) for _ in range(rows)]
    for column in range(len(feed) // 2):
        values, mask = feed[f"values_{column}"], feed[f"mask_{column}"]
        for row, digest in enumerate(digests):
            real = mask[row]
            cell = values[row] if real.ndim == 0 else values[row][: real.size - _spare(real)]
            held = real if real.ndim == 0 else real[: len(cell)]
            # The shape belongs to the key: arrays of the same bytes may differ in it.
            digest.update(f"{cell.shape} ".encode() + held.tobytes())
            digest.update(cell.tobytes())
    return [digest.digest() for digest in digests]


def _spare(real: Bool[np.ndarray, " steps"]) -> int:
    """Steps behind the last real one."""
    return int(real.size - 1 - np.flatnonzero(real).max(initial=-1))


def _joined(
    cells: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[Float[np.ndarray, "batch tokens width"], Bool[np.ndarray, "batch tokens"]]:
    """Tokens of many lengths as one batch."""
    longest = max(1, *(len(real) for _, real in cells))
    values = np.zeros((len(cells), longest, cells[0][0].shape[1]), np.float32)
    mask = np.zeros((len(cells), longest), bool)
    for row, (tokens, real) in enumerate(cells):
        values[row, : len(real)], mask[row, : len(real)] = tokens, real
    return values, mask
