"""Imputation: what a missing cell would hold, told from the other cells of its row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from plait.config import Config
from plait.data.features import Features, PreparedTable
from plait.data.modalities import registry
from plait.data.modalities.base import Problem
from plait.data.table.quarantine import Quarantine
from plait.data.table.source import Table, open_table
from plait.devices import compute_threads, torch_threads
from plait.errors import ConfigError
from plait.model.decoders.base import Decoder
from plait.model.infer import BATCH
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import Fused
from plait.predictor.filled_table import Filled
from plait.progress import Reporter, Silent


@runtime_checkable
class _Fitted(Protocol):
    """What imputation needs of a `plait.predictor.predictor.Predictor`."""

    config: Config
    features: Features
    model: Model

    def _chunks(
        self, table: Table, reporter: Reporter
    ) -> Iterator[tuple[int, int, PreparedTable]]: ...


def impute(
    self: _Fitted,
    source: Any,
    *,
    root: Path | str | None = None,
    reporter: Reporter | None = None,
) -> Filled:
    """The table with its missing input cells filled from the other cells of their rows.

    Numbers, categories, dates and texts come as values, an image as ``uint8 [height, width,
    channels]``, a video as ``[frames, height, width, channels]`` without sound, a sound as ``float32
    [samples]`` through Griffin-Lim, a signal as an array. All have the prepared size and detail. A row
    without any cell gets what is usual, as far as training hid whole rows.

    Args:
        source: anything `plait.fit` takes; the target may be absent, and is never filled.
        root: the folder media paths are relative to; default: the table's own.

    Raises:
        ConfigError: the model was trained without decoders.
    """
    if not self.model.rebuilt:
        raise ConfigError(
            [
                "impute: this model has no decoders, so it cannot tell what a missing cell would hold. "
                "Fit it with pretrain='masked' or 'reconstruct' (--pretrain masked), or with "
                "reconstruct=0.1 (--set reconstruct=0.1)."
            ]
        )
    table = open_table(source, root=root, empty=True)
    columns = {name: table.cells(name) for name in table.columns}
    columns |= {name: [None] * table.rows for name in self.model.rebuilt if name not in columns}
    filled = Filled(
        columns=columns,
        filled={name: np.zeros(table.rows, bool) for name in self.model.rebuilt},
        modalities=dict(self.features.modalities),
        rates=_rates(self.features),
        quarantine=Quarantine(),
    )
    spellings = {
        name: registry.get(self.features.modalities[name]).spelling(columns[name])
        for name in self.model.rebuilt
    }
    with torch_threads(self.config.threads or compute_threads()):
        for start, rows, prepared in self._chunks(table, reporter or Silent()):
            vectors = _vectors(self.model, prepared, rows)
            _fill(self, prepared, vectors, filled, start)
            for entry in prepared.quarantine.entries:
                problem = Problem(entry.row, entry.reason)
                filled.quarantine.add(entry.column, [problem], offset=start)
            filled.absent[:] = prepared.absent
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


@torch.no_grad()
def _vectors(model: Model, prepared: PreparedTable, rows: int) -> Float[Tensor, "rows width"]:
    parts = [
        model.fuse(model.encode(collate(prepared.columns, part))).vector
        for part in np.array_split(np.arange(rows), max(1, -(-rows // BATCH)))
    ]
    return torch.cat(parts)


def _fill(
    fitted: _Fitted,
    prepared: PreparedTable,
    vectors: Float[Tensor, "rows width"],
    filled: Filled,
    start: int,
) -> None:
    """Fill the missing cells of a run of rows that begins at ``start``."""
    for name, decoder in zip(fitted.model.rebuilt, fitted.model.decoders, strict=True):
        missing = np.flatnonzero(~prepared.columns[name].rows_present)
        for first in range(0, len(missing), BATCH):
            some = missing[first : first + BATCH]
            for row, cell in zip(
                some.tolist(), _rebuilt(fitted, name, decoder, vectors, some), strict=True
            ):
                filled.columns[name][start + row] = cell
                filled.filled[name][start + row] = cell is not None


@torch.no_grad()
def _rebuilt(
    fitted: _Fitted,
    name: str,
    decoder: torch.nn.Module,
    vectors: Float[Tensor, "rows width"],
    rows: Int64[np.ndarray, " some"],
) -> list[Any]:
    assert isinstance(decoder, Decoder)
    output = decoder(Fused(vectors[torch.from_numpy(rows)]))
    state = fitted.features.states[name]
    return registry.get(fitted.features.modalities[name]).restore(decoder.cell(output), state)
