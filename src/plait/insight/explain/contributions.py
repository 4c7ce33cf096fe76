"""What each stream adds to an answer and to a metric, and which streams tell the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from plait.answers.answerer import PreparedBatch
from plait.answers.plain import plain
from plait.data.table.source import Table
from plait.data.targets.target import Target
from plait.display.notebook import block, grid
from plait.display.progress import Reporter
from plait.errors import counted
from plait.insight.explain.shapley import ORDERS, Game
from plait.insight.fitted import Fitted
from plait.model.infer import score_views

MAX_METRIC_ROWS = 5000
"""Rows at most that metrics are shared out over; evenly spaced where a table has more."""

SMALL, SLIGHT = 0.01, 0.05
"""An interaction below either is called independence: of one unit, of what the two streams add."""

SYNERGY, REDUNDANCY, INDEPENDENT, UNKNOWN = "synergy", "redundancy", "independent", "unknown"

Pair = tuple[str, str]


@dataclass(frozen=True)
class MetricShares:
    """One metric of a data set, shared out over the streams.

    Attributes:
        fused, empty: the metric with every stream, and with none.
        values: what each stream adds, ``[streams]``; they sum to ``fused - empty``.
        interactions: what each pair adds beyond its parts, ``[pairs]``.
        error, interaction_error: standard errors; None where exact.
        better: +1 where higher is better, -1 where lower is.
        unit: how much of the metric counts as one.
    """

    fused: float
    empty: float
    values: Float[np.ndarray, " streams"]
    interactions: Float[np.ndarray, " pairs"]
    error: Float[np.ndarray, " streams"] | None
    interaction_error: Float[np.ndarray, " pairs"] | None
    better: int
    unit: float


@dataclass(frozen=True)
class TargetShares:
    """One target's answers, shared out over the streams.

    Attributes:
        answers: in the user's terms.
        fused, empty: every row's score with all streams and with none, ``[rows]``: the probability of
            the answered class, the mean probability of the answered labels, or the number.
        values: what each stream adds, ``[rows, streams]``; a row's sum to ``fused - empty``.
        interactions: what each pair adds beyond its parts, ``[rows, pairs]``.
        error, interaction_error: standard errors; None where exact.
        unit: how much of the score counts as one: 1, or a number's deviation.
        metrics: the same for each metric, where the table holds answers.
    """

    answers: list[Any]
    fused: Float[np.ndarray, " rows"]
    empty: Float[np.ndarray, " rows"]
    values: Float[np.ndarray, "rows streams"]
    interactions: Float[np.ndarray, "rows pairs"]
    error: Float[np.ndarray, "rows streams"] | None
    interaction_error: Float[np.ndarray, "rows pairs"] | None
    unit: float
    metrics: dict[str, MetricShares] = field(default_factory=dict)


@dataclass(frozen=True)
class Contributions:
    """Shapley values and interactions of the streams, for every row and for the whole table.

    Attributes:
        streams, pairs: the order of the axes of those names.
        present: which streams each row has, ``[rows, streams]``; the others get exactly 0.
        targets: target → its shares.
        sampled: whether there were too many streams to look at all their subsets.
        notes: what a reader must know.
    """

    source: str
    streams: list[str]
    pairs: list[Pair]
    present: Bool[np.ndarray, "rows streams"]
    targets: dict[str, TargetShares]
    sampled: bool
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.present)

    def readings(self, target: str, row: int) -> dict[Pair, str]:
        """What each pair of streams is to each other in one row's answer, in words (see `reading`)."""
        shares = self.targets[target]
        return self._read(shares.interactions[row], shares.values[row], shares.unit)

    def metric_readings(self, target: str, metric: str) -> dict[Pair, str]:
        """The same for a metric of the whole table."""
        shares = self.targets[target].metrics[metric]
        better = shares.better * shares.interactions
        return self._read(better, shares.values, shares.unit)

    def importance(self, target: str) -> dict[str, float]:
        """The mean absolute contribution of each stream, over the rows."""
        means = np.abs(self.targets[target].values).mean(axis=0) if len(self) else []
        return dict(zip(self.streams, map(float, means), strict=False))

    def _repr_html_(self) -> str:
        """What each stream adds on average and to each metric, for a notebook."""
        parts = []
        for name, shares in self.targets.items():
            mean = self.importance(name)
            head = [name, "in a row, mean size", *shares.metrics]
            rows: list[list[object]] = [
                [stream, mean.get(stream), *(float(m.values[at]) for m in shares.metrics.values())]
                for at, stream in enumerate(self.streams)
            ]
            rows.append(["with all", None, *(m.fused for m in shares.metrics.values())])
            rows.append(["with none", None, *(m.empty for m in shares.metrics.values())])
            parts.append(grid(head, rows))
        streams = counted(len(self.streams), "stream")
        title = f"Contributions of {streams}, {counted(len(self))} of {self.source}"
        return block(title, *parts, notes=self.notes)

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null, the words of the readings included."""
        targets = {}
        for name, shares in self.targets.items():
            targets[name] = {
                **vars(shares),
                "metrics": {
                    metric: {
                        **vars(contribution),
                        "readings": _told(self.metric_readings(name, metric)),
                    }
                    for metric, contribution in shares.metrics.items()
                },
                "readings": [_told(self.readings(name, row)) for row in range(len(self))],
                "importance": self.importance(name),
            }
        return dict(plain({**vars(self), "targets": targets}))

    def _read(self, interactions: np.ndarray, values: np.ndarray, whole: float) -> dict[Pair, str]:
        place = {name: number for number, name in enumerate(self.streams)}
        return {
            (first, second): reading(
                float(interaction), abs(values[place[first]]) + abs(values[place[second]]), whole
            )
            for (first, second), interaction in zip(self.pairs, interactions, strict=True)
        }


def _told(readings: Mapping[Pair, str]) -> list[list[str]]:
    return [[*pair, word] for pair, word in readings.items()]


def reading(interaction: float, added: float, unit: float = 1.0) -> str:
    """A pair's interaction index in a word.

    * ``independent``: below `SMALL` of one unit, or below `SLIGHT` of what the two streams add (the sum
      of their absolute Shapley values). Each adds what it adds, whether or not the other is there.
    * ``synergy``: above. Together they add more than one by one.
    * ``redundancy``: below zero. They tell the same; a score that cannot rise above 1 also counts as
      this, for two streams that each suffice.
    * ``unknown``: too few orders were drawn.
    """
    if np.isnan(interaction):
        return UNKNOWN
    if abs(interaction) < max(SMALL * unit, SLIGHT * float(added)):
        return INDEPENDENT
    return SYNERGY if interaction > 0 else REDUNDANCY


def contributions(
    fitted: Fitted,
    table: Table,
    *,
    metrics: bool = True,
    orders: int = ORDERS,
    seed: int = 0,
    batches: Iterable[PreparedBatch] | None = None,
    reporter: Reporter | None = None,
) -> Contributions:
    """`plait.Predictor.contributions`, which says what it takes and gives.

    Args:
        batches: the rows as the model reads them, where they are at hand already.
    """
    streams = list(fitted.model.streams)
    game = Game(len(streams), orders=orders, seed=seed)
    gathered = {target.name: _Gathered(target, game) for target in fitted.targets}
    wanted = np.unique(np.linspace(0, max(table.rows - 1, 0), MAX_METRIC_ROWS).astype(np.int64))
    known = [target for target in fitted.targets if metrics and target.name in table.columns]
    present, notes = [], []
    with fitted.threads():
        for batch in batches or fitted.batches(table, reporter=reporter):
            rows = np.arange(batch.rows)
            kept = np.isin(batch.start + rows, wanted)
            seen, scores = score_views(
                fitted.model, batch.prepared.columns, rows, game.subsets[:, None]
            )
            for target in fitted.targets:
                truth = kept if target in known else None
                gathered[target.name].add(scores[target.name], seen, truth)
            present.append(seen)
            notes += [line for line in _notes(batch) if line not in notes]
    if known and table.rows > MAX_METRIC_ROWS:
        notes.append(f"metrics are shared out over {len(wanted)} of the {table.rows} rows")
    shares = {
        name: gathering.shares(
            _truth(table, gathering.target, wanted) if gathering.target in known else None
        )
        for name, gathering in gathered.items()
    }
    pairs = [(streams[first], streams[second]) for first, second in game.pairs]
    whole = np.concatenate(present)
    return Contributions(table.name, streams, pairs, whole, shares, game.sampled, notes)


def _notes(batch: PreparedBatch) -> list[str]:
    lines = [
        f"the table has no column '{name}'; it counted as missing in every row"
        for name in batch.prepared.absent
    ]
    return lines + [
        f"row {batch.start + entry.row}, column '{entry.column}': {entry.reason}; counted as missing"
        for entry in batch.prepared.quarantine.entries
    ]


def _truth(
    table: Table, target: Target, rows: np.ndarray
) -> tuple[np.ndarray, Bool[np.ndarray, " rows"]]:
    """Some rows' encoded answers, and which of those are known."""
    rows = rows[: table.rows]
    values, known, _ = target.encode(table.cells(target.name, rows))
    return values, known


