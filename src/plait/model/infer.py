"""Metrics on a table, and the same metrics for each stream alone and for each stream missing."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from plait.answers.evaluation import ALL
from plait.data.store import PreparedColumn
from plait.model.loader import collate, row_bytes
from plait.model.model import Model

BATCH = 64
"""Rows a step: as many as in training by default, so that answering needs no more memory than that."""


@torch.no_grad()
def infer(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: np.ndarray,
    *,
    shown: Mapping[str, Sequence[str] | None] | None = None,
    device: torch.device | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of some rows, for each subset of streams; encoders run once.

    Returns:
        subset → target → scores ``[rows, outputs]``.
    """
    shown = {ALL: None} if shown is None else shown
    found: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in shown}
    # Rows of like length travel together, to spare padding.
    lengths = row_bytes(columns)
    order = None if lengths is None else np.argsort(lengths[rows], kind="stable")
    visited = rows if order is None else rows[order]
    for name, target, scores in _scores(model, columns, visited, shown, device):
        found[name].setdefault(target, []).append(scores.float().cpu().numpy())
    return {
        name: {target: _in_order(np.concatenate(parts), order) for target, parts in targets.items()}
        for name, targets in found.items()
    }


def _in_order(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Undo a permutation of rows."""
    if order is None:
        return values
    restored = np.empty_like(values)
    restored[order] = values
    return restored


def _scores(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: np.ndarray,
    shown: Mapping[str, Sequence[str] | None],
    device: torch.device | None,
) -> Iterator[tuple[str, str, Tensor]]:
    if model.training:  # walking all modules costs as much as a small encoder
        model.eval()
    for start in range(0, max(1, len(rows)), BATCH):  # no rows make one empty batch
        batch = collate(columns, rows[start : start + BATCH])
        if device is not None:
            batch = {
                name: type(column)(column.values.to(device), column.mask.to(device))
                for name, column in batch.items()
            }
        tokens = model.encode(batch)
        for name, keep in shown.items():
            logits = model.answer(model.fuse(tokens, keep))
            for (target, values), head in zip(logits.items(), model.heads, strict=True):
                yield name, target, head.scores(values)  # type: ignore[operator]
