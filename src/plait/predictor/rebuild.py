"""How well the decoders rebuild held-out cells: seen, hidden, and against saying what is usual."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.infer import BATCH
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import ColumnBatch, Tokens, cells_in

SEEN, HIDDEN, USUAL = "seen", "hidden", "usual"


@torch.no_grad()
def measure_rebuilt(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    modalities: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Each column's figures over the rows that hold a cell.

    ``seen``: every cell goes in. ``hidden``: this column's cell is hidden, so it is told from the
    others, as in imputation. ``usual``: what saying the usual would give; not for text.

    Returns:
        column → ``modality``, ``rows``, and the mean figures of the three, by name.
    """
    model.eval()
    sums: dict[str, dict[str, dict[str, float]]] = {
        name: {SEEN: {}, HIDDEN: {}, USUAL: {}} for name in model.rebuilt
    }
    counts = dict.fromkeys(model.rebuilt, 0)
    for start in range(0, len(rows), BATCH):
        batch = collate(columns, rows[start : start + BATCH])
        tokens = model.encode(batch)
        fused = model.fuse(tokens)
        for name, decoder in zip(model.rebuilt, model.decoders, strict=True):
            column = cells_in(batch, name)
            counts[name] += int(column.present.sum())
            seen = decoder(fused)
            outputs = {
                SEEN: seen,
                HIDDEN: decoder(model.fuse(_without(model, tokens, batch, name))),
                USUAL: decoder.usual(seen),  # type: ignore[operator]
            }
            for kind, output in outputs.items():
                if output is not None:
                    figures = decoder.figures(output, column)  # type: ignore[operator]
                    _add(sums[name][kind], figures, column)
    return {
        name: {"modality": modalities[name], "rows": counts[name]}
        | {
            kind: {figure: total / counts[name] for figure, total in totals.items()}
            for kind, totals in kinds.items()
        }
        for name, kinds in sums.items()
        if counts[name]
    }


def _add(sums: dict[str, float], figures: Mapping[str, Tensor], column: ColumnBatch) -> None:
    """Add up the figures of the rows that hold a cell."""
    for figure, values in figures.items():
        sums[figure] = sums.get(figure, 0.0) + float(values[column.present].double().sum())


def _without(
    model: Model, tokens: dict[str, Tokens], batch: Mapping[str, ColumnBatch], hidden: str
) -> dict[str, Tokens]:
    """The tokens as they would be without one column."""
    empty = ColumnBatch(
        torch.zeros_like(batch[hidden].values), torch.zeros_like(batch[hidden].mask)
    )
    seen = {**batch, hidden: empty}
    return {
        name: encoder(*(seen[column] for column in columns)) if hidden in columns else tokens[name]
        for (name, columns), encoder in zip(model.streams.items(), model.encoders, strict=True)
    }
