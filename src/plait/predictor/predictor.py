"""The object a user holds: a fitted model that predicts, evaluates, explains, embeds and saves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from jaxtyping import Float

from plait.answers import golden
from plait.answers.answerer import Met, warn
from plait.answers.evaluation import Evaluation, measure, subsets
from plait.config import Config, current_names, within_caps
from plait.data.features import Features
from plait.data.table.quarantine import Entry, Quarantine
from plait.data.table.schema import Schema
from plait.data.table.source import Table, open_table
from plait.data.targets.registry import read_target
from plait.display.progress import Reporter
from plait.errors import (
    BundleError,
    CheckpointError,
    MissingExtra,
    PlaitError,
    TableError,
    UnregisteredError,
    counted,
)
from plait.insight.explain.contributions import Contributions, contributions
from plait.insight.explain.explanation import Explanation, explain
from plait.insight.explain.held_out import ARRAYS, DOCUMENT, HeldOut
from plait.insight.explain.sets import PredictionSets, predict_set
from plait.insight.explain.shapley import ORDERS
from plait.insight.explain.within import STEPS
from plait.insight.fitted import Fitted
from plait.insight.report.report import ReportOptions, report
from plait.model.assemble import build, check_recorded
from plait.model.backbones import bundle_weights, frozen_encoders, revive_frozen
from plait.model.blueprint import Blueprint
from plait.model.encoders.base import load_learnt
from plait.predictor.bundle import Contents, load_bundle, save_bundle
from plait.predictor.card import model_card, model_html
from plait.predictor.filled_table import Filled
from plait.predictor.impute import impute


class Predictor(Fitted):
    """A fitted model. Made by `plait.fit` or `plait.load`; never by hand.

    What it is made of, `plait.insight.fitted.Fitted` lists.
    """

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
            source: anything `plait.fit` takes, with the targets.
            root: the folder that media paths are relative to; default: the table's own.
            seed: of the bootstrap.
            resamples: of the bootstrap; 0 leaves the intervals out.

        Raises:
            TableError: the table lacks a target column, or no row has a known answer.
        """
        table = open_table(source, root=root)
        table.require([target.name for target in self.targets])
        encoded, notes = self._truth(table)
        met = Met()
        scores = self.scores(
            table, subsets(list(self.blueprint.streams)), met=met, reporter=reporter
        )
        results = measure(self.targets, encoded, scores, seed=seed, resamples=resamples)
        if not results:
            raise TableError(
                f"{table.name} has no row with a known answer in "
                f"{', '.join(target.name for target in self.targets)}: nothing can be measured."
            )
        notes += [f"no column '{name}': it counted as missing in every row" for name in met.absent]
        notes += met.quarantine.summary() + met.quarantine.cut()
        return Evaluation(table.name, table.rows, seed, results, notes)

    def embed(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        streams: Sequence[str] | None = None,
    ) -> Float[np.ndarray, "rows width"]:
        """The fused vector of every row, float32.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder that media paths are relative to; default: the table's own.
            streams: the only streams to look at; None: all.

        Warns:
            UnreadableCellsWarning: cells were unreadable and counted as missing.

        Raises:
            ConfigError: streams is no list of names, or the model has no such stream.
        """
        met = Met()
        vectors = self.vectors(open_table(source, root=root, empty=True), streams, met=met)
        warn(met.quarantine, met.absent)
        return vectors

    def predict_set(
        self,
        source: Any,
        *,
        coverage: float = 0.9,
        method: str | None = None,
        empty: bool = False,
        root: Path | str | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
    ) -> PredictionSets:
        """For every row a set of classes, or an interval, that contains the truth at the requested rate.

        The promise rests on the validation rows of the fit and holds for rows of the same source; see
        `plait.insight.explain.conformal`. Where the table holds answers, the coverage is measured.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            coverage: between 0 and 1.
            method: ``lac`` (default), ``aps`` or ``aps_random`` for classes; numbers have ``absolute``.
            empty: whether a set may hold nothing. By default it holds the answered class at least, so
                that a model that is right more often than was asked covers more than that.
            root: the folder that media paths are relative to; default: the table's own.
            seed: of the chance in ``aps_random``.

        Raises:
            ConfigError: the coverage cannot be promised from so few validation rows; no such method.
            TableError: the model was saved before it kept what this needs, or its only targets are
                labels.
        """
        return predict_set(
            self,
            open_table(source, root=root, empty=True),
            coverage=coverage,
            method=method,
            empty=empty,
            seed=seed,
            reporter=reporter,
        )

    def contributions(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        metrics: bool = True,
        orders: int = ORDERS,
        seed: int = 0,
        reporter: Reporter | None = None,
    ) -> Contributions:
        """What each stream adds to every row's answer and, if the table holds answers, to each metric.

        Shapley values over streams, and the Shapley interaction index of every pair
        (`plait.insight.explain.shapley`), exact for up to eight streams. A stream is left out by
        masking its tokens, which is what happens to a row that lacks it; encoders run once.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder that media paths are relative to; default: the table's own.
            metrics: share the metrics out too; over 5000 rows at most, evenly spaced.
            orders: random orders for more than eight streams, each also backwards.
            seed: of those.

        Cost: encoders once, fusion and heads ``2^streams`` times. Metrics keep ``2^streams`` scores of
        up to 5000 rows.
        """
        table = open_table(source, root=root, empty=True)
        return contributions(
            self, table, metrics=metrics, orders=orders, seed=seed, reporter=reporter
        )

    def explain(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        row: int | None = None,
        steps: int = STEPS,
    ) -> Explanation:
        """Answers, contributions of the streams, maps within each column, and how unusual each row is.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder that media paths are relative to; default: the table's own.
            row: the only row to explain, counted from 0; None: all.
            steps: of the integrated gradients; see `plait.insight.explain.within`.

        Raises:
            TableError: the table has no such row.

        Cost: ``steps`` times forward and backward a row and target; a few dozen rows per second.
        """
        return explain(self, source, root=root, row=row, steps=steps)

    def impute(
        self, source: Any, *, root: Path | str | None = None, reporter: Reporter | None = None
    ) -> Filled:
        """The table with its missing input cells filled from the other cells of their rows.

        Numbers, categories, dates and texts come as values, an image as ``uint8 [height, width,
        channels]``, a video as ``[frames, height, width, channels]`` without sound, a sound as ``float32
        [samples]`` through Griffin-Lim, a signal as an array. All have the prepared size and detail. A
        row without any cell gets what is usual, as far as training hid whole rows.

        Args:
            source: anything `plait.fit` takes; the target may be absent, and is never filled.
            root: the folder that media paths are relative to; default: the table's own.

        Raises:
            ConfigError: the model was trained without decoders.
        """
        return impute(self, source, root=root, reporter=reporter)

    def report(
        self,
        source: Any,
        path: Path | str,
        *,
        root: Path | str | None = None,
        row: int | None = None,
        reporter: Reporter | None = None,
        **options: Unpack[ReportOptions],
    ) -> Path:
        """Write what the model does on a table, what it rests on, how far to trust it, as one HTML file.

        The file needs nothing beside it, holds no script and asks for nothing from elsewhere. Parts that
        need true answers are left out where the table has none.

        Args:
            source: anything `plait.fit` takes; the targets may be absent.
            path: the file to write, whose name ends in .html; one that is there is replaced.
            root: the folder media paths are relative to, in ``train`` too; default: each table's own.
            row: report on this row alone, counted from 0: its answer and the explanation.
            options: ``language=``, ``train=``, ``run=``, ``limits=``, ``seed=``; see
                `plait.insight.report.report.ReportOptions`.

        Returns:
            The file.

        Raises:
            ConfigError: there is no such language or seed, or the file cannot be written, or is one
                that is read.
            TableError: a table has none of the model's columns, or no rows, or no such row.

        Cost: about that of `Predictor.contributions`, and some passes over a few hundred rows.
        """
        return report(self, source, path, root=root, row=row, reporter=reporter, **options)

    def _repr_html_(self) -> str:
        """What the model answers, from what, how well, for a notebook."""
        return model_html(self)

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
        UnregisteredError: a BundleError; it was made with a part that is not registered here.
        CheckpointError: a pretrained encoder that it refers to is not there, or is another one.
    """
    path = Path(folder)
    contents = load_bundle(path)
    documents: Mapping[str, Any] = contents.documents
    try:
        features = Features.from_json(documents["preprocessing.json"])
        blueprint = Blueprint.from_json(documents["architecture.json"])
        targets = [read_target(part) for part in documents["targets.json"]]
        check_recorded(blueprint, features)
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
            metrics=documents.get("metrics.json") or {},
            history=documents.get("history.json") or [],
            record=documents.get("record.json") or {},
            golden=golden.from_json(documents.get("golden.json", [])),
            quarantine=Quarantine(Entry(*entry) for entry in documents.get("quarantine.json", [])),
            frozen=frozen,
            held=HeldOut.restored(documents.get(DOCUMENT, {}), contents.arrays.get(ARRAYS, {})),
        )
    except (CheckpointError, MissingExtra):
        raise
    except UnregisteredError as error:
        raise UnregisteredError(f"the bundle {path} was {error}") from error
    except _MISFITS as error:
        raise BundleError(f"the bundle {path} is inconsistent: {error}") from error
