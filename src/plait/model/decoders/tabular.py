"""Rebuilding numbers, categories and dates: one linear map each."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plait.data.modalities.base import Prepared
from plait.model.decoders.base import Decoder, State, whole
from plait.model.tokens import ColumnBatch, Fused

SECONDS_A_DAY = 86400.0


class _Linear(Decoder):
    """A perceptron with one hidden layer: the fused vector mixes all columns, this picks one out."""

    def __init__(self, *, width: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, outputs),
        )

    def forward(self, fused: Fused) -> Float[Tensor, "batch outputs"]:
        """The standardised numbers, or the categories' logits."""
        return self.project(fused.vector)


class NumberDecoder(_Linear):
    """One number: Huber's loss (1964) with delta 1 on the standardised value."""

    modality: ClassVar[str] = "numeric"

    def __init__(self, *, width: int, dropout: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(width=width, outputs=1, dropout=dropout)
        self.scale = scale

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
        """Its figures are in the column's own unit."""
        return cls(width=width, dropout=dropout, scale=float(state["scale"]))

    def loss(
        self, output: Float[Tensor, "batch 1"], column: ColumnBatch
    ) -> Float[Tensor, " batch"]:
        """Huber's loss, twice, so that it starts at about 1."""
        each = functional.huber_loss(output.float(), column.values, reduction="none")
        return 2 * each.squeeze(1) * column.present

    def cell(self, output: Float[Tensor, "batch 1"]) -> Prepared:
        """``float32 [batch, 1]``."""
        return whole(output.detach().float().cpu().numpy())

    def figures(
        self, output: Float[Tensor, "batch 1"], column: ColumnBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """The absolute error in the column's own unit; what is usual is the median."""
        return {"mae": (output.float() - column.values).abs().squeeze(1) * self.scale}


class CategoryDecoder(_Linear):
    """One category of those the training cells held: softmax cross-entropy.

    A category that training did not see cannot be rebuilt: it teaches nothing, and counts as wrong.
    """

    modality: ClassVar[str] = "categorical"

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
        """An output a category; one even where the column is empty."""
        return cls(width=width, outputs=max(1, len(state["values"])), dropout=dropout)

    def loss(
        self, output: Float[Tensor, "batch outputs"], column: ColumnBatch
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy as a share of that of a uniform guess."""
        goal = torch.where(column.present, column.values, 0) - 1  # index 0 is the unseen one
        each = functional.cross_entropy(output.float(), goal, ignore_index=-1, reduction="none")
        return each / math.log(max(2, output.shape[1]))

    def cell(self, output: Float[Tensor, "batch outputs"]) -> Prepared:
        """``int64 [batch]``, 1 for the commonest category."""
        return whole((output.detach().argmax(dim=1) + 1).cpu().numpy())

    def figures(
        self, output: Float[Tensor, "batch outputs"], column: ColumnBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """The share told right; what is usual is the commonest category."""
        return {"accuracy": (output.argmax(dim=1) + 1 == column.values).float()}


class MomentDecoder(_Linear):
    """A date as its features: the position in time, and where in the year, month, week and day it falls.

    Twice the mean Huber loss over the features. `plait.data.modalities.restore` takes the day whose
    features lie nearest.
    """

    modality: ClassVar[str] = "datetime"

    def __init__(
        self, *, width: int, outputs: int, dropout: float = 0.0, days: float = 1.0
    ) -> None:
        super().__init__(width=width, outputs=outputs, dropout=dropout)
        self.days = days

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
        """Seven features, or nine where there are times of the day."""
        features = 9 if state["times"] else 7
        days = float(state["std"]) / SECONDS_A_DAY
        return cls(width=width, outputs=features, dropout=dropout, days=days)

    def loss(
        self, output: Float[Tensor, "batch features"], column: ColumnBatch
    ) -> Float[Tensor, " batch"]:
        """Huber's loss over the features."""
        each = functional.huber_loss(output.float(), column.values, reduction="none")
        return 2 * each.mean(dim=1) * column.present

    def cell(self, output: Float[Tensor, "batch features"]) -> Prepared:
        """``float32 [batch, features]``."""
        return whole(output.detach().float().cpu().numpy())

    def figures(
        self, output: Float[Tensor, "batch features"], column: ColumnBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """How many days the position in time is off; what is usual is the middle of the dates."""
        return {"days_off": (output[:, 0].float() - column.values[:, 0]).abs() * self.days}
