"""Signal encoders: 1-D residual convolutions (the default) and a transformer over patches."""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import MaskedBatchNorm, TransformerBlock
from plait.model.encoders.base import Encoder
from plait.model.encoders.recurrent import join_steps
from plait.model.tokens import ColumnBatch, Tokens


class _Block(nn.Module):
    """Two 1-D convolutions with a skip; padding is zero after each normalisation."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv1d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.first_norm = MaskedBatchNorm(channels=outputs)
        self.second = nn.Conv1d(outputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.second_norm = MaskedBatchNorm(channels=outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(
        self, values: Float[Tensor, "batch inputs steps"], mask: Bool[Tensor, "batch 1 steps"]
    ) -> tuple[Tensor, Tensor]:
        skip = self.skip(values)
        mask = mask[..., :: self.stride]
        inner = torch.relu(self.first_norm(self.first(values), mask))
        inner = self.second_norm(self.second(inner), mask)
        return torch.relu(inner + skip), mask


class SignalCNN(Encoder):
    """Residual 1-D convolutions; time shortens 16-fold and each remaining step is a token."""

    def __init__(self, *, leads: int, width: int, base: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        sizes = [leads, base, 2 * base, 2 * base, 4 * base]
        self.blocks = nn.ModuleList(
            _Block(inputs, outputs, kernel=7, stride=2) for inputs, outputs in pairwise(sizes)
        )
        self.project = nn.Linear(sizes[-1], width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps, leads]`` signals."""
        (column,) = columns
        mask = column.mask.unsqueeze(1)
        values = column.values.to(torch.float32).transpose(1, 2) * mask
        for block in self.blocks:
            values, mask = block(values, mask)
        return Tokens(self.dropout(self.project(values.transpose(1, 2))), mask.squeeze(1))


class SignalPatches(Encoder):
    """Patches of ``patch`` samples as tokens of a small transformer (PatchTST, Nie et al. 2023).

    Positions are sinusoidal, so a signal longer than any seen in training still encodes.
    """

    def __init__(
        self,
        *,
        leads: int,
        width: int,
        patch: int = 16,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.patch = patch
        self.embed = nn.Linear(leads * patch, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps, leads]`` signals."""
        (column,) = columns
        values = column.values.to(torch.float32) * column.mask.unsqueeze(-1)
        values, mask = join_steps(values, column.mask, self.patch)
        values = self.embed(values) + sinusoids(values.shape[1], self.width, values)
        for block in self.blocks:
            values = block(values, mask)
        return Tokens(self.norm(values), mask)


def sinusoids(steps: int, width: int, like: Tensor) -> Float[Tensor, "steps width"]:
    """Sine and cosine positions (Vaswani et al. 2017, section 3.5) on the device of ``like``."""
    position = torch.arange(steps, device=like.device, dtype=like.dtype).unsqueeze(1)
    pair = torch.arange(0, width, 2, device=like.device, dtype=like.dtype)
    angle = position * torch.exp(pair * (-9.210340371976184 / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]
