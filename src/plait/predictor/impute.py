"""Imputation: what a missing cell would hold, told from the other cells of its row."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from plait.answers.answerer import Met, PreparedBatch
from plait.data.features import Features
from plait.data.modalities import registry
from plait.data.table.source import open_table
from plait.display.progress import Reporter
from plait.errors import ConfigError
from plait.insight.fitted import Fitted
from plait.model.decoders.base import Decoder
from plait.model.infer import BATCH, fused_vectors
from plait.model.tokens import Fused
from plait.predictor.filled_table import Filled


def impute(
    fitted: Fitted,
    source: Any,
    *,
    root: Path | str | None = None,
    reporter: Reporter | None = None,
) -> Filled:
    """`plait.Predictor.impute`, which says what it takes and gives."""
    if not fitted.model.rebuilt:
        raise ConfigError(
            [
                "impute: this model has no decoders, so it cannot fill missing cells. Fit it with "
                "pretrain='masked' or 'reconstruct' (--pretrain masked), or with reconstruct=0.1 "
                "(--set reconstruct=0.1)."
            ]
        )
    table, met = open_table(source, root=root, empty=True), Met()
    columns = {name: table.cells(name) for name in table.columns}
    columns |= {name: [None] * table.rows for name in fitted.model.rebuilt if name not in columns}
    filled = Filled(
        columns=columns,
        filled={name: np.zeros(table.rows, bool) for name in fitted.model.rebuilt},
        modalities=dict(fitted.features.modalities),
        rates=_rates(fitted.features),
        quarantine=met.quarantine,
        absent=met.absent,
    )
    spellings = {
        name: registry.get(fitted.features.modalities[name]).spelling(columns[name])
        for name in fitted.model.rebuilt
    }
    with fitted.threads():
        for batch in fitted.batches(table, reporter=reporter):
            _fill(fitted, batch, filled)
            met.note(batch)
    for name, spelling in spellings.items():
        cells = filled.columns[name]
        for row in np.flatnonzero(filled.filled[name]).tolist() if spelling else []:
            cells[row] = spelling.get(cells[row], cells[row])
    return filled


def _rates(features: Features) -> dict[str, int]:
    """Samples a second of sounds, and frames a second of videos as long as they usually are."""
    rates = {
        name: registry.get(modality).rate(features.states[name])
        for name, modality in features.modalities.items()
    }
    return {name: rate for name, rate in rates.items() if rate is not None}


def _fill(fitted: Fitted, batch: PreparedBatch, filled: Filled) -> None:
    """Fill the missing cells of a run of rows."""
    start, rows, prepared = batch
    vectors = torch.from_numpy(fused_vectors(fitted.model, prepared.columns, np.arange(rows)))
    for name, decoder in zip(fitted.model.rebuilt, fitted.model.decoders, strict=True):
        missing = np.flatnonzero(~prepared.columns[name].rows_present)
        for first in range(0, len(missing), BATCH):
            chunk = missing[first : first + BATCH]
            for row, cell in zip(
                chunk.tolist(), _rebuilt(fitted, name, decoder, vectors, chunk), strict=True
            ):
                filled.columns[name][start + row] = cell
                filled.filled[name][start + row] = cell is not None


@torch.no_grad()
def _rebuilt(
    fitted: Fitted,
    name: str,
    decoder: torch.nn.Module,
    vectors: Float[Tensor, "rows width"],
    rows: Int64[np.ndarray, " some"],
) -> list[Any]:
    assert isinstance(decoder, Decoder)
    output = decoder(Fused(vectors[torch.from_numpy(rows)]))
    state = fitted.features.states[name]
    return registry.get(fitted.features.modalities[name]).restore(decoder.cell(output), state)
