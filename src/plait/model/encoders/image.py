"""Image encoders: a residual CNN (the default), a plain CNN beside it, and a small ViT."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import MaskedBatchNorm, TransformerBlock
from plait.model.encoders.base import Encoder
from plait.model.tokens import ColumnBatch, Tokens


def pixels(column: ColumnBatch) -> Float[Tensor, "batch channels height width_px"]:
    """uint8 ``[batch, height, width, channels]`` to floats in [-1, 1], channels first, same memory."""
    return column.values.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1


class _Block(nn.Module):
    """Two 3x3 convolutions with a skip (He et al. 2016), halving the resolution when asked."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = MaskedBatchNorm(channels=outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = MaskedBatchNorm(channels=outputs)
        changes = stride != 1 or inputs != outputs
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride) if residual and changes else None

    def forward(self, values: Tensor, mask: Bool[Tensor, "batch 1 1 1"]) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(values), mask))
        inner = self.second_norm(self.second(inner), mask)
        if self.residual:
            inner = inner + (values if self.skip is None else self.skip(values))
        return torch.relu(inner)


class ResidualCNN(Encoder):
    """A compact residual network whose last feature map becomes the tokens.

    A strided 5x5 stem, then blocks that halve the resolution until the map is at most ``grid`` wide: an
    image of 28 or 64 px gives 4x4 tokens. Position is a learned vector a cell.
    """

    residual = True

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: int,
        base: int = 24,
        grid: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Conv2d(channels, base, 5, stride=2, padding=2, bias=False)
        self.stem_norm = MaskedBatchNorm(channels=base)
        blocks: list[nn.Module] = []
        inputs, side = base, (size + 1) // 2
        while side > grid:
            outputs = min(inputs * 2, 4 * base)
            blocks.append(_Block(inputs, outputs, stride=2, residual=self.residual))
            inputs, side = outputs, (side + 1) // 2
        self.blocks = nn.ModuleList(blocks)
        self.project = nn.Linear(inputs, width)
        self.position = nn.Parameter(torch.randn(side * side, width) * 0.02)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, height, width, channels]`` images of the fitted size."""
        (column,) = columns
        mask = column.present
        spatial = mask[:, None, None, None]
        values = torch.relu(self.stem_norm(self.stem(pixels(column)), spatial))
        for block in self.blocks:
            values = block(values, spatial)
        tokens = self.project(values.flatten(2).transpose(1, 2)) + self.position
        return Tokens(self.dropout(tokens), mask[:, None].expand(tokens.shape[:2]))


class PlainCNN(ResidualCNN):
    """The same stack without skips: the classic CNN, for comparison."""

    residual = False


class ViT(Encoder):
    """A small vision transformer (Dosovitskiy et al. 2021) over square patches."""

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: int,
        depth: int = 4,
        heads: int = 4,
        grid: int = 7,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        patch = max(1, size // grid)
        side = size // patch
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(side * side, width) * 0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, height, width, channels]`` images of the fitted size."""
        (column,) = columns
        values = self.patches(pixels(column)).flatten(2).transpose(1, 2) + self.position
        mask = column.present[:, None].expand(values.shape[:2])
        for block in self.blocks:
            values = block(values, mask)
        return Tokens(self.norm(values), mask)
