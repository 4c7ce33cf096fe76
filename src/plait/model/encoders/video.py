"""Video encoders: an image CNN a frame and attention over time (the default); (2+1)-D convolutions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import MaskedBatchNorm, TransformerBlock
from plait.model.encoders.base import Encoder
from plait.model.encoders.image import ResidualCNN, pixels
from plait.model.tokens import ColumnBatch, Tokens


def moving(
    column: ColumnBatch,
) -> Float[Tensor, "batch frames height width_px pairs"]:
    """Each frame, and half of what changed since the one before, both from 0 to 255.

    RGB difference (Wang et al. 2016, "Temporal segment networks", section 3.2): a convolution over one
    frame then sees which way an edge went. Nothing has changed at the first frame.
    """
    values = column.values.to(torch.float32)
    change = torch.cat([torch.zeros_like(values[:, :1]), values[:, 1:] - values[:, :-1]], dim=1)
    return torch.cat([values, change / 2 + 127.5], dim=-1)


class FrameCNN(Encoder):
    """A residual CNN over every frame and its change, then a transformer over frames; a token a frame.

    ``z_t = W vec(CNN([x_t, x_t - x_{t-1}])) + p_t``, ``tokens = Transformer(z_1 ... z_T)``, with a
    learned position ``p_t`` a frame. The map of a frame is laid out in a row, so where something is
    stays known.
    Cost: that of ``frames`` images; attention over a few frames costs next to nothing.
    """

    def __init__(
        self,
        *,
        frames: int,
        channels: int,
        size: int,
        width: int,
        depth: int = 1,
        heads: int = 4,
        base: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.frames = frames
        self.cnn = ResidualCNN(channels=2 * channels, size=size, width=width, base=base)
        cells = self.cnn.position.shape[0]
        self.summary = nn.Linear(cells * width, width)
        self.position = nn.Parameter(torch.randn(frames, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, frames, height, width, channels]`` clips of the fitted size."""
        (column,) = columns
        pictures = moving(column).flatten(0, 1)
        mask = column.mask[:, None].expand(-1, self.frames)
        maps = self.cnn(ColumnBatch(pictures, mask.flatten())).values
        values = self.summary(maps.flatten(1)).unflatten(0, (-1, self.frames)) + self.position
        values = self.dropout(values)
        for block in self.blocks:
            values = block(values, mask)
        return Tokens(self.norm(values), mask)


class _Factorised(nn.Module):
    """A 1x3x3 convolution over space, then a 3x1x1 one over time, each normalised; with a skip.

    Tran et al. (2018, section 3.5): with ``27 N M / (9 N + 3 M)`` maps between, N in and M out, it has
    the weights of a 3x3x3 convolution, and a second nonlinearity. Both are 2-D convolutions here: over
    the pictures of each frame, and over frames by pixels.
    """

    def __init__(self, inputs: int, outputs: int, *, frames: int) -> None:
        super().__init__()
        self.frames = frames
        between = max(27 * inputs * outputs // (9 * inputs + 3 * outputs), 1)
        self.space = nn.Conv2d(inputs, between, 3, stride=2, padding=1, bias=False)
        self.space_norm = MaskedBatchNorm(channels=between)
        self.time = nn.Conv2d(between, outputs, (3, 1), padding=(1, 0), bias=False)
        self.time_norm = MaskedBatchNorm(channels=outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(
        self,
        values: Float[Tensor, "pictures inputs height width_px"],
        mask: Bool[Tensor, "pictures 1 1 1"],
    ) -> Float[Tensor, "pictures outputs smaller narrower"]:
        inner = torch.relu(self.space_norm(self.space(values), mask))
        height = inner.shape[2]
        moments = inner.flatten(2).unflatten(0, (-1, self.frames)).transpose(1, 2)
        moments = self.time(moments).transpose(1, 2).flatten(0, 1)
        inner = self.time_norm(moments.unflatten(2, (height, -1)), mask)
        return torch.relu(inner + self.skip(values))


class FactorisedCNN(Encoder):
    """R(2+1)D (Tran et al. 2018): convolutions over space and over time in turn; a token a frame.

    A strided 1x5x5 stem, then blocks that halve the resolution until the map is at most ``grid`` wide.
    No frames are merged, so each token has its own moment; each block sees one frame further both ways.
    """

    def __init__(
        self,
        *,
        frames: int,
        channels: int,
        size: int,
        width: int,
        depth: int = 1,
        base: int = 16,
        grid: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.frames = frames
        self.stem = nn.Conv2d(channels, base, 5, stride=2, padding=2, bias=False)
        self.stem_norm = MaskedBatchNorm(channels=base)
        blocks: list[nn.Module] = []
        inputs, side = base, (size + 1) // 2
        while side > grid or len(blocks) < depth:
            outputs = min(2 * inputs, 4 * base)
            blocks.append(_Factorised(inputs, outputs, frames=frames))
            inputs, side = outputs, (side + 1) // 2
        self.blocks = nn.ModuleList(blocks)
        self.project = nn.Linear(inputs * side * side, width)
        self.position = nn.Parameter(torch.randn(frames, width) * 0.02)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, frames, height, width, channels]`` clips of the fitted size."""
        (column,) = columns
        mask = column.mask[:, None].expand(-1, self.frames)
        spatial = mask.flatten()[:, None, None, None]
        pictures = pixels(ColumnBatch(column.values.flatten(0, 1), mask.flatten()))
        values = torch.relu(self.stem_norm(self.stem(pictures), spatial))
        for block in self.blocks:
            values = block(values, spatial)
        tokens = self.project(values.flatten(1)).unflatten(0, (-1, self.frames)) + self.position
        return Tokens(self.dropout(tokens), mask)
