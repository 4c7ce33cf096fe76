"""Whether maps mark what the model goes by: two checks that give numbers."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from plait.answers.plain import plain
from plait.data.features import Features
from plait.data.modalities.base import TIMED, Unit
from plait.data.modalities.registry import TABULAR_MODALITIES
from plait.data.store import PreparedColumn
from plait.data.targets.target import Target
from plait.insight.explain.path import Inputs, answer_score
from plait.insight.explain.within import (
    BATCH,
    STEPS,
    attribute,
    integrated,
    kinds_of,
    pooled,
    read_by,
)
from plait.insight.fitted import Fitted
from plait.model.loader import collate

FIELDS = "fields"
"""The group of all tabular columns, of which one field is deleted as a word is from a text."""

ACROSS = 7
"""Pieces that an image has along a side, that a clip's bands are cut into."""

ALONG = 16
"""Pieces that a clip or a signal has in time, at most."""


SHARE = 0.2
"""Of a row's pieces that are deleted; at least one goes."""


@dataclass(frozen=True)
class Deletion:
    """What deleting a part does to the score of the answer, over rows.

    Attributes:
        group: a media column, or `FIELDS`.
        rows: rows that have it, and more than one piece of it.
        marked, random: the mean drop when the marked pieces go, and when as many others go.
        difference: ``marked - random``, and its 95 % interval over the rows (normal).
    """

    group: str
    rows: int
    marked: float
    random: float
    difference: float
    interval: tuple[float, float]

    @property
    def passed(self) -> bool:
        """Whether the marked part matters more, beyond chance."""
        return self.interval[0] > 0

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        return dict(plain({**asdict(self), "passed": self.passed}))


@dataclass(frozen=True)
class Randomised:
    """How alike a column's maps stay when the weights are shuffled.

    Attributes:
        rows: rows with more than two marks in the column.
        correlation: the mean absolute rank correlation (Spearman) between the two maps of a row, and its
            95 % interval over the rows (normal). Near 0: the maps show what was learnt. Near 1: they
            show the input whatever was learnt.
    """

    column: str
    rows: int
    correlation: float
    interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        return dict(plain(asdict(self)))


def deletion_check(
    fitted: Fitted,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    target: Target,
    *,
    draws: int = 5,
    steps: int = STEPS,
    seed: int = 0,
) -> list[Deletion]:
    """Delete what is marked most, and compare with deleting as much at random (Samek et al. 2017).

    A cell is cut into pieces: an image into 7 x 7 tiles, a clip into tiles of time and bands, a signal
    into stretches, a text into its subwords, all tabular columns together into fields. `SHARE` of
    the pieces with the highest sums goes to its baseline, one group at a time, all else as it is.

    Args:
        draws: random deletions a row.
        seed: of those.

    Returns:
        A result for every group that a row has more than one piece of.

    Cost: ``steps`` gradients a row, and ``groups · (1 + draws)`` answers.
    """
    generator = np.random.default_rng(seed)
    drops: dict[str, list[tuple[float, float]]] = {}
    model, features = fitted.model, fitted.features
    own = read_by(features, columns)
    for start in range(0, len(rows), BATCH):
        batch = collate(own, rows[start : start + BATCH])
        kinds = kinds_of(features, batch)
        maps, score, _, inputs = integrated(model, batch, target, kinds, steps=steps)
        with torch.no_grad():
            place = model.targets.index(target.name)
            head: Any = model.heads[place]
            answers = head.answered(inputs.scores(inputs.values, place))
            for group, pieces in _groups(maps, inputs, kinds, features):
                known = pieces.known()
                if not known.any():
                    continue
                falls = []
                for chosen in pieces.choices(SHARE, draws, generator):
                    left = {**inputs.values, **pieces.deleted(chosen)}
                    now = answer_score(target, head, inputs.scores(left, place), answers)
                    falls.append((score - now).numpy()[known])
                pairs = zip(falls[0].tolist(), np.mean(falls[1:], axis=0).tolist(), strict=True)
                drops.setdefault(group, []).extend(pairs)
    return [_deletion(group, np.array(group_drops)) for group, group_drops in drops.items()]


def _deletion(group: str, drops: Float[np.ndarray, "rows 2"]) -> Deletion:
    gap = drops[:, 0] - drops[:, 1]
    marked, random = drops.mean(axis=0).tolist()
    return Deletion(group, len(drops), marked, random, float(gap.mean()), _interval(gap))


def _interval(values: Float[np.ndarray, " rows"]) -> tuple[float, float]:
    """The normal 95 % interval of a mean; NaN for fewer than two rows."""
    if len(values) < 2:
        return float("nan"), float("nan")
    reach = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - reach, float(values.mean()) + reach


