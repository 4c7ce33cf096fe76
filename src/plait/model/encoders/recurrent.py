"""Recurrent encoders over any sequence: audio frames, signal samples, subword ids."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.encoders.base import Encoder
from plait.model.encoders.normalise import standardise_steps
from plait.model.tokens import ColumnBatch, Tokens


class Recurrent(Encoder):
    """A bidirectional LSTM or GRU, with its states as tokens.

    Each direction is its own network and the backward one reads the cell reversed *within its length*,
    so padding never enters, without packing (which cannot be exported).

    Args:
        inputs: numbers a step, or the vocabulary's size when ``ids`` is True.
        ids: the steps are integers to look up in a learned table.
        stride: steps joined into one before the recurrence, to shorten long sequences.
        normalise: standardise each cell's channels over time first (for spectra).
    """

    def __init__(
        self,
        *,
        inputs: int,
        width: int,
        kind: Literal["lstm", "gru"],
        ids: bool = False,
        stride: int = 1,
        normalise: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.stride = stride
        self.normalise = normalise
        self.table = nn.Embedding(inputs, width) if ids else None
        features = width if ids else inputs
        half = width // 2
        network = nn.LSTM if kind == "lstm" else nn.GRU
        self.forwards = network(features * stride, half, batch_first=True)
        self.backwards = network(features * stride, half, batch_first=True)
        self.project = nn.Sequential(nn.Linear(2 * half, width), nn.LayerNorm(width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps]`` ids or ``[batch, steps, inputs]`` numbers."""
        (column,) = columns
        mask = column.mask
        values = column.values if self.table is None else self.table(column.values.long())
        values = values.to(torch.float32) * mask.unsqueeze(-1)
        if self.normalise:
            values = standardise_steps(values, mask)
        values, mask = join_steps(values, mask, self.stride)
        onward, _ = self.forwards(values)
        back, _ = self.backwards(reverse_within(values, mask))
        states = torch.cat([onward, reverse_within(back, mask)], dim=-1)
        return Tokens(self.dropout(self.project(states)), mask)


def join_steps(
    values: Float[Tensor, "batch steps features"], mask: Bool[Tensor, "batch steps"], stride: int
) -> tuple[Tensor, Tensor]:
    """Stack ``stride`` neighbouring steps into one; the last is filled up with zeros."""
    if stride == 1:
        return values, mask
    extra = -values.shape[1] % stride
    values = nn.functional.pad(values, (0, 0, 0, extra))
    mask = nn.functional.pad(mask, (0, extra))
    return values.unflatten(1, (-1, stride)).flatten(2), mask.unflatten(1, (-1, stride)).any(dim=2)


def reverse_within(
    values: Float[Tensor, "batch steps features"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps features"]:
    """Reverse each row's real steps and leave the padding where it is."""
    steps = torch.arange(values.shape[1], device=values.device)
    lengths = mask.sum(dim=1, keepdim=True)
    order = torch.where(steps < lengths, lengths - 1 - steps, steps.expand_as(mask))
    return values.gather(1, order.unsqueeze(-1).expand_as(values))
