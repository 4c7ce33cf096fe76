"""`plait.fit`: from a table to a fitted, evaluated, saved model, a step at a time."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait import golden
from plait.assemble import Blueprint, build, check_choices, draw, with_decoders
from plait.augment import augment
from plait.bundle import TRAINING
from plait.config import Config, configure
from plait.devices import choose_device, compute_threads, torch_threads
from plait.errors import ConfigError, TrainError, UnreadableCellsWarning, unknown
from plait.evaluate import ALL, Evaluation, infer, measure, subsets, validation_score
from plait.features import Features, PreparedTable, settings_for
from plait.fusion.registry import FUSIONS
from plait.loader import Loader
from plait.modalities import registry
from plait.model import Model
from plait.optim import DEFAULT_LR
from plait.predict import Predictor
from plait.pretrain import pretrain, rows_to_rebuild
from plait.progress import Bars, Reporter, Silent
from plait.rebuild import measure_rebuilt
from plait.run_folder import PRETRAINING, check_folder, check_same, claim, tensorboard
from plait.store import Store
from plait.table.source import Table, open_table
from plait.task import Data, goal, understand
from plait.train import Trainer, Vary
from plait.trust import fit_trust

EPOCHS = {"fast": 8, "balanced": 15, "best": 50}
PATIENCE = {"fast": 5, "balanced": 8, "best": 15}
STEPS = {"fast": 150, "balanced": 800, "best": 3000}
"""Steps that a small table gets at least, in up to `MOST_TIMES` as many epochs."""
MOST_TIMES = 3


def fit(
    source: Any,
    target: str | int | Sequence[str | int],
    *,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    root: Path | str | None = None,
    progress: bool | Reporter = False,
    **options: Any,
) -> Predictor:
    """Fit a model to a table.

    Args:
        source: a CSV, TSV, JSON Lines, Parquet or Arrow file, a folder of folders, a pandas, polars or
            pyarrow table, a list of dicts, a Hugging Face dataset.
        target: the column to predict, or several.
        out: the folder to save checkpoints and the bundle to; None saves nothing.
        resume: take up the last checkpoint in ``out``; starts anew where there is none.
        overwrite: replace a model that ``out`` already holds.
        root: the folder media paths are relative to; default: the table's own.
        progress: show bars on standard error, or tell a reporter.
        options: see `plait.config.Config`.

    Returns:
        The fitted model, with the weights of its best epoch.

    Raises:
        PlaitError: what is wrong with the table, the options or the data, and how to mend it.
    """
    config = _configured(options)
    reporter = progress if not isinstance(progress, bool) else Bars() if progress else Silent()
    folder = Path(out) if out is not None else None
    check_folder(folder, resume, overwrite)
    device, why = choose_device(config.device)
    table = open_table(source, root=root)
    names = _names(target)
    with claim(folder), torch_threads(config.threads or compute_threads()):
        return _fit(table, names, config, folder, resume, reporter, f"device {device}: {why}")


def _names(target: Any) -> list[str]:
    """The targets' names; a whole number names a column of a frame whose names are numbers."""
    names = [target] if isinstance(target, str | int) else target
    if not isinstance(names, list | tuple) or not all(isinstance(n, str | int) for n in names):
        raise ConfigError([f"target={target!r}: name a column, or a list of columns."])
    return [str(name) for name in names]


def _configured(options: dict[str, Any]) -> Config:
    """The configuration; whatever is wrong with it before a table is opened is told together."""
    problems: list[str] = []
    try:
        config = configure(**options)
        check_choices(config.model_copy(update={"encoders": {}}), {})
        return config
    except ConfigError as error:
        problems += error.problems
    fusion = options.get("fusion")
    if isinstance(fusion, str) and fusion not in FUSIONS:
        problems.append(f"fusion: {unknown('fusion', fusion, FUSIONS)}")
    raise ConfigError(dict.fromkeys(problems))


