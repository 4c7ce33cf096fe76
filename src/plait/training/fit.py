"""One model from prepared columns: build, pretrain, train, and fit its trust to held-out rows."""

from functools import partial
from typing import Any

import torch

from plait.answers.evaluation import ALL, validation_score
from plait.config import Config
from plait.data.features import Features
from plait.data.targets.scores import finite
from plait.errors import counted
from plait.model.assemble import build
from plait.model.augment import augment
from plait.model.blueprint import Blueprint
from plait.model.infer import infer
from plait.model.loader import Loader
from plait.model.model import Model, Trainable
from plait.training.checkpoint import holds_state
from plait.training.closed_form import fit_encoders
from plait.training.job import Job
from plait.training.loop import Trainer
from plait.training.pretrain import pretrain, rows_to_rebuild
from plait.training.run_folder import PRETRAINING, check_same, tensorboard
from plait.training.session import Session, Vary
from plait.training.trust import fit_trust

EPOCHS = {"fast": 8, "balanced": 15, "best": 50}
"""Epochs at most. Fifteen gave 0.967 where twenty gave 0.969, in 115 s instead of 184 (lab notes,
"How many epochs?"); ``fast`` with six lay within a point of them ("Does the fusion method
matter?"). Fifty is for those who have the time, and was not measured."""

PATIENCE = {"fast": 5, "balanced": 8, "best": 15}
"""Epochs without a better one that end a fit: half of a short fit and a third of a long one, since
the best epochs come late, when the learning rate has fallen. Chosen, not measured."""

STEPS = {"fast": 150, "balanced": 800, "best": 3000}
"""Steps that a small table gets at least, in up to `MAX_STRETCH` as many epochs (lab notes, "How
many epochs?" for the 800): some 55 per epoch of its preset, and 19 where it has to be quick."""

MAX_STRETCH = 3
"""So that a table of one batch does not take hundreds of epochs. Chosen, not measured."""

TOO_FEW_STEPS_SHARE = 0.5
"""Share of the preset's steps below which a fit is warned of: 24 steps on 102 rows stayed at chance."""


def train_model(job: Job) -> tuple[Model, list[dict[str, float]]]:
    """Build, train, and return the model of the best epoch with its history."""
    data, prepared, config, goals = job.data, job.prepared, job.loop_config, job.goals()
    known = {name: values[data.train] for name, values in goals.items()}
    model = build(
        job.plan,
        job.features,
        data.targets,
        config=config,
        encoded=known,
        backbones=job.backbones,
    )
    _fit_closed_forms(model, job)
    learner, taught = job.distillation.begin(model, goals) if job.distillation else (model, goals)
    batches = partial(Loader, prepared.columns, taught, batch_size=config.batch_size)
    loader, held = batches(data.train, seed=config.seed), batches(data.validation, seed=None)
    training = job.training
    if training:
        check_same(training, _fixed(job), job.resume)
    if config.pretrain != "none":
        _pretrain(model, job)
    epochs, patience = length(config, len(loader))
    session = Session(
        epochs=epochs,
        patience=patience,
        reporter=job.reporter,
        checkpoint=training / "checkpoint" if training else None,
        log=tensorboard(training) if training else None,
    )
    validate = partial(_validate, model, job)
    vary = _vary(job.features, job.plan) if config.augment else None
    trainer = Trainer(learner, loader, validate, config, session, vary=vary, held=held)
    if training and job.resume and trainer.resume():
        at = trainer.progress
        job.reporter.note(f"resumed at epoch {at.epoch + 1}, step {at.step}")
    progress = trainer.run()
    model.to("cpu")
    _trust_held_out(model, job)
    clock = progress.clock
    return model, [*map(_timed, progress.history, [0.0, *clock], clock)]


def _validate(model: Model, job: Job, learner: Trainable) -> dict[str, float]:
    """Score and loss of the validation rows; NaN both if an answer is no longer finite."""
    rows = job.data.validation
    device = next(learner.parameters()).device
    scores = infer(model, job.prepared.columns, rows, device=device)[ALL]
    if not all(map(finite, scores.values())):
        return {"score": float("nan"), "loss": float("nan")}
    return validation_score(job.data.targets, job.data.held_out(), scores)


def _timed(line: dict[str, float], began: float, ended: float) -> dict[str, float]:
    """An epoch's scalars, with how long it took."""
    return {**line, "seconds": ended - began}


