"""The object a user holds: a fitted model that predicts, evaluates, embeds and saves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait.answers import golden
from plait.answers.answerer import Answerer, chunks, note, warn
from plait.answers.answers import Answers
from plait.answers.evaluation import ALL, Evaluation, measure, subsets
from plait.config import Config, current_names, within_caps
from plait.data.features import Features, PreparedTable
from plait.data.table.quarantine import Entry, Quarantine
from plait.data.table.schema import Schema
from plait.data.table.source import Table, open_table
from plait.data.targets.target import Target
from plait.devices import compute_threads, torch_threads
from plait.errors import (
    BundleError,
    CheckpointError,
    ConfigError,
    MissingExtra,
    PlaitError,
    TableError,
    counted,
    unknown,
)
from plait.insight.explain.contributions import contributions
from plait.insight.explain.explanation import explain
from plait.insight.explain.held_out import ARRAYS, DOCUMENT, HeldOut, apply_temperatures
from plait.insight.explain.sets import predict_set
from plait.insight.report.report import report
from plait.model.assemble import build
from plait.model.backbones import bundle_weights, frozen_encoders, revive_frozen
from plait.model.blueprint import Blueprint
from plait.model.encoders.base import load_learnt
from plait.model.frozen import Frozen
from plait.model.infer import infer
from plait.model.loader import collate
from plait.model.model import Model
from plait.predictor.bundle import Contents, load_bundle, save_bundle
from plait.predictor.card import model_card, model_html
from plait.predictor.impute import impute
from plait.progress import Reporter, Silent


@dataclass(frozen=True)
class _Seen:
    """What one pass over a table gave: subset → target → scores, unreadable cells, absent columns."""

    scores: dict[str, dict[str, np.ndarray]]
    quarantine: Quarantine
    absent: list[str]


class Predictor(Answerer):
    """A fitted model. Made by `plait.fit` or `plait.load`; never by hand.

    Attributes:
        schema: columns, roles and reasons.
        targets: what is predicted.
        model: the torch module.
        metrics: of the validation rows, as measured when fitting.
        history: loss and score by epoch.
        held: what the validation rows tell: temperatures, conformal scores, where rows lie.
        record: of the fit: seconds by stage, rows, decisions; empty for a bundle that keeps none.
    """

    def __init__(
        self,
        *,
        config: Config,
        schema: Schema,
        features: Features,
        blueprint: Blueprint,
        targets: list[Target],
        model: Model,
        metrics: dict[str, Any] | None = None,
        history: list[dict[str, float]] | None = None,
        rows: list[golden.Row] | None = None,
        quarantine: Quarantine | None = None,
        frozen: Frozen | None = None,
        held: HeldOut | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.schema = schema
        self.features = features
        self.blueprint = blueprint
        self.targets = targets
        self.model = model.eval()
        self.metrics = metrics or {}
        self.history = history or []
        self.golden = rows or []
        self.quarantine = quarantine or Quarantine()
        self.frozen = frozen or Frozen({})
        self.held = held or HeldOut()
        self.record = record or {}
        apply_temperatures(self.model, self.held.calibration)

    def embed(self, source: Any, *, root: Path | str | None = None) -> np.ndarray:
        """The fused vector of every row, ``[rows, width]`` float32.

        Warns:
            UnreadableCellsWarning: cells were unreadable and counted as missing.
        """
        parts = []
        quarantine, absent = Quarantine(), []
        with torch_threads(self.config.threads or compute_threads()):
            for start, rows, prepared in self._chunks(
                open_table(source, root=root, empty=True), Silent()
            ):
                parts.append(self._vectors(prepared, rows))
                note(quarantine, prepared, start)
                absent = prepared.absent
        warn(quarantine, absent)
        return np.concatenate(parts)

    contributions = contributions
    explain = explain
    impute = impute
    _repr_html_ = model_html
    predict_set = predict_set
    report = report
    verify = golden.verify

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
            streams: the only streams to look at; None: all.

        Raises:
            ConfigError: the model has no stream of such a name.
        """
        wrong = [name for name in streams or () if name not in self.model.streams]
        if wrong:
            raise ConfigError(
                [f"streams: {unknown('stream', name, self.model.streams)}" for name in wrong]
            )
        shown = {ALL: list(streams) if streams is not None else None}
        seen = self._infer(open_table(source, root=root, empty=True), shown, reporter or Silent())
        return Answers.of(self.targets, seen.scores[ALL], seen.quarantine, seen.absent)

    def evaluate(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        seed: int = 0,
        resamples: int = 200,
        reporter: Reporter | None = None,
    ) -> Evaluation:
        """Metrics on a table with answers: of the whole, of each stream alone, without each stream.

        Args:
            seed: of the bootstrap.
            resamples: of the bootstrap; 0 leaves the intervals out.

        Raises:
            TableError: the table lacks a target column, or no row has a known answer.
        """
        table = open_table(source, root=root)
        table.require([target.name for target in self.targets])
        encoded, notes = self._truth(table)
        seen = self._infer(table, subsets(list(self.blueprint.streams)), reporter or Silent())
        results = measure(self.targets, encoded, seen.scores, seed=seed, resamples=resamples)
        if not results:
            raise TableError(
                f"{table.name} has no row with a known answer in "
                f"{', '.join(target.name for target in self.targets)}: nothing can be measured."
            )
        notes += [f"no column '{name}': it counted as missing in every row" for name in seen.absent]
        notes += seen.quarantine.summary() + seen.quarantine.cut()
        return Evaluation(table.name, table.rows, seed, results, notes)

    def save(self, folder: Path | str) -> Path:
        """Save the bundle; returns its folder.

        Raises:
            BundleError: it could not be written; an earlier bundle there is untouched.
        """
        path = Path(folder)
        documents = {
            "config.json": self.config.model_dump(mode="json"),
            "schema.json": self.schema.to_json(),
            "preprocessing.json": self.features.to_json(),
            "architecture.json": self.blueprint.to_json(),
            "targets.json": [target.to_json() for target in self.targets],
            "golden.json": golden.to_json(self.golden),
            "metrics.json": self.metrics,
            "history.json": self.history,
            "record.json": self.record,
            "quarantine.json": [
                [entry.row, entry.column, entry.reason] for entry in self.quarantine.entries
            ],
            DOCUMENT: self.held.to_json(),
        }
        arrays = {ARRAYS: self.held.arrays()}
        card = model_card(self.targets, self.features, self.blueprint, self.metrics)
        weights = bundle_weights(
            self.model, self.blueprint.records, list(self.model.streams), self.frozen
        )
        save_bundle(path, Contents(documents, {"README.md": card}, weights, arrays))
        return path

    def _infer(
        self, table: Table, shown: Mapping[str, Sequence[str] | None], reporter: Reporter
    ) -> "_Seen":
        """Scores of every row for each subset of streams, and what was met on the way."""
        found: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in shown}
        seen = _Seen({}, Quarantine(), [])
        with torch_threads(self.config.threads or compute_threads()):
            for start, rows, prepared in self._chunks(table, reporter):
                scores = infer(self.model, prepared.columns, np.arange(rows), shown=shown)
                for name, by_target in scores.items():
                    for target, values in by_target.items():
                        found[name].setdefault(target, []).append(values)
                note(seen.quarantine, prepared, start)
                seen.absent[:] = prepared.absent
        for name, parts in found.items():
            seen.scores[name] = {target: np.concatenate(part) for target, part in parts.items()}
        return seen

    def _chunks(self, table: Table, reporter: Reporter) -> Iterator[tuple[int, int, PreparedTable]]:
        """Start, length and prepared columns of each run of rows, with frozen encoders' tokens."""
        for start, rows, prepared in chunks(table, self.features, self.config, reporter):
            yield start, rows, self.frozen.encode(prepared)

    @torch.no_grad()
    def _vectors(self, prepared: PreparedTable, rows: int) -> np.ndarray:
        parts = [
            self.model.fuse(self.model.encode(collate(prepared.columns, part))).vector.numpy()
            for part in np.array_split(np.arange(rows), max(1, -(-rows // 256)))
        ]
        return np.concatenate(parts)

    def _truth(self, table: Table) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
        """Each target's encoded answers, and what is to be said about them."""
        encoded, notes = {}, []
        for target in self.targets:
            values, present, problems = target.encode(table.cells(target.name))
            encoded[target.name] = (values, present)
            if problems:
                notes.append(
                    f"{counted(len(problems), 'row was', 'rows were')} left out of the figures for "
                    f"'{target.name}': row {problems[0].row}: {problems[0].reason}"
                )
        return encoded, notes


_MISFITS = (
    PlaitError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
)
"""What is raised when a bundle's documents are well-formed and make no sense."""


def load(folder: Path | str, **caps: float) -> Predictor:
    """Load a bundle. Nothing inside it is executed, and nothing inside it can lift a cap.

    Args:
        caps: ``max_image_megapixels`` and the like, where the caller wants others than the default. A
            bundle's own are taken only where they are lower.

    Raises:
        BundleError: no bundle there, damaged, of a newer format, or holding what it must not.
        CheckpointError: a pretrained encoder that it refers to is not there, or is another one.
    """
    path = Path(folder)
    contents = load_bundle(path)
    documents: Mapping[str, Any] = contents.documents
    try:
        features = Features.from_json(documents["preprocessing.json"])
        blueprint = Blueprint.from_json(documents["architecture.json"])
        targets = [Target.from_json(part) for part in documents["targets.json"]]
        model = build(blueprint, features, targets)
        kept = {k: v for k, v in contents.weights.items() if not k.startswith("frozen/")}
        load_learnt(model, kept)
        frozen = frozen_encoders(
            blueprint.frozen,
            features.states,
            revive_frozen(blueprint.frozen, features.states, contents.weights),
            keep_cells=bool(blueprint.decoders),
        )
        return Predictor(
            config=within_caps(Config(**current_names(documents["config.json"])), caps),
            schema=Schema.from_json(documents["schema.json"]),
            features=features,
            blueprint=blueprint,
            targets=targets,
            model=model,
            metrics=documents.get("metrics.json"),
            history=documents.get("history.json"),
            record=documents.get("record.json"),
            rows=golden.from_json(documents.get("golden.json", [])),
            quarantine=Quarantine(Entry(*entry) for entry in documents.get("quarantine.json", [])),
            frozen=frozen,
            held=HeldOut.restored(documents.get(DOCUMENT, {}), contents.arrays.get(ARRAYS, {})),
        )
    except (CheckpointError, MissingExtra):
        raise
    except _MISFITS as error:
        raise BundleError(f"the bundle {path} does not fit together: {error}") from error
