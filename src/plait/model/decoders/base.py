"""The contract of a decoder: the fused vector in, a column's prepared cells out."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.data.modalities.base import Prepared
from plait.data.store import PreparedColumn
from plait.model.tokens import ColumnBatch, Fused

State = dict[str, Any]
SURVEYED = 512
"""Training cells looked at to learn what is typical of a column."""


class Decoder(nn.Module):
    """Rebuilds one column's cells from the fused vector.

    Its loss is about 1 for a decoder that knows nothing but what is usual, whatever the modality, so
    that the losses of several columns can be added.
    """

    modality: ClassVar[str]

    @classmethod
    def survey(cls, column: PreparedColumn, rows: np.ndarray) -> dict[str, float]:
        """What is typical of the column's training cells and not in its state; saved in the bundle.

        Args:
            rows: the training rows.
        """
        return {}

    @classmethod
    @abstractmethod
    def fitted(
        cls,
        state: State,
        typical: Mapping[str, float],
        *,
        width: int,
        size: Mapping[str, int],
        dropout: float,
    ) -> "Decoder":
        """The decoder for a column.

        Args:
            state: the column's preprocessing.
            typical: what `survey` gave.
            width: numbers in the fused vector.
            size: the preset's, as for encoders: ``base`` channels, ``depth``.
        """

    @abstractmethod
    def forward(self, fused: Fused) -> Any:
        """What the decoder makes of each row; tensors, the batch first."""

    @abstractmethod
    def loss(self, output: Any, column: ColumnBatch) -> Float[Tensor, " batch"]:
        """How far the output is from the cells, a row; zero where the cell is missing."""

    @abstractmethod
    def cell(self, output: Any) -> Prepared:
        """The rebuilt cells, as ``prepare`` would give them; see `plait.data.modalities.restore`."""

    @abstractmethod
    def figures(self, output: Any, column: ColumnBatch) -> dict[str, Float[Tensor, " batch"]]:
        """How good the output is, by figures for people, a row; of no meaning where it is missing."""

    def usual(self, output: Any) -> Any:
        """What this output would be if it said only what is usual, to compare with; None: no such."""
        return torch.zeros_like(output)


def sampled(column: PreparedColumn, rows: np.ndarray) -> np.ndarray:
    """Up to `SURVEYED` of the rows that hold a cell, evenly spaced."""
    present = rows[column.rows_present[rows]]
    if len(present) <= SURVEYED:
        return present
    return present[np.linspace(0, len(present) - 1, SURVEYED).astype(np.int64)]


def whole(values: np.ndarray) -> Prepared:
    """Rebuilt cells of one shape, none of them missing."""
    return Prepared(values, None, np.ones(len(values), bool))


def ragged(values: Tensor, lengths: Tensor) -> Prepared:
    """Rebuilt cells that differ in length: the first so many steps of each.

    Args:
        values: ``[batch, steps, ...]``.
        lengths: ``[batch]``; a cell without any step counts as missing.
    """
    mask = torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)
    counts = mask.sum(dim=1).cpu().numpy().astype(np.int64)
    return Prepared(values[mask].cpu().numpy(), counts, counts > 0)
