"""Rebuilding sequences of one or several numbers a step: 1-D convolutions from one vector."""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plait.data.modalities.base import Prepared
from plait.data.store import PreparedColumn
from plait.model.decoders.base import Decoder, State, ragged, sampled
from plait.model.tokens import ColumnBatch, Fused

GRID = 6
"""The coarsest sequence has at least so many steps, where the cells are that long."""

USUAL = 95
"""The percentile of the training cells' lengths that the decoder can write."""

LENGTH = 0.1
"""Weight of the length in the loss."""


class Steps(NamedTuple):
    """Standardised steps, and how much of them each cell fills, from 0 to 1."""

    values: Float[Tensor, "batch steps channels"]
    share: Float[Tensor, " batch"]


class _Grow(nn.Module):
    """Twice the steps: sub-pixel convolution (Shi et al. 2016) along time, group-normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, 2 * outputs, 5, padding=2)
        self.norm = nn.GroupNorm(1, outputs)

    def forward(self, values: Tensor) -> Tensor:
        pairs = self.conv(values).unflatten(1, (-1, 2))
        return functional.gelu(self.norm(pairs.transpose(2, 3).flatten(2)))


class StepsDecoder(Decoder):
    """One vector to ``[batch, steps, channels]`` and a length.

    ``loss = mean((y - (x - mean) / std)²) + 0.1 (share - length / steps)²``, the mean over the real
    steps. A longer cell than ``steps`` is compared in its beginning and counts as full.
    Cost: linear in the steps.
    """

    def __init__(
        self,
        *,
        width: int,
        channels: int,
        steps: int,
        base: int = 16,
        mean: float = 0.0,
        std: float = 1.0,
        share: float = 0.9,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.steps, self.mean, self.std, self.share = steps, mean, std, share
        doublings, length = 0, steps
        while (length + 1) // 2 >= GRID:
            doublings, length = doublings + 1, (length + 1) // 2
        wide = [min(4 * base, base * 2**n) for n in range(doublings, -1, -1)]
        self.grid = length
        self.start = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, wide[0] * length)
        )
        self.grow = nn.Sequential(*(_Grow(wide[n], wide[n + 1]) for n in range(doublings)))
        self.paint = nn.Conv1d(wide[-1], channels, 5, padding=2)
        self.length = nn.Linear(width, 1)
        nn.init.constant_(self.length.bias, math.log(share / (1 - share)))

    @classmethod
    def survey(cls, column: PreparedColumn, rows: np.ndarray) -> dict[str, float]:
        """How long the training cells are, and the mean and deviation of their numbers."""
        chosen = sampled(column, rows)
        values, mask = column.batch(chosen)
        real = values[mask].astype(np.float32)
        if not real.size:
            return {"steps": 1}
        lengths = mask.sum(axis=1)
        longest = max(1, int(np.ceil(np.percentile(lengths, USUAL))))
        share = float(np.minimum(lengths / longest, 1).mean())
        return {
            "steps": longest,
            "share": round(min(max(share, 0.05), 0.98), 6),
            "mean": round(float(real.mean()), 6),
            "std": round(max(float(real.std()), 1e-3), 6),
        }

    @classmethod
    def _sized(
        cls,
        channels: int,
        typical: Mapping[str, float],
        width: int,
        size: Mapping[str, int],
        dropout: float,
    ) -> "Decoder":
        numbers = {name: typical[name] for name in ("mean", "std", "share") if name in typical}
        return cls(
            width=width,
            channels=channels,
            steps=int(typical["steps"]),
            base=size["base"],
            dropout=dropout,
            **numbers,
        )

    def forward(self, fused: Fused) -> Steps:
        """Standardised steps and each cell's share of them."""
        values = self.start(fused.vector).unflatten(1, (-1, self.grid))
        values = self.paint(self.grow(values))[:, :, : self.steps]
        return Steps(values.transpose(1, 2), self.length(fused.vector).squeeze(1).sigmoid())

    def loss(self, output: Steps, column: ColumnBatch) -> Float[Tensor, " batch"]:
        """Squared error of the real steps, and of the length."""
        share = (column.mask.sum(dim=1) / self.steps).clamp(max=1.0)
        length = (output.share.float() - share).square()
        return (self._squared(output, column) + LENGTH * length) * column.present

    def cell(self, output: Steps) -> Prepared:
        """Ragged cells of at least one step each."""
        lengths = (output.share.detach().float() * self.steps).round().clamp(1, self.steps)
        return ragged(output.values.detach().float() * self.std + self.mean, lengths)

    def figures(self, output: Steps, column: ColumnBatch) -> dict[str, Float[Tensor, " batch"]]:
        """Mean squared error of the prepared numbers, and how many steps the length is off."""
        lengths = (output.share.float() * self.steps).round().clamp(1, self.steps)
        return {
            "mse": self._squared(output, column) * self.std**2,
            "steps_off": (lengths - column.mask.sum(dim=1)).abs(),
        }

    def usual(self, output: Steps) -> Steps:
        """The mean everywhere, at the mean length."""
        return Steps(torch.zeros_like(output.values), torch.full_like(output.share, self.share))

    def _squared(self, output: Steps, column: ColumnBatch) -> Float[Tensor, " batch"]:
        common = min(self.steps, column.values.shape[1])
        goal = (column.values[:, :common].to(torch.float32) - self.mean) / self.std
        real = column.mask[:, :common]
        error = (output.values[:, :common].float() - goal).square().mean(dim=2)
        return error.where(real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class SignalDecoder(StepsDecoder):
    """The numbers of every lead, a step at a time."""

    modality: ClassVar[str] = "signal"

    @classmethod
    def fitted(
        cls,
        state: State,
        typical: Mapping[str, float],
        *,
        width: int,
        size: Mapping[str, int],
        dropout: float,
    ) -> "Decoder":
        """As many channels as leads."""
        return cls._sized(int(state["leads"]), typical, width, size, dropout)
