"""Audio encoder: a residual CNN over the log-mel spectrogram, its time steps as tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import MaskedBatchNorm
from plait.model.encoders.base import Encoder
from plait.model.encoders.normalise import standardise_steps
from plait.model.tokens import ColumnBatch, Tokens


class _Block(nn.Module):
    """Two 3x3 convolutions with a skip over ``[batch, channels, steps, mels]``.

    Padded time steps are zero after each normalisation, just what the next convolution pads with, so
    more of them change nothing.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = MaskedBatchNorm(channels=outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = MaskedBatchNorm(channels=outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(
        self,
        values: Float[Tensor, "batch inputs steps mels"],
        mask: Bool[Tensor, "batch 1 steps 1"],
    ) -> tuple[Tensor, Tensor]:
        skip = self.skip(values)
        mask = mask[:, :, :: self.stride[0]]
        inner = torch.relu(self.first_norm(self.first(values), mask))
        inner = self.second_norm(self.second(inner), mask)
        return torch.relu(inner + skip), mask


class LogMelCNN(Encoder):
    """Each clip is standardised, then convolved; what remains of each time step is a token.

    A strided 5x5 stem and two residual blocks shorten time 4-fold (a token is 40 ms at the usual 10 ms
    hop) and the bands 8-fold. Fusions pool the tokens with attention
    (`plait.model.blocks.AttentionPool`).
    """

    def __init__(self, *, mels: int, width: int, base: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Conv2d(1, base, 5, stride=2, padding=2, bias=False)
        self.stem_norm = MaskedBatchNorm(channels=base)
        self.blocks = nn.ModuleList(
            [
                _Block(base, 3 * base // 2, stride=(2, 2)),
                _Block(3 * base // 2, 3 * base, stride=(1, 2)),
            ]
        )
        bands = -(-mels // 8)
        self.project = nn.Linear(3 * base * bands, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps, mels]`` log-mel spectrograms."""
        (column,) = columns
        values = standardise_steps(column.values.to(torch.float32), column.mask).unsqueeze(1)
        mask = column.mask[:, None, ::2, None]
        values = torch.relu(self.stem_norm(self.stem(values), mask))
        for block in self.blocks:
            values, mask = block(values, mask)
        summary = self.dropout(values.permute(0, 2, 3, 1).flatten(2))
        return Tokens(self.project(summary), mask[:, 0, :, 0])