def _fit(
    table: Table,
    names: list[str],
    config: Config,
    folder: Path | None,
    resume: bool,
    reporter: Reporter,
    device_note: str,
) -> Predictor:
    data = understand(table, names, config)
    settings = settings_for(table, config)
    features = Features.fit(table, data.schema.inputs, data.train, settings, share=config.share)
    plan = draw(config, features)
    for note in [*data.notes, *_decisions(data, features, plan, config), device_note]:
        reporter.note(note)
    prepared = features.prepare(table, settings, store=Store(), reporter=reporter)
    prepared.quarantine.check(
        config.max_unreadable,
        {name: table.rows - table.data[name].null_count for name in features.modalities},
    )
    if len(prepared.quarantine):
        lines = prepared.quarantine.summary()
        for line in lines:
            reporter.note(f"unreadable, counted as missing: {line}")
        warnings.warn(
            "unreadable cells counted as missing:\n  " + "\n  ".join(lines),
            UnreadableCellsWarning,
            stacklevel=3,
        )
    plan = with_decoders(plan, config, features, prepared.columns, data.train)
    model, history = train_model(data, features, plan, prepared, config, folder, resume, reporter)
    metrics = _measure(model, data, prepared, config).to_json()
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
        rows=rows,
        quarantine=prepared.quarantine,
    )
    _answer_golden(predictor)
    if folder is not None:
        predictor.save(folder)
    return predictor


def train_model(
    data: Data,
    features: Features,
    plan: Blueprint,
    prepared: PreparedTable,
    config: Config,
    folder: Path | None,
    resume: bool,
    reporter: Reporter,
) -> tuple[Model, list[dict[str, float]]]:
    """Build, train, and give back the model of the best epoch with its history."""
    goals = {target.name: goal(target, *data.encoded[target.name]) for target in data.targets}
    torch.manual_seed(config.seed)
    model = build(
        plan,
        features,
        data.targets,
        config=config,
        encoded={name: values[data.train] for name, values in goals.items()},
    )
    held_out = {
        name: (values[data.validation], present[data.validation])
        for name, (values, present) in data.encoded.items()
    }

    def validate(now: Model) -> dict[str, float]:
        found = infer(now, prepared.columns, data.validation, device=trainer.device)[ALL]
        if not all(np.isfinite(scores).all() for scores in found.values()):
            raise TrainError(
                f"epoch {trainer.at.epoch + 1}: the model's answers are no longer finite, the training "
                f"has diverged. Try a smaller lr than {trainer.peaks[0]:g}."
            )
        return validation_score(data.targets, held_out, found)

    loader = Loader(
        prepared.columns, goals, data.train, batch_size=config.batch_size, seed=config.seed
    )
    training = folder / TRAINING if folder else None
    if training:
        check_same(training, _told(data, features, plan, config), resume)
    config = _pretrain(model, data, features, prepared, config, training, resume, reporter)
    epochs, patience = length(config, len(loader))
    trainer = Trainer(
        *(model, loader, validate, config),
        epochs=epochs,
        patience=patience,
        vary=_vary(features) if config.augment else None,
        reporter=reporter,
        checkpoint=training / "checkpoint" if training else None,
        log=tensorboard(training) if training else None,
    )
    if training and resume and trainer.resume():
        reporter.note(f"resumed at epoch {trainer.at.epoch + 1}, step {trainer.at.step}")
    at = trainer.run()
    model.to("cpu")
    _trust_held_out(model, data, prepared, goals, reporter)
    return model, at.history


def _vary(features: Features) -> Vary:
    return partial(augment, modalities=features.modalities, states=features.states)


