"""The tabular encoder: one token a column, whatever its kind, then attention between columns."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import TransformerBlock
from plait.model.encoders.base import Encoder
from plait.model.tokens import ColumnBatch, Tokens


class Feature(NamedTuple):
    """A tabular column: its kind, and how many numbers (or categories) it has."""

    kind: Literal["numbers", "category"]
    size: int


class _Numbers(nn.Module):
    """Periodic embedding of numbers (PLR; Gorishniy et al. 2022, eq. 2-3).

    ``relu(W [sin(2π c x), cos(2π c x), x] + b)`` with learned frequencies c; the raw x is added, so
    that a plain linear effect costs nothing to learn.
    """

    def __init__(
        self, *, numbers: int, width: int, frequencies: int = 8, sigma: float = 0.3
    ) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(numbers, frequencies) * sigma)
        self.linear = nn.Linear(numbers * (2 * frequencies + 1), width)

    def forward(self, values: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch width"]:
        angle = 2 * math.pi * values.unsqueeze(-1) * self.frequency
        waves = torch.cat([angle.sin(), angle.cos(), values.unsqueeze(-1)], dim=-1)
        return torch.relu(self.linear(waves.flatten(1)))


class TabularTokens(Encoder):
    """A token for each numeric, categorical and datetime column (FT-Transformer, Gorishniy 2021).

    A missing cell becomes its column's learned "missing" token, since being missing can mean something;
    the stream as a whole is missing only where every column is. While training, cells are hidden with
    chance ``hide`` so that those tokens are learnt even from a complete table.
    """

    def __init__(
        self,
        *,
        features: list[Feature],
        width: int,
        depth: int = 1,
        heads: int = 4,
        dropout: float = 0.0,
        hide: float = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        self.hide = hide
        self.embed = nn.ModuleList(
            nn.Embedding(feature.size, width)
            if feature.kind == "category"
            else _Numbers(numbers=feature.size, width=width)
            for feature in features
        )
        for part in self.embed:
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.5)
        self.identity = nn.Parameter(torch.randn(len(features), width) * 0.1)
        self.missing = nn.Parameter(torch.randn(len(features), width) * 0.1)
        self.blocks = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode all tabular columns together, in the order of ``features``."""
        parts = [part(column.values) for part, column in zip(self.embed, columns, strict=True)]
        present = torch.stack([column.present for column in columns], dim=1)
        row = present.any(dim=1, keepdim=True).expand(present.shape)
        visible = self._show(present)
        values = torch.stack(parts, dim=1)
        values = torch.where(visible.unsqueeze(-1), values, self.missing) + self.identity
        for block in self.blocks:
            values = block(values, row)
        return Tokens(self.norm(values), row)

    def column_parts(self, columns: Sequence[str]) -> dict[str, nn.Module]:
        """Column → its own embedding."""
        return dict(zip(columns, self.embed, strict=True))

    def _show(self, present: Bool[Tensor, "batch columns"]) -> Bool[Tensor, "batch columns"]:
        if not self.training or not self.hide:
            return present
        return present & (torch.rand(present.shape, device=present.device) >= self.hide)
