"""Rows as a model sees them: each stream's tokens averaged, and the fused vector."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from plait.data.store import PreparedColumn
from plait.model.blocks import masked_mean
from plait.model.infer import encoded, in_order
from plait.model.model import Model


@dataclass(frozen=True)
class Vectors:
    """Some rows.

    Attributes:
        fused: ``[rows, width]``.
        streams: stream → the mean of its tokens; zeros where a row lacks it.
        present: stream → which rows have it.
    """

    fused: Float[np.ndarray, "rows width"]
    streams: dict[str, Float[np.ndarray, "rows width"]]
    present: dict[str, Bool[np.ndarray, " rows"]]

    def __len__(self) -> int:
        return len(self.fused)

    @property
    def all_streams(self) -> Float[np.ndarray, "rows all_widths"]:
        """All streams side by side: what a row holds, before fusion drops what it need not tell."""
        return np.concatenate(list(self.streams.values()), axis=1)


@torch.no_grad()
def vectors(
    model: Model, columns: Mapping[str, PreparedColumn], rows: Int64[np.ndarray, " rows"]
) -> Vectors:
    """The vectors of some rows, in order. Cost: that of a plain prediction."""
    order: list[np.ndarray] = []
    fused: list[np.ndarray] = []
    streams: dict[str, list[np.ndarray]] = {name: [] for name in model.streams}
    present: dict[str, list[np.ndarray]] = {name: [] for name in model.streams}
    for places, tokens in encoded(model, columns, rows):
        order.append(places)
        fused.append(model.fuse(tokens).vector.float().numpy())
        for name, stream_tokens in tokens.items():
            streams[name].append(masked_mean(*stream_tokens).float().numpy())
            present[name].append(stream_tokens.present.numpy())
    return Vectors(
        in_order(fused, order),
        {name: in_order(parts, order) for name, parts in streams.items()},
        {name: in_order(parts, order) for name, parts in present.items()},
    )
