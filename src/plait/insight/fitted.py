"""A fitted model as a value: what it is made of, and what it gives for the rows of a table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from plait.answers.answerer import Answerer, Met, PreparedBatch, batches, check_streams
from plait.answers.answers import Answers
from plait.answers.evaluation import ALL
from plait.answers.golden import Row
from plait.config import Config
from plait.data.features import Features
from plait.data.table.quarantine import Quarantine
from plait.data.table.schema import Schema
from plait.data.table.source import Table, open_table
from plait.data.targets.scores import Scores
from plait.data.targets.target import Target
from plait.devices import compute_threads, torch_threads
from plait.display.progress import Reporter, Silent
from plait.insight.explain.held_out import HeldOut, apply_temperatures
from plait.model.blueprint import Blueprint
from plait.model.frozen import Frozen
from plait.model.infer import fused_vectors, infer
from plait.model.model import Model


@dataclass(kw_only=True, eq=False, repr=False)
class Fitted(Answerer):
    """A fitted model: everything that explaining, diagnosing, reporting and exporting it start from.

    Attributes:
        config: the options of the fit.
        schema: columns, roles and reasons.
        features: how cells are prepared.
        blueprint: streams, encoders, fusion and sizes of the model.
        targets: what is predicted.
        model: the torch module; its heads' probabilities are the calibrated ones.
        metrics: of the validation rows, as measured when fitting.
        history: loss and score by epoch.
        golden: rows with the answers they must give.
        quarantine: unreadable cells met while fitting.
        frozen: the pretrained encoders that run before the model.
        held: what the validation rows tell: temperatures, conformal scores, where rows lie.
        record: of the fit: seconds by stage, rows, decisions; empty for a bundle that keeps none.
    """

    config: Config
    schema: Schema
    features: Features
    blueprint: Blueprint
    targets: list[Target]
    model: Model
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    golden: list[Row] = field(default_factory=list)
    quarantine: Quarantine = field(default_factory=Quarantine)
    frozen: Frozen = field(default_factory=lambda: Frozen({}))
    held: HeldOut = field(default_factory=HeldOut)
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        apply_temperatures(self.model.eval(), self.held.calibration)

    def threads(self) -> AbstractContextManager[None]:
        """The threads that the model computes with."""
        return torch_threads(self.config.threads or compute_threads())

    def batches(self, table: Table, *, reporter: Reporter | None = None) -> Iterator[PreparedBatch]:
        """The table as the model reads it, a run of rows at a time, frozen encoders' tokens included.

        Raises:
            TableError: the table has none of the model's columns.
        """
        for batch in batches(table, self.features, self.config, reporter or Silent()):
            yield batch._replace(prepared=self.frozen.encode(batch.prepared))

    def scores(
        self,
        table: Table,
        subsets: Mapping[str, Sequence[str] | None] | None = None,
        *,
        met: Met | None = None,
        reporter: Reporter | None = None,
    ) -> dict[str, dict[str, Scores]]:
        """Scores of every row for each subset of streams; encoders run once.

        Args:
            subsets: name → the only streams to look at, or None for all; by default `ALL` of them.
            met: is given the unreadable cells and the absent columns.

        Returns:
            subset → target → probabilities, standardised numbers, or sequences.
        """
        parts: dict[str, dict[str, list[np.ndarray]]] = {}
        with self.threads():
            for batch in self.batches(table, reporter=reporter):
                columns, rows = batch.prepared.columns, np.arange(batch.rows)
                for name, scores in infer(self.model, columns, rows, subsets=subsets).items():
                    for target, values in scores.items():
                        parts.setdefault(name, {}).setdefault(target, []).append(values)
                if met is not None:
                    met.note(batch)
        return {
            name: {target: np.concatenate(values) for target, values in by_target.items()}
            for name, by_target in parts.items()
        }

    def vectors(
        self,
        table: Table,
        streams: Sequence[str] | None = None,
        *,
        met: Met | None = None,
        reporter: Reporter | None = None,
    ) -> Float[np.ndarray, "rows width"]:
        """The fused vector of every row.

        Args:
            streams: the only streams to look at; None: all.
            met: is given the unreadable cells and the absent columns.

        Raises:
            ConfigError: streams is no list of names, or the model has no such stream.
        """
        streams = check_streams(streams, self.model.streams)
        parts = []
        with self.threads():
            for batch in self.batches(table, reporter=reporter):
                columns, rows = batch.prepared.columns, np.arange(batch.rows)
                parts.append(fused_vectors(self.model, columns, rows, streams))
                if met is not None:
                    met.note(batch)
        return np.concatenate(parts)

    def answer(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        streams: Sequence[str] | None = None,
        reporter: Reporter | None = None,
    ) -> Answers:
        """Answers with scores and with what went wrong on the way.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder media paths are relative to; default: the table's own.
            streams: the only streams to look at; None: all.

        Raises:
            ConfigError: streams is no list of names, or the model has no such stream.
        """
        streams = check_streams(streams, self.model.streams)
        table, met = open_table(source, root=root, empty=True), Met()
        scores = self.scores(table, {ALL: streams}, met=met, reporter=reporter)[ALL]
        return Answers.of(self.targets, scores, met.quarantine, met.absent)
