"""From prepared columns to a model that knows what it is worth."""

from typing import Any

from plait.answers import golden
from plait.answers.evaluation import Evaluation, measure, subsets
from plait.config import Config
from plait.data.features import Features, settings_for
from plait.data.modalities import registry
from plait.data.targets.scores import to_json
from plait.display.progress import Stopwatch
from plait.insight.diagnose.brief import brief
from plait.insight.explain.held_out import learn
from plait.insight.fitted import Fitted
from plait.model.infer import infer
from plait.predictor.predictor import Predictor
from plait.predictor.rebuild import measure_rebuilt
from plait.training.dataset import Dataset
from plait.training.fit import train_model
from plait.training.job import Job


def fit_prepared(job: Job) -> Predictor:
    """From prepared columns to a model that knows what it is worth, not saved."""
    data, columns, targets = job.data, job.prepared.columns, job.data.targets
    model, history = train_model(job)
    held = learn(model, columns, data.validation, targets, data.encoded)
    for note in held.notes():
        job.reporter.note(note)
    predictor = Predictor(
        config=job.config,
        schema=data.schema,
        features=job.features,
        blueprint=job.plan,
        targets=targets,
        model=model,
        history=history,
        golden=_golden(data, job.features, job.config),
        quarantine=job.prepared.quarantine,
        frozen=job.frozen,
        held=held,
    )
    predictor.metrics = _measure(predictor, job)
    predictor.record = _record(job.reporter, data)
    _answer_golden(predictor)
    return predictor


def _record(reporter: Stopwatch, data: Dataset) -> dict[str, Any]:
    """What there is to say about the fit itself."""
    return {
        "seconds": {**reporter.seconds, "all": reporter.total},
        "rows": {"training": len(data.train), "validation": len(data.validation)},
        "notes": reporter.notes,
    }


def _measure(fitted: Fitted, job: Job) -> dict[str, Any]:
    """Metrics of the validation rows, and the figures that the card and TensorBoard carry."""
    data, columns, config = job.data, job.prepared.columns, job.config
    model, rows = fitted.model, data.validation
    scores = infer(model, columns, rows, subsets=subsets(list(model.streams)))
    results = measure(data.targets, data.held_out(), scores, seed=config.seed, resamples=200)
    source = f"{data.table.name}, held out for validation with seed {config.seed}"
    evaluation = Evaluation(source, len(rows), config.seed, results).to_json()
    figures = brief(fitted, columns, data.table, rows, data.encoded)
    measured = {**evaluation, "figures": figures}
    if job.plan.decoders:
        measured["reconstruction"] = measure_rebuilt(model, columns, rows, job.features.modalities)
    return measured


def _golden(data: Dataset, features: Features, config: Config) -> list[golden.Row]:
    """The first validation rows whose media are small enough."""
    media = [name for name, kind in features.modalities.items() if registry.get(kind).media]
    chosen: list[golden.Row] = []
    for start in range(0, len(data.validation), max(1, config.golden_rows)):
        if len(chosen) >= config.golden_rows:
            break
        rows = golden.choose(
            data.table,
            data.validation[start : start + config.golden_rows].tolist(),
            media,
            list(features.modalities),
            settings_for(data.table, config).media,
        )
        chosen += [golden.Row(cells, {}) for _, cells in rows]
    return chosen[: config.golden_rows]


def _answer_golden(predictor: Predictor) -> None:
    """Write each golden row's answers down, one row at a time as `verify` will ask."""
    for row in predictor.golden:
        scores = predictor.answer([row.cells()]).scores
        row.scores.update({name: to_json(values[0]) for name, values in scores.items()})
