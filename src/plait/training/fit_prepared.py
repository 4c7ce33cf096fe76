"""From prepared columns to a model that knows what it is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.answers import golden
from plait.answers.evaluation import Evaluation, measure, subsets
from plait.config import Config
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.modalities import registry
from plait.insight.diagnose.brief import brief
from plait.insight.explain.held_out import HeldOut, learn
from plait.model.blueprint import Blueprint
from plait.model.frozen import Frozen
from plait.model.infer import infer
from plait.model.model import Model
from plait.model.pretrained.base import Backbone
from plait.predictor.predictor import Predictor
from plait.predictor.rebuild import measure_rebuilt
from plait.progress import Stopwatch
from plait.training.dataset import Dataset
from plait.training.distill import Distillation
from plait.training.fit import train_model


def fit_prepared(
    data: Dataset,
    features: Features,
    plan: Blueprint,
    prepared: PreparedTable,
    config: Config,
    frozen: Frozen,
    reporter: Stopwatch,
    *,
    tuned: Config | None = None,
    folder: Path | None = None,
    resume: bool = False,
    backbones: Mapping[str, Backbone] | None = None,
    lesson: Distillation | None = None,
) -> Predictor:
    """From prepared columns to a model that knows what it is worth, not saved.

    Args:
        tuned: the options to train with; None: ``config``.
        lesson: what another model has to teach.
    """
    model, history = train_model(
        *(data, features, plan, prepared, tuned or config, folder, resume, reporter),
        backbones,
        lesson,
    )
    held = learn(model, prepared.columns, data.validation, data.targets, data.encoded)
    for note in held.notes():
        reporter.note(note)
    metrics = _measure(model, data, prepared, config, held)
    if plan.decoders:
        metrics["reconstruction"] = measure_rebuilt(
            model, prepared.columns, data.validation, features.modalities
        )
    rows = _golden(model, data, features, config)
    predictor = Predictor(
        config=config,
        schema=data.schema,
        features=features,
        blueprint=plan,
        targets=data.targets,
        model=model,
        metrics=metrics,
        history=history,
        golden=rows,
        quarantine=prepared.quarantine,
        frozen=frozen,
        held=held,
        record=_record(reporter, data),
    )
    _answer_golden(predictor)
    return predictor


def _record(reporter: Stopwatch, data: Dataset) -> dict[str, Any]:
    """What there is to say about the fit itself."""
    return {
        "seconds": {**reporter.seconds, "all": reporter.total},
        "rows": {"training": len(data.train), "validation": len(data.validation)},
        "notes": reporter.notes,
    }


def _measure(
    model: Model, data: Dataset, prepared: PreparedTable, config: Config, held: HeldOut
) -> dict[str, Any]:
    """Metrics of the validation rows, and the figures that the card and TensorBoard carry."""
    rows = data.validation
    scores = infer(model, prepared.columns, rows, subsets=subsets(list(model.streams)))
    encoded = {n: (values[rows], present[rows]) for n, (values, present) in data.encoded.items()}
    results = measure(data.targets, encoded, scores, seed=config.seed, resamples=200)
    source = f"{data.table.name}, held out for validation with seed {config.seed}"
    told = Evaluation(source, len(rows), config.seed, results).to_json()
    kinds = data.schema.inputs | ({config.group: "categorical"} if config.group else {})
    found = brief(
        *(model, prepared.columns, data.table, rows, data.targets, data.encoded),
        kinds,
        held.calibration,
    )
    return {**told, "figures": found}


def _golden(model: Model, data: Dataset, features: Features, config: Config) -> list[golden.Row]:
    """The first validation rows whose media are small enough."""
    media = [name for name, kind in features.modalities.items() if registry.get(kind).media]
    chosen: list[golden.Row] = []
    for start in range(0, len(data.validation), max(1, config.golden_rows)):
        if len(chosen) >= config.golden_rows:
            break
        found = golden.choose(
            data.table,
            data.validation[start : start + config.golden_rows].tolist(),
            media,
            list(features.modalities),
            settings_for(data.table, config).media,
        )
        chosen += [golden.Row(cells, {}) for _, cells in found]
    return chosen[: config.golden_rows]


def _answer_golden(predictor: Predictor) -> None:
    """Write each golden row's answers down, one row at a time as `verify` will ask."""
    for row in predictor.golden:
        scores = predictor.answer([row.cells()]).scores
        row.scores.update({name: values[0].tolist() for name, values in scores.items()})
