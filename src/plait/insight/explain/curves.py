"""A metric as one column gets worse, beside what a late fusion of the same streams keeps of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64

from plait.data.store import PreparedColumn
from plait.data.targets.scores import Scores, is_ragged
from plait.data.targets.target import Metrics, Target
from plait.display.progress import Reporter
from plait.insight.explain.degrade import degradations, degrade
from plait.insight.fitted import Fitted
from plait.model.infer import encoded, in_order
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import Tokens

Truths = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Target → encoded answers, and which are known."""


@dataclass(frozen=True)
class Curve:
    """A metric as one column gets worse.

    Attributes:
        column, how: what is degraded, and by which of `plait.insight.explain.degrade.degradations`.
        metric: the primary one of the target.
        levels, values: from 0, untouched, to 1.
        late: the same for the mean of what each stream answers by itself, the baseline of effective
            robustness.
    """

    target: str
    column: str
    how: str
    metric: str
    levels: list[float]
    values: list[float]
    late: list[float]

    @property
    def relative(self) -> float:
        """Its relative robustness."""
        return relative_robustness(self.levels, self.values)

    @property
    def effective(self) -> float:
        """Its effective robustness, against the late fusion of the same streams."""
        return effective_robustness(self.levels, self.values, self.late)


def relative_robustness(levels: Sequence[float], values: Sequence[float]) -> float:
    """The mean of a metric over all levels of a degradation (MultiBench; Liang et al. 2021, appendix).

    ``τ = ∫ f(σ) dσ / (σ_max - σ_min)``, by trapezoids: the area under the curve of performance against
    imperfection.
    """
    heights, widths = np.asarray(values, float), np.diff(np.asarray(levels, float))
    return float((widths * (heights[1:] + heights[:-1]) / 2).sum() / widths.sum())


def effective_robustness(
    levels: Sequence[float], values: Sequence[float], baseline: Sequence[float]
) -> float:
    """How much better a model keeps up than a baseline that starts as well (the same appendix).

    ``ρ = ∫ (f(σ) - β(σ)) dσ / (σ_max - σ_min)`` with ``β(σ) = b(σ) + f(0) - b(0)`` and b the baseline's
    curve; MultiBench's baseline is late fusion. It sums over its levels where this integrates, so that
    the number of levels does not count. 0: as fast a decline as the baseline's.
    """
    shifted = [at + values[0] - baseline[0] for at in baseline]
    return relative_robustness(levels, values) - relative_robustness(levels, shifted)


def metrics_of(target: Target, truths: Truths, scores: Scores) -> Metrics:
    """A target's metrics over the rows whose answer is known."""
    values, known = truths[target.name]
    return target.measure(values[known], scores[known])


def judged(fitted: Fitted, truths: Truths) -> list[Target]:
    """The targets of which some row's true answer is known."""
    return [
        target
        for target in fitted.targets
        if target.name in truths and bool(truths[target.name][1].any())
    ]


class _Batch(NamedTuple):
    """Some rows: their tokens, and what each stream answers by itself."""

    rows: Int64[np.ndarray, " batch"]
    tokens: dict[str, Tokens]
    own: dict[str, dict[str, Scores]]


def degraded_curves(
    fitted: Fitted,
    columns: Mapping[str, PreparedColumn],
    truths: Truths,
    *,
    levels: Sequence[float],
    chosen: Sequence[str] | None = None,
    seed: int = 0,
    reporter: Reporter,
) -> Iterator[Curve]:
    """A curve for each target that some row has, each column and each degradation.

    Args:
        columns: prepared; the rows that are measured.
        levels: from 0 up to 1, rising.
        chosen: columns to degrade; None: all.

    Cost: every stream's encoder once over the rows; then, for each column, degradation and level, that
    column's encoder and two fusions. Keeps the tokens of all rows in memory.
    """
    modalities, targets = fitted.features.modalities, judged(fitted, truths)
    whole = _Rows(fitted.model, columns)
    plans = [
        (name, how)
        for name in modalities  # not the cells that only decoders want
        if name in columns and (chosen is None or name in chosen)
        for how in degradations(modalities[name], columns[name])
    ]
    untouched = whole.scores()
    with reporter.stage("degrade", len(plans) * len(levels), "passes") as stage:
        for name, how in plans:
            curves: dict[str, list[tuple[float, float]]] = {target.name: [] for target in targets}
            for level in levels:
                worse = degrade(columns[name], modalities[name], how, level, seed=seed)
                both = whole.scores(name, worse) if level else untouched
                for target in targets:
                    fused, late = (
                        metrics_of(target, truths, answers[target.name]) for answers in both
                    )
                    primary = target.primary
                    curves[target.name].append((fused[primary], late[primary]))
                stage.advance(1)
            for target in targets:
                values, late_values = map(list, zip(*curves[target.name], strict=True))
                primary = target.primary
                yield Curve(target.name, name, how, primary, list(levels), values, late_values)


class _Rows:
    """All rows' tokens, encoded once, in any of which one column can be replaced."""

    @torch.no_grad()
    def __init__(self, model: Model, columns: Mapping[str, PreparedColumn]) -> None:
        self.model = model
        self.columns = columns
        self.batches = []
        for rows, tokens in encoded(model, columns, np.arange(len(next(iter(columns.values()))))):
            own = {name: model.scores(model.fuse(tokens, [name])) for name in tokens}
            self.batches.append(_Batch(rows, tokens, own))

    @torch.no_grad()
    def scores(
        self, column: str | None = None, worse: PreparedColumn | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Each target's scores: fused, and the mean over streams that answer by themselves."""
        parts: list[tuple[dict[str, Scores], dict[str, Scores]]] = []
        for batch in self.batches:
            tokens, own = batch.tokens, batch.own
            if column is not None and worse is not None:
                stream, again = self._again(column, worse, batch.rows)
                tokens = {**tokens, stream: again}
                own = {**own, stream: self.model.scores(self.model.fuse(tokens, [stream]))}
            there = np.stack([stream_tokens.present.numpy() for stream_tokens in tokens.values()])
            parts.append((self.model.scores(self.model.fuse(tokens)), _mean(own, there)))
        order = [batch.rows for batch in self.batches]
        fused, late = (
            {
                name: in_order([part[at][name] for part in parts], order)
                for name in self.model.targets
            }
            for at in (0, 1)
        )
        return fused, late

    def _again(
        self, column: str, worse: PreparedColumn, rows: Int64[np.ndarray, " batch"]
    ) -> tuple[str, Tokens]:
        """The stream that reads a column, and its tokens with that column replaced."""
        place, (stream, names) = next(
            (at, item) for at, item in enumerate(self.model.streams.items()) if column in item[1]
        )
        own = {name: worse if name == column else self.columns[name] for name in names}
        batch = collate(own, rows)
        tokens: Tokens = self.model.encoders[place](*(batch[name] for name in names))
        return stream, tokens


def _mean(
    own: Mapping[str, Mapping[str, Scores]], there: Bool[np.ndarray, "streams batch"]
) -> dict[str, Scores]:
    """The mean over the streams that a row has; over all for a row that has none.

    Sequences have no mean: of those it is the answer of the first stream that a row has.
    """
    there = np.where(there.any(axis=0), there, True)
    weight = (there / there.sum(axis=0, dtype=np.float32))[:, :, None].astype(np.float32)
    first, rows = there.argmax(axis=0), np.arange(there.shape[1])
    means = {}
    for name in next(iter(own.values())):
        every = np.stack([scores[name] for scores in own.values()])
        means[name] = every[first, rows] if is_ragged(every) else (every * weight).sum(axis=0)
    return means
