"""Pretrained encoders that do not learn: run once a cell, between preparing and training.

A frozen encoder is preprocessing. Its tokens take the place of the column for everything that comes
after, so that training touches only fusion and heads; in use the same code
runs on the rows that are asked about. They are standardised first, so that half precision holds those of
any checkpoint.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from plait.data.features import PreparedTable
from plait.data.modalities.base import Problem, State
from plait.data.store import PreparedColumn, Store
from plait.data.token_store import Encoding, encoded_column
from plait.devices import cores, is_out_of_memory, torch_threads
from plait.display.progress import Reporter, Silent
from plait.model.align.streams import resample_tokens
from plait.model.augment import augment
from plait.model.encoders.pretrained import standardised
from plait.model.loader import collate
from plait.model.pretrained.base import Backbone
from plait.model.tokens import CELLS, ColumnBatch, Tokens, stack_batches

BATCH_CELLS = 32
"""Cells a step of a frozen encoder."""

_NOT_FINITE = "its pretrained encoder gave values that are not finite"


@dataclass(frozen=True)
class FrozenEncoder:
    """One column's frozen encoder.

    Attributes:
        modality, state: of the column.
        recipe: what tells its tokens from those of another encoder: the checkpoint's digest, the state.
        most: tokens of a cell at most; more are averaged with their neighbours.
        views: versions of each training cell, the first as it is, the others augmented.
        embedded: whether a bundle is to hold its weights.
    """

    backbone: Backbone
    modality: str
    state: State
    recipe: Mapping[str, Any]
    most: int
    views: int = 1
    embedded: bool = False


class Frozen:
    """The frozen encoders of a model, by column."""

    def __init__(self, encoders: Mapping[str, FrozenEncoder], *, keep_cells: bool = False) -> None:
        """``keep_cells``: keep the cells too, under a name of their own, for decoders to rebuild."""
        self.encoders = dict(encoders)
        self.keep_cells = keep_cells
        for encoder in self.encoders.values():
            # Before the first cell: folding changes tokens by rounding, and the store keeps them.
            encoder.backbone.settle()

    def encoder(self, column: str) -> FrozenEncoder | None:
        """The encoder that runs on a column before the model; None where there is none."""
        return self.encoders.get(column)

    def encode(
        self,
        prepared: PreparedTable,
        *,
        store: Store | None = None,
        reporter: Reporter | None = None,
        device: str = "cpu",
    ) -> PreparedTable:
        """The table with tokens for every column that has a frozen encoder.

        Args:
            store: keeps the tokens, and the augmented views; without one there are none of those.

        Raises:
            StoreError: the store cannot be written.
        """
        if not self.encoders:
            return prepared
        columns = dict(prepared.columns)
        for name, encoder in self.encoders.items():
            raw = columns[name]
            encoded = _encode(name, encoder, raw, store, reporter or Silent(), torch.device(device))
            columns[name] = encoded
            if self.keep_cells:
                columns[name + CELLS] = raw
            prepared.quarantine.add(name, _lost(raw, encoded))
        return replace(prepared, columns=columns)


def _encode(
    name: str,
    encoder: FrozenEncoder,
    raw: PreparedColumn,
    store: Store | None,
    reporter: Reporter,
    device: torch.device,
) -> PreparedColumn:
    backbone = encoder.backbone.to(device)
    # Tokens are made per distinct cell; the rows' index is put back by the store.
    cells = replace(raw, index=None)

    def tokens(numbers: np.ndarray, view: int) -> tuple[np.ndarray, np.ndarray]:
        return _tokens(backbone, encoder, cells, numbers, view, device)

    if store is None:
        return encoded_column(None, raw, Encoding(encoder.recipe, tokens, backbone.hidden))
    with reporter.stage(f"encode {name}", len(raw.present), "cells") as stage:
        return encoded_column(
            store,
            raw,
            Encoding(encoder.recipe, tokens, backbone.hidden, encoder.views),
            advance=stage.advance,
            waiting=lambda: reporter.note(f"another process is encoding {name}; waiting for it"),
        )


def _tokens(
    backbone: Backbone,
    encoder: FrozenEncoder,
    cells: PreparedColumn,
    numbers: np.ndarray,
    view: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of some cells, in their order, and how many each has."""
    there = numbers[cells.present[numbers]]
    if cells.lengths is not None:  # those of like length together, to spare padding
        there = there[np.argsort(cells.lengths[there], kind="stable")]
    groups = [there[start : start + BATCH_CELLS] for start in range(0, len(there), BATCH_CELLS)]
    batches = (_batch(encoder, cells, group, view) for group in groups)
    counts = np.zeros(len(numbers), np.int64)
    parts: dict[int, np.ndarray] = {}
    for group, tokens in zip(groups, _run(backbone, batches, len(groups), device), strict=True):
        values, mask = capped(tokens, encoder.most)
        half = standardised(values.float()).to(torch.float16).cpu().numpy()
        for row, (number, real) in enumerate(zip(group, mask.cpu().numpy(), strict=True)):
            own = half[row, real]
            # One bad cell loses its own tokens only, and is reported by `_lost`.
            if np.isfinite(own).all():
                parts[int(number)] = own
                counts[number - numbers[0]] = len(own)
    ordered = [parts[number] for number in numbers.tolist() if number in parts]
    nothing = np.zeros((0, backbone.hidden), np.float16)
    return np.concatenate([nothing, *ordered]), counts