class _Gathered:
    """One target's shares, gathered a run of rows at a time, and the scores that metrics need."""

    def __init__(self, target: Target, game: Game) -> None:
        self.target = target
        self.game = game
        self.parts: dict[str, list[np.ndarray]] = {}
        self.kept: list[np.ndarray] = []
        self.answers: list[Any] = []

    def add(
        self,
        scores: Shaped[np.ndarray, "subsets rows ..."],
        present: Bool[np.ndarray, "rows streams"],
        kept: Bool[np.ndarray, " rows"] | None,
    ) -> None:
        """Take in a run of rows; ``kept`` marks those whose scores metrics need."""
        game, row_scores = self.game, self.target.row_scores(scores)
        both = np.array([present[:, a] & present[:, b] for a, b in game.pairs])
        both = both.reshape(len(game.pairs), len(present))
        put = self.parts.setdefault
        put("fused", []).append(row_scores[-1])
        put("empty", []).append(row_scores[0])
        for name, values, there in (
            ("values", game.shapley(row_scores), present.T),
            ("interactions", game.interactions(row_scores), both),
        ):
            put(name, []).append(np.where(there, values.values, 0.0).T)
            if values.error is not None:
                put(f"{name} error", []).append(np.where(there, values.error, 0.0).T)
        self.answers += self.target.answer(scores[-1]).tolist()
        if kept is not None:
            self.kept.append(scores[:, kept])

    def shares(self, truth: tuple[np.ndarray, Bool[np.ndarray, " rows"]] | None) -> TargetShares:
        """All of it; with the metrics, where answers are known."""
        whole = {name: np.concatenate(parts) for name, parts in self.parts.items()}
        metrics = {}
        if truth is not None and truth[1].any():
            metrics = self._metrics(truth[0][truth[1]], np.concatenate(self.kept, 1)[:, truth[1]])
        return TargetShares(
            self.answers,
            whole["fused"],
            whole["empty"],
            whole["values"],
            whole["interactions"],
            whole.get("values error"),
            whole.get("interactions error"),
            self.target.scale,
            metrics,
        )

    def _metrics(
        self, truth: np.ndarray, scores: Shaped[np.ndarray, "subsets rows ..."]
    ) -> dict[str, MetricShares]:
        target = self.target
        figures = [target.measure(truth, subset_scores) for subset_scores in scores]
        shares = {}
        for name in figures[0]:
            values = np.array([figure[name] for figure in figures])
            shapley, pairs = self.game.shapley(values), self.game.interactions(values)
            shares[name] = MetricShares(
                float(values[-1]),
                float(values[0]),
                shapley.values,
                pairs.values,
                shapley.error,
                pairs.error,
                1 if target.higher_is_better[name] else -1,
                target.scale if name in target.in_own_units else 1.0,
            )
        return shares
