"""Encoders that reduce before anything is learned: a projection fitted once to training rows."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from plait.model.align.reduce import LDA, PCA
from plait.model.align.streams import part_means
from plait.model.blocks import masked_mean
from plait.model.encoders.base import ClosedForm
from plait.model.encoders.image import pixels
from plait.model.encoders.normalise import standardise_steps
from plait.model.tokens import ColumnBatch, Tokens

MAX_SIDE = 32
"""Pixels a side that an image is averaged down to before it is laid out in a row."""


class Projected(ClosedForm):
    """A cell as one row of numbers, a fixed projection of it, and a learned linear map to a few tokens.

    * An image is averaged down to at most 32 pixels a side and laid out in a row (eigenfaces, Turk &
      Pentland 1991; for LDA Fisherfaces, Belhumeur et al. 1997).
    * A ragged cell (audio, signals) becomes, for each mel band or lead, the mean and deviation over
      its time, and the mean in each of ``segments`` equal parts of it. Audio is standardised first.

    ``z = (x - centre) P``; ``tokens = W z + b``. ``pca``: P holds the leading ``components`` directions
    of variance, each divided by its deviation, softened by a tenth of the largest one so that faint
    directions stay faint. ``lda``: P holds the discriminants of the classes, found among the 128
    leading directions with shrinkage 0.1. Where the rows give fewer than ``components`` directions the
    others are zero. P and the centre are buffers: saved with the weights, never trained. Until they are
    fitted P is random (Johnson & Lindenstrauss 1984).

    Args:
        kind: ``pca`` or ``lda``.
        channels: of an image, or the mels or leads of a ragged cell.
        size: pixels of an image a side; None for ragged cells.
        segments: parts of a ragged cell.
        standardise: take loudness away first.
        tokens: how many.
    """

    among: ClassVar[int] = 128
    """Directions of variance that LDA looks among."""

    def __init__(
        self,
        *,
        kind: str,
        channels: int,
        width: int,
        size: int | None = None,
        segments: int = 8,
        standardise: bool = False,
        components: int = 64,
        tokens: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.needs_classes = kind == "lda"
        self.segments = segments
        self.standardise = standardise
        self.pool = -(-size // MAX_SIDE) if size else 0
        side = -(-size // self.pool) if size else 0
        features = channels * (side * side if size else segments + 2)
        self.centre: Tensor
        self.projection: Tensor
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("projection", torch.randn(features, components) / features**0.5)
        self.to_tokens = nn.Sequential(
            nn.Linear(components, tokens * width), nn.Unflatten(1, (tokens, width))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, *columns: ColumnBatch) -> Tokens:
        """Encode images ``[batch, height, width, channels]`` or cells ``[batch, steps, channels]``."""
        (column,) = columns
        values = (self.flat(column) - self.centre) @ self.projection
        tokens = self.dropout(self.to_tokens(values))
        return Tokens(tokens, column.present[:, None].expand(tokens.shape[:2]))

    def flat(self, column: ColumnBatch) -> Float[Tensor, "batch features"]:
        """Each cell as one row of numbers."""
        if self.pool:
            image = pixels(column)
            if self.pool > 1:
                image = functional.avg_pool2d(image, self.pool, ceil_mode=True)
            return image.flatten(1)
        values = column.values.to(torch.float32)
        if self.standardise:
            values = standardise_steps(values, column.mask)
        values = torch.where(column.mask.unsqueeze(-1), values, 0.0)
        mean = masked_mean(values, column.mask)
        spread = masked_mean((values - mean.unsqueeze(1)).square(), column.mask)
        parts = part_means(values, column.mask, self.segments)
        return torch.cat([mean, (spread + 1e-6).sqrt(), parts.flatten(1)], dim=1)

    @torch.no_grad()
    def fit_rows(
        self, batches: Iterable[tuple[ColumnBatch, ...]], targets: Int64[np.ndarray, " rows"] | None
    ) -> str:
        """Fit the projection to all cells of the batches."""
        rows = torch.cat([self.flat(column) for (column,) in batches]).cpu().numpy()
        fitted, summary = self._lda(rows, targets) if targets is not None else self._pca(rows)
        mean, basis = fitted
        self.centre.copy_(torch.from_numpy(mean))
        self.projection.zero_()
        self.projection[:, : basis.shape[1]] = torch.from_numpy(basis)
        return f"{summary}, fitted to {len(rows)} training rows"

    def _pca(self, rows: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], str]:
        count = min(self.projection.shape[1], rows.shape[1], max(1, len(rows) - 1))
        pca = PCA(count).fit(rows)
        softened = pca.variance + 0.01 * pca.variance[0]
        basis = pca.basis / np.sqrt(np.where(softened > 0, softened, 1.0))
        kept = float(pca.explained.sum())
        summary = f"pca keeps {count} of {rows.shape[1]} dimensions, {kept:.0%} of the variance"
        return (pca.mean, basis), summary

    def _lda(
        self, rows: np.ndarray, targets: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], str]:
        spare = len(rows) - len(np.unique(targets))
        first = PCA(min(self.among, rows.shape[1], max(1, spare))).fit(rows)
        lda = LDA(shrinkage=0.1).fit(first.transform(rows), targets)
        basis = (first.basis @ lda.basis)[:, : self.projection.shape[1]]
        summary = f"lda keeps {basis.shape[1]} of {rows.shape[1]} dimensions"
        return (first.mean, basis), summary