def _run(
    backbone: Backbone, batches: Iterable[ColumnBatch], count: int, device: torch.device
) -> Iterator[Tokens]:
    """The tokens of each batch, in order.

    On a processor every core takes a batch of its own, with one thread: batches never wait for each
    other, and come out the same on a busy machine as on an idle one.
    """

    @torch.no_grad()
    def run(batch: ColumnBatch) -> Tokens:
        return _in_halves(backbone, ColumnBatch(*(part.to(device) for part in batch)))

    # A GPU runs one batch after another anyway; one batch alone has nothing to share out.
    if device.type != "cpu" or count < 2:
        yield from map(run, batches)
        return
    # A new thread would start with as many threads of its own as there are cores.
    single = partial(torch.set_num_threads, 1)
    with torch_threads(1), ThreadPoolExecutor(cores(), initializer=single) as pool:
        yield from pool.map(run, batches)


def _in_halves(backbone: Backbone, batch: ColumnBatch) -> Tokens:
    """The tokens of a batch, from half of it at a time where memory runs out."""
    try:
        return backbone(batch)
    except (MemoryError, RuntimeError) as error:
        rows = len(batch.mask)
        if rows == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler: the exception would keep the failed batch's memory.
    parts = [
        _in_halves(backbone, ColumnBatch(batch.values[half], batch.mask[half]))
        for half in (slice(rows // 2), slice(rows // 2, None))
    ]
    return stack_batches(parts)


def _batch(
    encoder: FrozenEncoder, cells: PreparedColumn, numbers: np.ndarray, view: int
) -> ColumnBatch:
    """Some cells; for a view other than the first, augmented by a seed of their own."""
    batch = collate({"": cells}, numbers)
    if view:
        # The fit's own draws must not depend on whether the store already had the tokens.
        with torch.random.fork_rng(devices=[]):
            # By view and first cell, not by the order of batches: a run that was killed goes on with the
            # same augmentation. The prime keeps two views of neighbouring cells from sharing a seed.
            torch.manual_seed(1_000_003 * view + int(numbers[0]))
            batch = augment(batch, modalities={"": encoder.modality}, states={"": encoder.state})
    return batch[""]


def capped(tokens: Tokens, most: int) -> Tokens:
    """At most ``most`` tokens a sample; of longer ones neighbours are averaged."""
    counts = tokens.mask.sum(dim=1)
    if tokens.mask.shape[1] <= most or int(counts.max()) <= most:
        return tokens
    short = resample_tokens(tokens, most)
    long = (counts > most)[:, None]
    # Real tokens stand first in those that are short enough; they are kept as they are.
    mask = torch.where(long, short.mask, tokens.mask[:, :most])
    values = torch.where(long.unsqueeze(-1), short.values, tokens.values[:, :most])
    return Tokens(values, mask)


def _lost(raw: PreparedColumn, encoded: PreparedColumn) -> list[Problem]:
    """Rows whose cell was readable and whose tokens were not finite."""
    rows = np.flatnonzero(raw.rows_present & ~encoded.rows_present)
    return [Problem(row, _NOT_FINITE) for row in rows.tolist()]
