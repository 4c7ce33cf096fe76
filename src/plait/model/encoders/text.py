"""The text encoder from scratch: a small transformer over subword ids."""

import torch
from torch import nn

from plait.model.blocks import TransformerBlock
from plait.model.encoders.base import Encoder
from plait.model.tokens import ColumnBatch, Tokens


class TextTransformer(Encoder):
    """Learned subword and position vectors, then pre-norm transformer blocks.

    Args:
        vocabulary: how many subword ids there are.
        max_tokens: the longest cell, in subwords, that ``prepare`` gives.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        max_tokens: int,
        width: int,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.table = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.table.weight, std=0.02)
        self.position = nn.Parameter(torch.randn(max_tokens, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps]`` subword ids."""
        (column,) = columns
        values = self.table(column.values.long()) + self.position[: column.values.shape[1]]
        values = self.dropout(values)
        for block in self.blocks:
            values = block(values, column.mask)
        return Tokens(self.norm(values), column.mask)