def _fit_closed_forms(model: Model, job: Job) -> None:
    """Fit what is fitted once; a checkpoint that is about to be resumed holds it already."""
    if job.resume and job.training and holds_state(job.training / "checkpoint"):
        return
    first = job.goals()[job.data.targets[0].name]
    columns, seed = job.prepared.columns, job.config.seed
    for note in fit_encoders(model, columns, job.data.train, first, seed=seed):
        job.reporter.note(note)


def _vary(features: Features, plan: Blueprint) -> Vary:
    """Augmentation of whatever is not a frozen encoder's tokens."""
    frozen = plan.frozen
    varied = {name: kind for name, kind in features.modalities.items() if name not in frozen}
    return partial(augment, modalities=varied, states=features.states)


def _pretrain(model: Model, job: Job) -> None:
    """Pretrain in place, on the training rows and the rows without a target."""
    data, config = job.data, job.config
    groups = data.table.cells(config.group) if config.group else None
    rows = rows_to_rebuild(data.table.rows, data.train, data.validation, groups)
    more = len(rows) - len(data.train)
    job.reporter.note(
        (
            f"pretraining ({config.pretrain}): reconstructs every cell of {counted(len(rows))}, targets "
            "unused"
        )
        + (f"; {more} of them have no target" if more else "")
    )
    epochs, patience = length(config, -(-len(rows) // config.batch_size))
    folder = job.training / PRETRAINING if job.training else None
    session = Session(
        epochs=config.pretrain_epochs or epochs,
        patience=patience,
        reporter=job.reporter,
        checkpoint=folder / "checkpoint" if folder else None,
        log=tensorboard(folder) if folder else None,
        title="pretrain",
    )
    pretrain(model, job, rows, session)


def length(config: Config, steps: int) -> tuple[int, int]:
    """Epochs and patience: as asked, or by the preset, more of both where an epoch has few steps.

    Args:
        steps: in an epoch.
    """
    usual = EPOCHS[config.preset]
    fitting = min(MAX_STRETCH * usual, max(usual, -(-STEPS[config.preset] // steps)))
    epochs = config.epochs or fitting
    return epochs, config.patience or round(PATIENCE[config.preset] * max(1.0, fitting / usual))


def pace(config: Config, rows: int) -> str:
    """How long the training will be at most, why, and whether that is too short to learn from.

    Args:
        rows: to train on.
    """
    steps = -(-rows // config.batch_size)
    epochs, patience = length(config, steps)
    usual = EPOCHS[config.preset]
    length_text = f"{counted(epochs, 'epoch')} of {counted(steps, 'step')}"
    line = f"at most {length_text} ({counted(config.batch_size)} per step)"
    if config.epochs is None and epochs > usual:
        line += f", up from {usual} since the table is small"
    line += f"; patience {counted(patience, 'epoch')}"
    if config.epochs is None or epochs * steps >= TOO_FEW_STEPS_SHARE * STEPS[config.preset]:
        return line
    return (
        f"{line}. {counted(epochs * steps, 'step is', 'steps are')} few, and the model may stay at "
        f"chance: preset '{config.preset}' would take {STEPS[config.preset]}. Leave epochs unset, "
        "or lower batch_size"
    )


def _trust_held_out(model: Model, job: Job) -> None:
    """Let the validation rows say how far to trust each stream, for fusions that can."""
    rows = job.data.validation
    held = {name: torch.from_numpy(values[rows]) for name, values in job.goals().items()}
    for trust in fit_trust(model, job.prepared.columns, rows, held):
        job.reporter.note(f"trust fitted to the validation rows: {_trusted(trust, model)}")


def _trusted(trust: list[float], model: Model) -> str:
    """Trust beside the name of each vote: the streams, then "joint" or "nothing there"."""
    streams = model.fusion.streams
    if len(trust) < len(streams):  # a number of its own, as the joint vote of `hybrid` has
        return "joint vote " + ", ".join(f"{share:.2f}" for share in trust)
    return ", ".join(f"{name} {share:.2f}" for name, share in zip(streams, trust, strict=False))


def _fixed(job: Job) -> dict[str, Any]:
    """What must be the same for a checkpoint to make sense, by the name a user knows it by."""
    free = {"threads", "checkpoint_seconds", "max_minutes", "device", "golden_rows", "report"}
    return {
        **job.loop_config.model_dump(mode="json", exclude=free),
        "the columns": job.features.to_json(),
        "the model": job.plan.to_json(),
        "the target": [target.to_json() for target in job.data.targets],
        "the rows": [job.data.train.tolist(), job.data.validation.tolist()],
    }
