"""Aligning inside a model: an image straightened before its encoder, tokens resampled after it."""

from collections.abc import Sequence

from torch import nn

from plait.model.align.spatial import SpatialTransformer
from plait.model.align.streams import resample_tokens
from plait.model.encoders.base import Encoder
from plait.model.encoders.image import pixels
from plait.model.tokens import ColumnBatch, Tokens


class Straightened(Encoder):
    """A `SpatialTransformer` before an image encoder, trained with it (Jaderberg et al. 2015)."""

    def __init__(self, encoder: Encoder, *, channels: int) -> None:
        super().__init__()
        self.width = encoder.width
        self.transformer = SpatialTransformer(channels=channels)
        self.encoder = encoder

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode ``[batch, height, width, channels]`` images, each straightened first."""
        (column,) = columns
        straight = (self.transformer(pixels(column)) + 1) * 127.5
        return self.encoder(ColumnBatch(straight.permute(0, 2, 3, 1), column.mask))


class Resampled(Encoder):
    """An encoder whose tokens are resampled to ``count``; see
    `plait.model.align.streams.resample_tokens`.

    For an image, neighbours in reading order are averaged; for tabular columns, neighbouring columns.
    """

    def __init__(self, encoder: Encoder, *, count: int) -> None:
        super().__init__()
        self.width = encoder.width
        self.count = count
        self.encoder = encoder

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode one batch, with ``count`` tokens a sample that has more than one."""
        return resample_tokens(self.encoder(*columns), self.count)

    def column_parts(self, columns: Sequence[str]) -> dict[str, nn.Module]:
        """As the encoder inside has them."""
        return self.encoder.column_parts(columns)


ALIGNERS: dict[str, dict[str, type[Straightened]]] = {"image": {"stn": Straightened}}
"""Modality → name → what is put before the encoder."""


def straighten(modality: str, name: str, encoder: Encoder, channels: int) -> Encoder:
    """The encoder with the aligner of that name before it."""
    return ALIGNERS[modality][name](encoder, channels=channels)
