"""One model from prepared columns: build, pretrain, train, and fit its trust to held-out rows."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait.answers.evaluation import ALL, validation_score
from plait.config import Config
from plait.data.features import Features, PreparedTable
from plait.errors import TrainError
from plait.model.assemble import build
from plait.model.augment import augment
from plait.model.blueprint import Blueprint
from plait.model.infer import infer
from plait.model.loader import Loader
from plait.model.model import Model, Trainable
from plait.model.pretrained.base import Backbone
from plait.progress import Reporter
from plait.sealed import TRAINING
from plait.training.checkpoint import holds_state
from plait.training.closed_form import fit_encoders
from plait.training.dataset import Dataset, goal
from plait.training.distill import Distillation
from plait.training.loop import Trainer, Vary
from plait.training.pretrain import pretrain, rows_to_rebuild
from plait.training.run_folder import PRETRAINING, check_same, tensorboard
from plait.training.trust import fit_trust

EPOCHS = {"fast": 8, "balanced": 15, "best": 50}
PATIENCE = {"fast": 5, "balanced": 8, "best": 15}
STEPS = {"fast": 150, "balanced": 800, "best": 3000}
"""Steps that a small table gets at least, in up to `MOST_TIMES` as many epochs."""
MOST_TIMES = 3


def train_model(
    data: Dataset,
    features: Features,
    plan: Blueprint,
    prepared: PreparedTable,
    config: Config,
    folder: Path | None,
    resume: bool,
    reporter: Reporter,
    backbones: Mapping[str, Backbone] | None = None,
    lesson: Distillation | None = None,
) -> tuple[Model, list[dict[str, float]]]:
    """Build, train, and give back the model of the best epoch with its history.

    Args:
        backbones: column → the pretrained encoder to tune, where it is at hand.
        lesson: what another model has to teach.
    """
    goals = {target.name: goal(target, *data.encoded[target.name]) for target in data.targets}
    known = {name: values[data.train] for name, values in goals.items()}
    model = build(plan, features, data.targets, config=config, encoded=known, backbones=backbones)
    _prefit(model, data, prepared, goals, config, folder if resume else None, reporter)
    learner, goals = lesson.begin(model, goals) if lesson else (model, goals)
    held_out = {
        name: (values[data.validation], present[data.validation])
        for name, (values, present) in data.encoded.items()
    }

    def validate(now: Trainable) -> dict[str, float]:
        found = infer(model, prepared.columns, data.validation, device=trainer.device)[ALL]
        if not all(np.isfinite(scores).all() for scores in found.values()):
            raise TrainError(
                f"epoch {trainer.at.epoch + 1}: the model's answers are no longer finite, the training "
                f"has diverged. Try a smaller lr than {trainer.peaks[0]:g}."
            )
        return validation_score(data.targets, held_out, found)

    batches = partial(Loader, prepared.columns, goals, batch_size=config.batch_size)
    loader, held = batches(data.train, seed=config.seed), batches(data.validation, seed=None)
    training = folder / TRAINING if folder else None
    if training:
        check_same(training, _told(data, features, plan, config), resume)
    config = _pretrain(model, data, features, prepared, config, training, resume, reporter)
    epochs, patience = length(config, len(loader))
    trainer = Trainer(
        *(learner, loader, validate, config),
        epochs=epochs,
        patience=patience,
        vary=_vary(features, plan) if config.augment else None,
        reporter=reporter,
        checkpoint=training / "checkpoint" if training else None,
        log=tensorboard(training) if training else None,
        held=held,
    )
    if training and resume and trainer.resume():
        reporter.note(f"resumed at epoch {trainer.at.epoch + 1}, step {trainer.at.step}")
    at = trainer.run()
    model.to("cpu")
    _trust_held_out(model, data, prepared, goals, reporter)
    return model, [*map(_timed, at.history, [0.0, *at.clock], at.clock)]


def _timed(line: dict[str, float], began: float, ended: float) -> dict[str, float]:
    """An epoch's scalars, with how long it took."""
    return {**line, "seconds": ended - began}


def _prefit(
    model: Model,
    data: Dataset,
    prepared: PreparedTable,
    goals: dict[str, np.ndarray],
    config: Config,
    resumed: Path | None,
    reporter: Reporter,
) -> None:
    """Fit what is fitted once; a checkpoint that is about to be taken up holds it already."""
    if resumed is not None and holds_state(resumed / TRAINING / "checkpoint"):
        return
    goal = goals[data.targets[0].name]
    for note in fit_encoders(model, prepared.columns, data.train, goal, seed=config.seed):
        reporter.note(note)


def _vary(features: Features, plan: Blueprint) -> Vary:
    """Augmentation of whatever is not a frozen encoder's tokens."""
    frozen = plan.frozen
    varied = {name: kind for name, kind in features.modalities.items() if name not in frozen}
    return partial(augment, modalities=varied, states=features.states)


def _pretrain(
    model: Model,
    data: Dataset,
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
    data: Dataset,
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


def _told(data: Dataset, features: Features, plan: Blueprint, config: Config) -> dict[str, Any]:
    """What must be the same for a checkpoint to make sense, by the name a user knows it by."""
    free = {"threads", "checkpoint_seconds", "max_minutes", "device", "golden_rows", "report"}
    return {
        **config.model_dump(mode="json", exclude=free),
        "the columns": features.to_json(),
        "the model": plan.to_json(),
        "the target": [target.to_json() for target in data.targets],
        "the rows": [data.train.tolist(), data.validation.tolist()],
    }
