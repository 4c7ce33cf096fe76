"""What mattered inside a modality: which pixels, words, moments, bands and fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from plait.answers.plain import plain
from plait.data.features import Features
from plait.data.modalities.base import Unit
from plait.data.store import PreparedColumn
from plait.data.targets.target import Target
from plait.insight.explain.path import Inputs, answer_score, unit_of
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import ColumnBatch

STEPS = 32
"""Points of the path at which the gradient is taken."""

BATCH = 16
"""Rows that travel together; gradients keep all activations."""

Map = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Within:
    """Integrated gradients of one target's score.

    Attributes:
        kinds: column → what is marked in it.
        maps: column → a map a row, None where the cell is missing. Of an image ``[height, width]``, of
            a sound ``[steps, mels]``, of a signal ``[steps, leads]``, of a text or of the tokens of a
            frozen encoder ``[steps]``, of a field a single number ``[]``. Above 0 speaks for the answer.
        score: of each row's answer, as in `plait.data.targets.target.Target.row_scores`.
        base: what that score would be at the baseline.
        gap: ``score - base`` less the sum of all the row's maps: how far the sum over `STEPS` points is
            from the integral.
        left: columns of ids that no table of embeddings looked up, which have no maps.
    """

    target: str
    kinds: dict[str, Unit]
    maps: dict[str, list[Map | None]]
    score: Float[np.ndarray, " rows"]
    base: Float[np.ndarray, " rows"]
    gap: Float[np.ndarray, " rows"]
    left: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.score)

    def totals(self, row: int) -> dict[str, float]:
        """What each column's map sums to, for one row; 0 for a missing cell."""
        return {
            name: 0.0 if (row_map := maps[row]) is None else float(row_map.sum())
            for name, maps in self.maps.items()
        }

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return dict(plain(vars(self)))


def integrated(
    model: Model,
    batch: Mapping[str, ColumnBatch],
    target: Target,
    kinds: Mapping[str, Unit],
    *,
    answers: Shaped[Tensor, "batch ..."] | None = None,
    steps: int = STEPS,
) -> tuple[dict[str, Tensor], Tensor, Tensor, Inputs]:
    """Integrated gradients (Sundararajan et al. 2017, eq. 1) of a batch, by column.

    ``A = (x - x') ∫_0^1 ∂f(x' + α (x - x')) / ∂x dα`` with f the score of the answer, x all columns'
    inputs and x' their baselines (`plait.insight.explain.path.Inputs`): all columns move together, so
    that all maps of a row sum to ``f(x) - f(x')``. The integral is Gauss-Legendre's with ``steps``
    points.

    Args:
        answers: the answers whose score is taken; None: the model's own.

    Returns:
        column → attributions in the shape of its inputs; the score at the input; the same at the
        baseline; the inputs.

    Cost: ``steps`` times forward and backward.
    """
    model.eval()
    place = model.targets.index(target.name)
    head: Any = model.heads[place]
    inputs = Inputs(model, batch, kinds)
    with torch.no_grad():
        scores = inputs.scores(inputs.values, place)
        answers = head.answered(scores) if answers is None else answers
        score = answer_score(target, head, scores, answers)
        base = answer_score(target, head, inputs.scores(inputs.base, place), answers)
    slopes = {name: torch.zeros_like(values) for name, values in inputs.values.items()}
    points, weights = (torch.from_numpy(part).float() for part in leggauss(steps))
    together = max(1, BATCH // max(1, len(score)))
    for first in range(0, steps, together):
        now = slice(first, first + together)
        for name, slope in _slopes(
            inputs, (points[now] + 1) / 2, weights[now] / 2, target, place, answers
        ).items():
            slopes[name] += slope
    maps = {
        name: (inputs.values[name] - inputs.base[name]) * slope for name, slope in slopes.items()
    }
    return maps, score, base, inputs


def _slopes(
    inputs: Inputs,
    points: Float[Tensor, " points"],
    weights: Float[Tensor, " points"],
    target: Target,
    place: int,
    answers: Shaped[Tensor, "batch ..."],
) -> dict[str, Tensor]:
    """The weighed sum of the slopes at some points of the path, all of them in one pass."""
    many = len(points)
    wide = inputs.repeated(many)
    at = {}
    for name, values in inputs.values.items():
        along = points.reshape(-1, *[1] * values.ndim)
        path = torch.lerp(inputs.base[name][None], values[None], along)
        at[name] = path.flatten(0, 1).requires_grad_()
    again = answers.repeat(many, *[1] * (answers.ndim - 1))
    head: Any = inputs.model.heads[place]
    scores = answer_score(target, head, wide.scores(at, place), again)
    total = (scores.unflatten(0, (many, -1)) * weights[:, None]).sum()
    gradients = torch.autograd.grad(total, list(at.values()), allow_unused=True)
    slopes = {}
    for name, slope in zip(at, gradients, strict=True):
        if slope is not None:
            slopes[name] = slope.unflatten(0, (many, -1)).sum(dim=0)
    return slopes


def pooled(values: Tensor, kind: Unit) -> Tensor:
    """A column's attributions with what is one thing to a reader summed up, ``[batch, ...]``."""
    if kind == "pixels":
        return values.sum(dim=3)
    if kind == "tokens":
        return values.sum(dim=2)
    return values.flatten(1).sum(dim=1) if kind == "field" else values


def attribute(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    target: Target,
    features: Features,
    *,
    steps: int = STEPS,
) -> Within:
    """Maps of some rows of prepared columns."""
    kinds: dict[str, Unit] = {}
    maps: dict[str, list[Map | None]] = {}
    ends: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    own = read_by(features, columns)
    for start in range(0, len(rows), BATCH):
        batch = collate(own, rows[start : start + BATCH])
        kinds = kinds_of(features, batch)
        attributed, score, base, inputs = integrated(model, batch, target, kinds, steps=steps)
        total = torch.stack([values.flatten(1).sum(dim=1) for values in attributed.values()]).sum(
            dim=0
        )
        ends.append((score.numpy(), base.numpy(), (score - base - total).numpy()))
        for name, values in attributed.items():
            whole = pooled(values, kinds[name]).numpy()
            maps.setdefault(name, []).extend(_cells(whole, inputs.mask[name].numpy()))
    edges = [
        np.concatenate([part[number] for part in ends]) if ends else np.zeros(0, np.float32)
        for number in range(3)
    ]
    left = [name for name in kinds if name not in maps]
    return Within(target.name, kinds, maps, edges[0], edges[1], edges[2], left)


def read_by(features: Features, columns: Mapping[str, PreparedColumn]) -> dict[str, PreparedColumn]:
    """The columns that the model reads, without the cells that only decoders want."""
    return {name: columns[name] for name in features.modalities if name in columns}


def kinds_of(features: Features, batch: Mapping[str, ColumnBatch]) -> dict[str, Unit]:
    """What is marked in each column of a batch."""
    return {
        name: unit_of(features.modalities[name], column, features.states[name])
        for name, column in batch.items()
    }


def _cells(values: np.ndarray, mask: np.ndarray) -> Iterator[Map | None]:
    """Each row's own part, without padding; None for a missing cell."""
    for own, real in zip(values, mask, strict=True):
        if not real.any():
            yield None
        else:
            yield np.asarray(own[real] if real.ndim else own)


def joined(parts: list[Within]) -> Within:
    """The maps of several runs of rows as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    score, base, gap = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("score", "base", "gap")
    )
    maps = {name: [each for part in parts for each in part.maps[name]] for name in first.maps}
    return Within(first.target, first.kinds, maps, score, base, gap, first.left)
