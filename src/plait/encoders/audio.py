"""Audio encoder: a residual CNN over the log-mel spectrogram, its time steps as tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.blocks import MaskedBatchNorm
from plait.encoders.base import Encoder
from plait.encoders.normalise import standardise_steps
from plait.tokens import ColumnBatch, Tokens


class _Block(nn.Module):
    """Two 3x3 convolutions with a skip over ``[batch, channels, steps, mels]``.

    Padded time steps are put back to zero after each convolution, so they stay what the next
    convolution's own padding is and more of them change nothing.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = MaskedBatchNorm(channels=outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = MaskedBatchNorm(channels=outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(
        self, values: Float[Tensor, "batch inputs steps mels"], mask: Bool[Tensor, "batch 1 steps 1"]
    ) -> tuple[Tensor, Tensor]:
        skip = self.skip(values)
        mask = mask[:, :, :: self.stride[0]]
        inner = torch.relu(self.first_norm(self.first(values), mask)) * mask
        inner = self.second_norm(self.second(inner), mask)
        return torch.relu(inner + skip) * mask, mask


class LogMelCNN(Encoder):
    """Each clip is standardised, then convolved; bands are averaged away, time steps stay as tokens.

    Standardising each band within its clip removes level, microphone and much of the voice, and the
    average over bands forgives a shift along them: both help with speakers nobody heard in training.
    Fusions pool the tokens with attention (`plait.blocks.AttentionPool`).
    """

    def __init__(self, *, mels: int, width: int, base: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        sizes = [1, base, 2 * base, 2 * base, 4 * base]
        strides = [(1, 2), (2, 2), (2, 2), (1, 2)]
        self.blocks = nn.ModuleList(
            _Block(inputs, outputs, stride=stride)
            for inputs, outputs, stride in zip(sizes[:-1], sizes[1:], strides, strict=True)
        )
        self.project = nn.Linear(2 * sizes[-1], width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps, mels]`` log-mel spectrograms."""
        (column,) = columns
        values = standardise_steps(column.values.to(torch.float32), column.mask).unsqueeze(1)
        mask = column.mask[:, None, :, None]
        for block in self.blocks:
            values, mask = block(values, mask)
        summary = torch.cat([values.mean(dim=3), values.amax(dim=3)], dim=1).transpose(1, 2)
        return Tokens(self.dropout(self.project(summary)), mask[:, 0, :, 0])