def _pretrain(
    model: Model,
    data: Data,
    features: Features,
    prepared: PreparedTable,
    config: Config,
    training: Path | None,
    resume: bool,
    reporter: Reporter,
) -> Config:
    """Pretrain in place where that is asked for; gives back the configuration with the time left."""
    if config.pretrain == "none":
        return config
    if config.max_minutes is not None:  # half of it for each of the two trainings
        config = config.model_copy(update={"max_minutes": config.max_minutes / 2})
    groups = data.table.cells(config.group) if config.group else None
    rows = rows_to_rebuild(data.table.rows, data.train, data.validation, groups)
    more = len(rows) - len(data.train)
    reporter.note(
        f"pretraining ({config.pretrain}): rebuilds every cell of {len(rows)} rows, targets unused"
        + (f"; {more} of them have no target" if more else "")
    )
    folder = training / PRETRAINING if training else None
    pretrain(
        *(model, prepared.columns, features.modalities, rows, data.validation, config),
        length=length(config, -(-len(rows) // config.batch_size)),
        reporter=reporter,
        folder=folder,
        resume=resume,
        log=tensorboard(folder) if folder else None,
    )
    return config


def length(config: Config, steps: int) -> tuple[int, int]:
    """Epochs and patience: as asked, or by the preset, more of both where an epoch has few steps.

    Args:
        steps: in an epoch.
    """
    usual = EPOCHS[config.preset]
    fitting = min(MOST_TIMES * usual, max(usual, -(-STEPS[config.preset] // steps)))
    epochs = config.epochs or fitting
    return epochs, config.patience or round(PATIENCE[config.preset] * max(1.0, fitting / usual))


def _trust_held_out(
    model: Model,
    data: Data,
    prepared: PreparedTable,
    goals: dict[str, np.ndarray],
    reporter: Reporter,
) -> None:
    """Let the validation rows say how far to trust each stream, for fusions that can."""
    rows = data.validation
    held = {name: torch.from_numpy(values[rows]) for name, values in goals.items()}
    for trust in fit_trust(model, prepared.columns, rows, held).values():
        reporter.note(f"trust fitted to the validation rows: {_trusted(trust, model)}")


def _trusted(trust: list[float], model: Model) -> str:
    """Trust beside the name of each vote: the streams, then "joint" or "nothing there"."""
    streams = model.fusion.streams
    if len(trust) < len(streams):  # a number of its own, as the joint vote of `hybrid` has
        return "joint vote " + ", ".join(f"{share:.2f}" for share in trust)
    return ", ".join(f"{name} {share:.2f}" for name, share in zip(streams, trust, strict=False))


def _measure(model: Model, data: Data, prepared: PreparedTable, config: Config) -> Evaluation:
    rows = data.validation
    scores = infer(model, prepared.columns, rows, shown=subsets(list(model.streams)))
    encoded = {n: (values[rows], present[rows]) for n, (values, present) in data.encoded.items()}
    results = measure(data.targets, encoded, scores, seed=config.seed, resamples=200)
    held = f"{data.table.name}, held out for validation with seed {config.seed}"
    return Evaluation(held, len(rows), config.seed, results)


def _golden(model: Model, data: Data, features: Features, config: Config) -> list[golden.Row]:
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


def _decisions(data: Data, features: Features, plan: Blueprint, config: Config) -> list[str]:
    """Every choice made for the user, with its reason."""
    lines = [
        f"{column.name}: {column.modality or column.role}"
        + (f" ({features.describe()[column.name]})" if column.modality else "")
        + f"; {column.reason}"
        for column in data.schema.columns
    ]
    lines += [f"target {target.name}: {target.kind}; {target.reason}" for target in data.targets]
    names = ", ".join(f"{stream} → {name}" for stream, name in plan.encoders.items())
    by = f"whole groups of '{config.group}'" if config.group else "seeded, balanced by target"
    lines += [
        f"encoders: {names}; fusion: {plan.fusion}, width {plan.width} (preset {plan.preset})",
        f"{len(data.train)} rows to train on, {len(data.validation)} to validate on: {by} "
        f"(seed {config.seed})",
        f"optimizer {config.optimizer}, peak lr {config.lr or DEFAULT_LR[config.optimizer]:g}, "
        f"class weights {config.class_weights}, {config.threads or compute_threads()} threads",
    ]
    return lines


def _told(data: Data, features: Features, plan: Blueprint, config: Config) -> dict[str, Any]:
    """What must be the same for a checkpoint to make sense, by the name a user knows it by."""
    free = {"threads", "checkpoint_seconds", "max_minutes", "device", "golden_rows"}
    return {
        **config.model_dump(mode="json", exclude=free),
        "the columns": features.to_json(),
        "the model": plan.to_json(),
        "the target": [target.to_json() for target in data.targets],
        "the rows": [data.train.tolist(), data.validation.tolist()],
    }
