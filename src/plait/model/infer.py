"""What a model gives for rows of prepared columns: scores, under any views of the streams, and vectors.

Encoders run once a batch, whatever is then asked of its tokens. Rows of like length travel together,
which spares padding; everything comes back in the order of the rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from plait.answers.evaluation import ALL
from plait.data.store import PreparedColumn
from plait.data.targets.scores import Scores
from plait.model.loader import collate, row_bytes
from plait.model.model import Model
from plait.model.tokens import ColumnBatch, Tokens

BATCH = 64
"""Rows per step: as many as in training by default, so that answering needs no more memory than that."""

MAX_COPIED_BYTES = 64 * 2**20
"""Bytes of tokens at most that are copied so that several views are fused at once."""


class Scored(NamedTuple):
    """Scores of some rows.

    Attributes:
        present: which streams each row has.
        scores: target → what its head gives under every view.
    """

    present: Bool[np.ndarray, "rows streams"]
    scores: dict[str, Shaped[np.ndarray, "views rows ..."]]


def infer(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    *,
    subsets: Mapping[str, Sequence[str] | None] | None = None,
    device: torch.device | None = None,
) -> dict[str, dict[str, Scores]]:
    """Scores of some rows, for each subset of streams.

    Args:
        subsets: name → the only streams to look at, or None for all; by default `ALL` of them.

    Returns:
        subset → target → scores.
    """
    subsets = {ALL: None} if subsets is None else subsets
    asked = [
        tuple(keep is None or stream in keep for stream in model.streams)
        for keep in subsets.values()
    ]
    views = list(dict.fromkeys(asked))  # of two streams, each alone is all but the other
    scores = score_views(model, columns, rows, np.array(views)[:, None], device=device).scores
    return {
        name: {target: values[views.index(view)] for target, values in scores.items()}
        for name, view in zip(subsets, asked, strict=True)
    }


@torch.no_grad()
def score_views(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    views: Bool[np.ndarray, "views #rows streams"],
    *,
    device: torch.device | None = None,
) -> Scored:
    """Scores of some rows under many views: which streams are looked at, in all rows or in each.

    Views are fused many at a time, as far as `MAX_COPIED_BYTES` allows, which spares the overhead of as
    many small steps.
    """
    order, present = [], []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in model.targets}
    for places, tokens in encoded(model, columns, rows, device=device):
        order.append(places)
        present.append(torch.stack([stream.present for stream in tokens.values()], dim=1))
        own = views if views.shape[1] == 1 else views[:, places]
        for name, values in _fused_views(model, tokens, torch.from_numpy(own)).items():
            parts[name].append(values)
    scores = {name: in_order(values, order, axis=1) for name, values in parts.items()}
    return Scored(in_order([part.cpu().numpy() for part in present], order), scores)


@torch.no_grad()
def fused_vectors(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    streams: Sequence[str] | None = None,
) -> Float[np.ndarray, "rows width"]:
    """The fused vector of some rows.

    Args:
        streams: the only streams to look at; None: all.
    """
    order, parts = [], []
    for places, tokens in encoded(model, columns, rows):
        order.append(places)
        parts.append(model.fuse(tokens, streams).vector.float().numpy())
    return in_order(parts, order)


def encoded(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    *,
    device: torch.device | None = None,
) -> Iterator[tuple[Int64[np.ndarray, " batch"], dict[str, Tokens]]]:
    """Every batch's places in ``rows``, shortest rows first, and its tokens; for no rows an empty one.

    Without gradients only where the caller's block says so.
    """
    if model.training:  # walking all modules costs as much as a small encoder
        model.eval()
    lengths = row_bytes(columns)
    order = np.arange(len(rows)) if lengths is None else np.argsort(lengths[rows], kind="stable")
    # One empty batch for no rows, so that shapes and dtypes come from the model as ever.
    for start in range(0, max(1, len(rows)), BATCH):
        places = order[start : start + BATCH]
        batch = collate(columns, rows[places])
        if device is not None:
            batch = {
                name: ColumnBatch(column.values.to(device), column.mask.to(device))
                for name, column in batch.items()
            }
        yield places, model.encode(batch)


def in_order(
    parts: Sequence[np.ndarray], places: Sequence[Int64[np.ndarray, " _"]], *, axis: int = 0
) -> np.ndarray:
    """Batches as one array, each row back at its place along ``axis``."""
    order, whole = np.concatenate(places), np.concatenate(parts, axis=axis)
    # Without ragged columns nothing was sorted: no second copy of all scores.
    if np.array_equal(order, np.arange(len(order))):
        return whole
    return np.take(whole, np.argsort(order, kind="stable"), axis=axis)


def _fused_views(
    model: Model, tokens: dict[str, Tokens], views: Bool[Tensor, "views #batch streams"]
) -> dict[str, Shaped[np.ndarray, "views batch ..."]]:
    """A batch's scores under every view."""
    by_target: dict[str, list[np.ndarray]] = {name: [] for name in model.targets}
    size = sum(stream.values.numel() * stream.values.element_size() for stream in tokens.values())
    # Each view repeats all tokens of the batch; 2^streams of them could fill memory.
    for chunk in views.split(max(1, MAX_COPIED_BYTES // max(1, size))):
        for name, scores in model.scores(model.fuse(_seen(tokens, chunk))).items():
            by_target[name].append(
                scores.reshape(len(chunk), len(scores) // len(chunk), *scores.shape[1:])
            )
    return {name: np.concatenate(parts) for name, parts in by_target.items()}


def _seen(
    tokens: dict[str, Tokens], views: Bool[Tensor, "views #batch streams"]
) -> dict[str, Tokens]:
    """A batch's tokens under some views, laid out as one larger batch."""
    times = len(views)
    # The common case, a prediction from all streams, copies nothing.
    if times == 1 and views.all():
        return tokens
    seen = {}
    for index, (name, stream) in enumerate(tokens.items()):
        keep = views[:, :, index, None].to(stream.mask.device)
        values = stream.values if times == 1 else stream.values.repeat(times, 1, 1)
        seen[name] = Tokens(values, (stream.mask & keep).flatten(0, 1))
    return seen
