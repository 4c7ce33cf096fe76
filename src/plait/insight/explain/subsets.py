"""Scores of rows for many subsets of the streams, from tokens that are encoded once."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.infer import BATCH
from plait.model.loader import collate, row_bytes
from plait.model.model import Model
from plait.model.tokens import ColumnBatch, Tokens

COPIES = 64 * 2**20
"""Bytes of tokens at most that are copied so that several subsets are fused at once."""


class Scored(NamedTuple):
    """Some rows' scores.

    Attributes:
        rows: which, as places in the rows asked for.
        present: which streams each of them has.
        scores: target → what its head gives for every subset.
    """

    rows: Int64[np.ndarray, " batch"]
    present: Bool[np.ndarray, "batch streams"]
    scores: dict[str, Float[np.ndarray, "subsets batch outputs"]]


def score_subsets(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    subsets: Bool[np.ndarray, "subsets streams"],
) -> Iterator[Scored]:
    """Every subset's scores, a batch of rows at a time; rows of like length travel together.

    Encoders run once a batch. Subsets are fused many at a time, as far as `COPIES` allows, which
    spares the overhead of as many small steps.
    """
    model.eval()
    lengths = row_bytes(columns)
    order = np.arange(len(rows)) if lengths is None else np.argsort(lengths[rows], kind="stable")
    keep = torch.from_numpy(subsets)
    for start in range(0, max(1, len(rows)), BATCH):  # no rows make one empty batch
        part = order[start : start + BATCH]
        yield _scored(model, part, collate(columns, rows[part]), keep)


@torch.no_grad()
def _scored(
    model: Model,
    part: Int64[np.ndarray, " batch"],
    batch: Mapping[str, ColumnBatch],
    keep: Bool[Tensor, "subsets streams"],
) -> Scored:
    """One batch of rows."""
    tokens = model.encode(batch)
    present = torch.stack([stream.present for stream in tokens.values()], dim=1)
    found: dict[str, list[np.ndarray]] = {name: [] for name in model.targets}
    for some in keep.split(_at_once(tokens)):
        for name, scores in _scores(model, tokens, some).items():
            found[name].append(scores.float().numpy())
    whole = {name: np.concatenate(parts) for name, parts in found.items()}
    return Scored(part, present.numpy(), whole)


def _at_once(tokens: Mapping[str, Tokens]) -> int:
    size = sum(stream.values.numel() * stream.values.element_size() for stream in tokens.values())
    return max(1, COPIES // max(1, size))


def _scores(
    model: Model, tokens: Mapping[str, Tokens], keep: Bool[Tensor, "some streams"]
) -> dict[str, Float[Tensor, "some batch outputs"]]:
    """Scores of a batch for some subsets, laid out as one larger batch."""
    times = len(keep)
    shown = {
        name: Tokens(
            stream.values.repeat(times, 1, 1),
            (stream.mask & keep[:, index, None, None]).flatten(0, 1),
        )
        for index, (name, stream) in enumerate(tokens.items())
    }
    logits = model.answer(model.fuse(shown))
    return {
        name: head.scores(logits[name]).unflatten(0, (times, -1))  # type: ignore[operator]
        for name, head in zip(model.targets, model.heads, strict=True)
    }