class _Pieces:
    """The pieces of some columns: which piece each place belongs to, and what each piece's map sums to.

    Args:
        places: column → piece numbers, ``[batch, ...]``; -1 where nothing is.
    """

    def __init__(
        self, inputs: Inputs, maps: Mapping[str, Tensor], places: Mapping[str, np.ndarray]
    ) -> None:
        self.inputs = inputs
        self.places = places
        rows = len(next(iter(places.values())))
        count = 1 + max(int(each.max(initial=-1)) for each in places.values())
        self.sums = np.zeros((rows, count))
        self.there = np.zeros((rows, count), dtype=bool)
        for name, numbers in places.items():
            row, *_ = np.nonzero(numbers >= 0)
            piece = numbers[numbers >= 0]
            np.add.at(self.sums, (row, piece), maps[name].numpy()[numbers >= 0])
            self.there[row, piece] = True

    def known(self) -> Bool[np.ndarray, " rows"]:
        """Rows with more than one piece."""
        return self.there.sum(axis=1) > 1

    def choices(
        self, share: float, draws: int, generator: np.random.Generator
    ) -> Iterator[Bool[np.ndarray, "rows pieces"]]:
        """The marked pieces of each row, then as many at random, ``draws`` times."""
        count = np.maximum(1, np.rint(share * self.there.sum(axis=1)))
        for ranked in [self.sums, *(generator.random(self.sums.shape) for _ in range(draws))]:
            order = np.argsort(np.argsort(-np.where(self.there, ranked, -np.inf), axis=1), axis=1)
            yield (order < count[:, None]) & self.there

    def deleted(self, chosen: Bool[np.ndarray, "rows pieces"]) -> dict[str, Tensor]:
        """The columns' values with the chosen pieces at their baseline."""
        marks = {}
        for name, numbers in self.places.items():
            values, base = self.inputs.values[name], self.inputs.base[name]
            gone = torch.from_numpy(np.take_along_axis(
                chosen, np.maximum(numbers, 0).reshape(len(numbers), -1), axis=1
            ).reshape(numbers.shape) & (numbers >= 0))  # fmt: skip
            gone = gone.reshape(*gone.shape, *[1] * (values.ndim - gone.ndim))
            marks[name] = torch.where(gone, base, values)
        return marks


def _groups(
    maps: Mapping[str, Tensor],
    inputs: Inputs,
    kinds: Mapping[str, Unit],
    features: Features,
) -> Iterator[tuple[str, _Pieces]]:
    """Each media column's pieces, then those of all tabular columns."""
    summed = {name: pooled(values, kinds[name]) for name, values in maps.items()}
    fields = [name for name in maps if features.modalities[name] in TABULAR_MODALITIES]
    for name, values in summed.items():
        if name not in fields:
            places = _pieces(values.shape, inputs.mask[name].numpy(), kinds[name])
            yield name, _Pieces(inputs, summed, {name: places})
    if fields:
        numbers = {
            name: np.where(inputs.mask[name].numpy(), number, -1)
            for number, name in enumerate(fields)
        }
        yield FIELDS, _Pieces(inputs, summed, numbers)


def _pieces(shape: torch.Size, mask: Bool[np.ndarray, "batch *steps"], kind: Unit) -> np.ndarray:
    """Which piece each place of a column's maps belongs to, -1 where nothing is."""
    along = np.arange(shape[1]) if len(shape) > 1 else np.zeros(1, np.int64)
    if kind == "pixels":
        down, right = (np.arange(size) * ACROSS // max(size, ACROSS) for size in shape[1:])
        whole = down[:, None] * ACROSS + right
    elif kind in TIMED:
        down = along * ALONG // max(len(along), ALONG)
        bands = ACROSS if kind == "spectrum" else 1
        right = np.arange(shape[2]) * bands // max(shape[2], bands)
        whole = down[:, None] * bands + right
    else:
        whole = along
    real = mask.reshape(*mask.shape, *[1] * (len(shape) - mask.ndim))
    if kind == "field":
        return np.where(mask, 0, -1)
    return np.where(real, np.broadcast_to(whole, tuple(shape)), -1)


def randomisation_check(
    fitted: Fitted,
    columns: Mapping[str, PreparedColumn],
    rows: Int64[np.ndarray, " rows"],
    target: Target,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> list[Randomised]:
    """Compare maps with those of the same model, its weights shuffled (Adebayo et al. 2018, section 4).

    Every parameter's numbers are permuted within it, which keeps their distribution and nothing that
    was learnt. Both maps are of the model's own answer to the row.

    Cost: twice that of `plait.insight.explain.within.attribute`.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = deepcopy(fitted.model)
    with torch.no_grad():
        for parameter in shuffled.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    trained_maps, shuffled_maps = (
        attribute(which, columns, rows, target, fitted.features, steps=steps)
        for which in (fitted.model, shuffled)
    )
    checks = []
    for name in trained_maps.maps:
        pairs = zip(trained_maps.maps[name], shuffled_maps.maps[name], strict=True)
        likeness = np.array(
            [_likeness(a, b) for a, b in pairs if a is not None and b is not None and a.size > 2]
        )
        likeness = likeness[~np.isnan(likeness)]
        if len(likeness):
            checks.append(
                Randomised(name, len(likeness), float(likeness.mean()), _interval(likeness))
            )
    return checks


def _likeness(first: np.ndarray, second: np.ndarray) -> float:
    """The absolute rank correlation of two maps' sizes; NaN where one of them is flat."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.abs(each).ravel()) for each in (first, second)]
    if any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    return float(abs(np.corrcoef(*ranks)[0, 1]))
