"""Rows that repeat each other in every input: they must not lie on both sides of a split."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from plait.data.modalities.base import is_missing
from plait.data.table.base import Table

TELLING = 0.5
"""A column tells rows apart if it has at least this share of the different rows' number of values.

Rows of a few categories repeat each other by chance, and a model is meant to answer such rows again;
rows with the same measurement, text or file are one row written down twice.
"""

MIN_DISTINCT = 20
"""Fewer different rows than this are a handful of settings measured again, and groups of them cannot be
parted without taking a whole class to one side."""


def copy_groups(
    table: Table, inputs: Sequence[str], groups: Sequence[object] | None
) -> tuple[list[object] | None, int]:
    """Groups that also keep copies together, and how many rows are copies of an earlier one.

    Args:
        inputs: the columns that a model reads.
        groups: of every row, where the user named a group column; None: every row for itself.

    Returns:
        The groups of every row, those given if there are no copies; and the number of copies.
    """
    digests = [_digests(table, name) for name in inputs]
    rows = list(zip(*digests, strict=True))
    first: dict[tuple[bytes, ...], int] = {}
    owner = [first.setdefault(row, number) for number, row in enumerate(rows)]
    copies = len(rows) - len(first)
    telling = max((len(set(column)) for column in digests), default=0) >= TELLING * len(first)
    if not copies or not telling or len(first) < MIN_DISTINCT:
        return (None if groups is None else list(groups)), 0
    if groups is None:
        return list(owner), copies
    return _joined(owner, groups), copies


def _digests(table: Table, column: str) -> list[bytes]:
    """A short digest per cell: of the text, number or bytes that the table holds."""
    return [
        digest
        for cells in table.chunks(column, np.arange(table.rows))
        for digest in map(_digest, cells)
    ]


def _digest(cell: object) -> bytes:
    if is_missing(cell):
        return b""
    if isinstance(cell, bytes):
        return blake2b(cell, digest_size=16).digest()
    text = repr(cell.tolist()) if isinstance(cell, np.ndarray) else repr(cell)
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _joined(owner: Sequence[int], groups: Sequence[object]) -> list[object]:
    """Groups merged where copies tie them together, each named by its first row."""
    parent = list(range(len(owner)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    seen: dict[object, int] = {}
    for row, (original, group) in enumerate(zip(owner, groups, strict=True)):
        ties = [original] if is_missing(group) else [original, seen.setdefault(group, row)]
        for other in ties:
            low, high = sorted((root(row), root(other)))
            parent[high] = low
    return [root(row) for row in range(len(owner))]
