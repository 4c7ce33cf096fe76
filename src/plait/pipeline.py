"""`plait.fit`: from a table to a fitted, evaluated, saved model, a step at a time."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plait.config import Config
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.origin import remember
from plait.data.store import Store
from plait.data.table.source import Table, open_table
from plait.devices import choose_device, compute_threads, torch_threads
from plait.display.bars import Bars
from plait.display.progress import Reporter, Silent, Stopwatch
from plait.errors import ConfigError, UnreadableCellsWarning, counted
from plait.insight.report.report import FILE, report_held_out
from plait.model.blueprint import Blueprint, with_decoders
from plait.predictor.predictor import Predictor
from plait.sealed import TRAINING
from plait.training import board
from plait.training.dataset import Dataset, read_dataset
from plait.training.fit import pace
from plait.training.fit_prepared import fit_prepared
from plait.training.job import Job
from plait.training.optim import DEFAULT_LR
from plait.training.options import configured, without_effect
from plait.training.prepare import encode, frozen_of, prepare
from plait.training.run_folder import check_folder, claim


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
        source: a CSV, TSV, JSON Lines, Parquet or Arrow file, a folder with one per class, a pandas,
            polars or pyarrow table, a list of dicts, a Hugging Face dataset.
        target: the column to predict, or several.
        out: the folder to save checkpoints and the bundle to; None saves nothing.
        resume: continue from the last checkpoint in ``out``; starts from scratch if there is none.
        overwrite: replace a model that ``out`` already holds.
        root: the folder that media paths are relative to; default: the table's own.
        progress: True shows bars on standard error; or a reporter of one's own.
        options: see `plait.config.Config`.

    Returns:
        The fitted model, with the weights of its best epoch.

    Raises:
        PlaitError: what is wrong with the table, the options or the data, and how to mend it.
    """
    config, problems = configured(options)
    if config is None:
        raise ConfigError(problems)
    reporter = progress if not isinstance(progress, bool) else Bars() if progress else Silent()
    folder = Path(out) if out is not None else None
    check_folder(folder, resume, overwrite)
    device, why = choose_device(config.device)
    table = open_table(source, root=root)
    names = _names(target)
    with claim(folder), torch_threads(config.threads or compute_threads()):
        job = _job(table, names, config, f"device {device}: {why}", Stopwatch(reporter))
        job = replace(job, folder=folder, resume=resume)
        predictor = fit_prepared(job)
        if folder is not None:
            remember(folder / TRAINING, source, root, table, job.data.validation)
            _write(predictor, job, folder)
    return predictor


def _names(target: Any) -> list[str]:
    """The targets' names; a whole number names a column of a frame whose names are numbers."""
    names = [target] if isinstance(target, str | int) else target
    if not isinstance(names, list | tuple) or not all(isinstance(n, str | int) for n in names):
        raise ConfigError([f"target={target!r}: name a column, or a list of columns."])
    return [str(name) for name in names]


def _job(table: Table, names: list[str], config: Config, device: str, reporter: Stopwatch) -> Job:
    """All that is decided and computed before the first step of training."""
    data = read_dataset(table, names, config)
    settings = settings_for(table, config)
    ground = prepare(table, data, config, settings, reporter)
    features, plan = ground.features, ground.plan
    doubts = [f"warning: {warning}" for warning in data.schema.warnings]
    for note in [*data.notes, *_decisions(data, features, plan, config), device, *doubts]:
        reporter.note(note)
    prepared = features.prepare(table, settings, store=Store(), reporter=reporter)
    prepared.quarantine.check(
        config.max_unreadable,
        {name: table.rows - table.arrow()[name].null_count for name in features.modalities},
    )
    _tell_unreadable(prepared, reporter)
    plan = with_decoders(plan, config, features, prepared.columns, data.train)
    frozen = frozen_of(ground, config)
    prepared = encode(frozen, prepared, config, reporter)
    return Job(
        data=data,
        features=features,
        plan=plan,
        prepared=prepared,
        config=config,
        frozen=frozen,
        backbones=ground.backbones,
        reporter=reporter,
    )


def _write(predictor: Predictor, job: Job, folder: Path) -> None:
    """The bundle, the figures of the TensorBoard log, and the report."""
    data, prepared = job.data, job.prepared
    board.write(folder / TRAINING, predictor.metrics["figures"], len(predictor.history))
    predictor.save(folder)
    (folder / FILE).unlink(missing_ok=True)  # it tells of the model that was here before
    if predictor.config.report != "off":
        report_held_out(predictor, data.table, data.validation, prepared, folder, job.reporter)


def _tell_unreadable(prepared: PreparedTable, reporter: Reporter) -> None:
    """Say which cells cannot be read, by a note each and a warning."""
    if not len(prepared.quarantine):
        return
    lines = prepared.quarantine.summary()
    for line in lines:
        reporter.note(f"unreadable, counted as missing: {line}")
    warnings.warn(
        "unreadable cells counted as missing:\n  " + "\n  ".join(lines),
        UnreadableCellsWarning,
        stacklevel=4,
    )


def _decisions(data: Dataset, features: Features, plan: Blueprint, config: Config) -> list[str]:
    """Every choice made for the user, with its reason."""
    lines = [
        f"{column.name}: {column.modality or column.role}"
        + (f" ({features.describe()[column.name]})" if column.modality else "")
        + f"; {column.reason}"
        for column in data.schema.columns
    ]
    lines += [f"target {target.name}: {target.kind}; {target.reason}" for target in data.targets]
    encoders = {
        **plan.encoders,
        **{stream: record.summary for stream, record in plan.records.items()},
    }
    names = ", ".join(f"{stream} → {name}" for stream, name in encoders.items())
    by = f"whole groups of '{config.group}'" if config.group else "seeded, balanced by target"
    lines += [
        f"encoders: {names}; fusion: {plan.fusion}, width {plan.width} (preset {plan.preset})",
        f"{counted(len(data.train))} to train on, {len(data.validation)} to validate on: {by} "
        f"(seed {config.seed})",
        pace(config, len(data.train)),
        f"optimizer {config.optimizer}, peak lr {config.lr or DEFAULT_LR[config.optimizer]:g}, "
        f"class weights {config.class_weights}, "
        f"{counted(config.threads or compute_threads(), 'thread')}",
    ]
    return lines + without_effect(config, plan, features, len(data.targets))
