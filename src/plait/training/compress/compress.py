"""`plait.training.compress`: a fitted model made smaller, with the rows it was fitted to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.answers.answerer import check_streams
from plait.answers.evaluation import ALL
from plait.config import Config, configure
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.store import Store
from plait.data.table.source import Table, open_table
from plait.data.targets.target import Target
from plait.devices import compute_threads, torch_threads
from plait.display.bars import Bars
from plait.display.progress import Reporter, Silent, Stopwatch
from plait.errors import CompressError, ConfigError, unknown
from plait.model.frozen import Frozen
from plait.model.infer import infer
from plait.model.loader import Loader
from plait.model.model import Model
from plait.predictor.predictor import Predictor, load
from plait.training.compress.narrow import learnt, narrower, without
from plait.training.compress.result import Compressed, measured
from plait.training.compress.slices import inherit
from plait.training.dataset import Dataset, read_dataset
from plait.training.distill import Distillation
from plait.training.fit_prepared import fit_prepared
from plait.training.job import Job
from plait.training.prepare import encode
from plait.training.run_folder import check_folder, claim

WAYS = ("prune", "distil", "both")
"""Start from the teacher's weights that matter most; learn from its answers; or both."""

_FREE = frozenset(
    {
        "augment",
        "batch_size",
        "device",
        "dropout",
        "epochs",
        "lr",
        "max_minutes",
        "modality_dropout",
    }
    | {"optimizer", "patience", "threads"}
)
"""Options that may be others than the fitted model's. Another seed would hold out rows that it knows."""

_PLAIN: dict[str, Any] = {
    "pretrain": "none",
    "balance": "none",
    "lr_scale": {},
    "task_weighting": "fixed",
    "gradient_surgery": "none",
}
"""Options of the fitted model's training that a student, taught as a whole, does not take over."""

STEPS = 20
"""Batches whose gradients say which weights matter: 1280 rows at the default batch size. Which
weights stay only has to be about right, since all of them are trained afterwards."""


@dataclass(frozen=True)
class Reduction:
    """How a model is to be made smaller.

    Attributes:
        to: share of the learnt weights that may stay, between 0 and 1; a frozen encoder's own do not
            count.
        way: "prune" starts from the weights that matter most and trains on the table; "distil" starts
            anew and learns from the fitted model's answers as well; "both" does both.
        streams: the only streams of the smaller model, for one with fewer modalities; None: all.
        max_drop: the most that the score may fall; None: however much it costs.

    Raises:
        ConfigError: listing everything that is wrong.
    """

    to: float = 0.25
    way: str = "both"
    streams: Sequence[str] | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.to < 1:
            problems.append(
                f"to={self.to}: a share of the weights between 0 and 1, for example 0.25."
            )
        if self.way not in WAYS:
            problems.append(f"way: {unknown('way', self.way, WAYS)}")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            problems.append(f"max_drop={self.max_drop}: a difference of scores between 0 and 1.")
        if problems:
            raise ConfigError(problems)


def compress(
    model: Predictor | Path | str,
    source: Any,
    *,
    test: Any = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    root: Path | str | None = None,
    progress: bool | Reporter = False,
    **options: Any,
) -> Compressed:
    """Make a fitted model smaller.

    Args:
        model: a fitted model, or its folder.
        source: the table it was fitted to, or one like it, with the targets.
        test: a table to measure both models on; None: the rows held out for validation.
        out: the folder for the smaller model; None saves nothing.
        overwrite: replace a model that ``out`` already holds.
        root: the folder media paths are relative to; default: the table's own.
        options: ``to``, ``way``, ``streams`` and ``max_drop``, see `Reduction`; the others are those of
            the training, as in `plait.fit`; default: those of the fitted model.

    Raises:
        CompressError: it cannot be made that small, or ``max_drop`` is exceeded; nothing is saved then.
        PlaitError: what is wrong with the table or the options.
    """
    own = {
        field.name: options.pop(field.name) for field in fields(Reduction) if field.name in options
    }
    reduction = Reduction(**own)
    teacher = model if isinstance(model, Predictor) else load(model)
    untaught = [target for target in teacher.targets if target.ragged]
    if untaught and reduction.way != "prune":
        raise CompressError(
            f"'{untaught[0].name}' is {untaught[0].noun}, which cannot be distilled; take way='prune'."
        )
    reporter = progress if not isinstance(progress, bool) else Bars() if progress else Silent()
    folder = Path(out) if out is not None else None
    check_folder(folder, False, overwrite)
    config = _configured(teacher.config, options)
    with torch_threads(config.threads or compute_threads()):
        table = open_table(source, root=root)
        data = _same_task(teacher, table, config)
        student = _student(teacher, data, config, reduction, reporter)
        metrics = measured(
            teacher, student, data, test, root=root, way=reduction.way, reporter=reporter
        )
        metrics.check(reduction.max_drop)
    if folder is not None:
        with claim(folder):
            student.save(folder)
    return metrics


def _configured(config: Config, options: Mapping[str, Any]) -> Config:
    """The teacher's options with others set; what only a `Model` can do is left out."""
    wrong = sorted(set(options) - _FREE)
    if wrong:
        kept = f"the fitted one's; what may be set: {', '.join(sorted(_FREE))}"
        raise ConfigError([f"{name}: a compressed model keeps {kept}." for name in wrong])
    return configure(**{**config.model_dump(exclude_unset=True), **_PLAIN, **options})


def _same_task(teacher: Predictor, table: Table, config: Config) -> Dataset:
    """The table's rows, split as they were, with the fitted model's own targets and columns.

    Raises:
        CompressError: the table has not the columns or the classes of the fitted model.
    """
    names = [target.name for target in teacher.targets]
    table.require(names)
    absent = [name for name in teacher.features.modalities if name not in table.columns]
    if absent:
        raise CompressError(
            f"{table.name} lacks {', '.join(map(repr, absent))}, which the model reads. Pass the table "
            "that it was fitted to, or one with the same columns."
        )
    data = read_dataset(table, names, config)
    for known, own in zip(teacher.targets, data.targets, strict=True):
        if known.kind != own.kind or set(own.classes) - set(known.classes):
            raise CompressError(
                f"the target '{known.name}' is another one in {table.name}: the model has "
                f"{_told(known)}, the table holds {_told(own)}."
            )
    encoded = {t.name: t.encode(table.cells(t.name))[:2] for t in teacher.targets}
    return Dataset(table, teacher.schema, teacher.targets, encoded, data.train, data.validation, [])


def _told(target: Target) -> str:
    names = ", ".join(map(str, target.classes[:8])) or "numbers"
    return f"{target.kind} {names}{' ...' if len(target.classes) > 8 else ''}"


def _student(
    teacher: Predictor,
    data: Dataset,
    config: Config,
    reduction: Reduction,
    reporter: Reporter,
) -> Predictor:
    """The smaller model, trained."""
    plan, features = teacher.blueprint, teacher.features
    settings = settings_for(data.table, config)
    prepared = features.prepare(data.table, settings, store=Store(), reporter=reporter)
    prepared = encode(teacher.frozen, prepared, config, reporter)
    if reduction.streams is not None:
        asked = check_streams(reduction.streams, plan.streams) or []
        plan = without(plan, [name for name in plan.streams if name in asked])
        read = {column for columns in plan.streams.values() for column in columns}
        features = Features(
            {name: kind for name, kind in features.modalities.items() if name in read},
            {name: state for name, state in features.states.items() if name in read},
        )
    most = reduction.to * learnt(teacher.model)
    plan, fresh = narrower(plan, features, teacher.targets, most)
    reporter.note(
        f"width {plan.width} of {teacher.blueprint.width}: {learnt(fresh):,} weights of "
        f"{learnt(teacher.model):,}"
    )
    distillation = Distillation(
        _inherited(teacher, data, prepared, config) if reduction.way != "distil" else _as_it_is,
        _answers(teacher.model, prepared, data, reporter) if reduction.way != "prune" else {},
    )
    frozen = Frozen(
        {n: encoder for n, encoder in teacher.frozen.encoders.items() if n in features.modalities}
    )
    job = Job(
        data=data,
        features=features,
        plan=plan,
        prepared=prepared,
        config=config,
        frozen=frozen,
        distillation=distillation,
        reporter=Stopwatch(reporter),
    )
    return fit_prepared(job)


def _as_it_is(model: Model) -> None:
    """Fresh weights stay."""


def _answers(
    model: Model, prepared: PreparedTable, data: Dataset, reporter: Reporter
) -> dict[str, np.ndarray]:
    """The teacher's scores of every row that is learnt from or held out."""
    rows = np.sort(np.concatenate([data.train, data.validation]))
    with reporter.stage("ask the teacher", len(rows), "rows") as stage:
        target_scores = infer(model, prepared.columns, rows)[ALL]
        stage.advance(len(rows))
    answers = {}
    for name, scores in target_scores.items():
        whole = np.zeros((data.table.rows, scores.shape[1]), np.float32)
        whole[rows] = scores
        answers[name] = whole
    return answers


def _inherited(
    teacher: Predictor, data: Dataset, prepared: PreparedTable, config: Config
) -> Callable[[Model], None]:
    """A start from the weights of the fitted model that matter most."""
    matters = importance(teacher.model, data, prepared, config)
    width, every = teacher.blueprint.width, list(teacher.model.streams)

    def start(student: Model) -> None:
        kept = list(student.streams)
        encoders = None if kept == every else [every.index(name) for name in kept]
        inherit(student, teacher.model, matters, width=width, encoders=encoders)

    return start


def importance(
    model: Model, data: Dataset, prepared: PreparedTable, config: Config
) -> dict[str, Tensor]:
    """``|w ∂L/∂w|`` of every learnt weight, summed over some batches (Molchanov et al. 2019, eq. 8)."""
    goals = {t.name: t.goal(*data.encoded[t.name]) for t in data.targets}
    loader = Loader(
        prepared.columns, goals, data.train, batch_size=config.batch_size, seed=config.seed
    )
    model.eval()
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for step, batch in enumerate(loader.epoch()):
        if step == STEPS:
            break
        losses = model.row_losses(batch.columns, batch.targets)
        gradients = torch.autograd.grad(
            torch.stack([loss.mean() for loss in losses.values()]).sum(),
            list(weights.values()),
            allow_unused=True,
        )
        for (name, weight), slope in zip(weights.items(), gradients, strict=True):
            if slope is not None:
                total[name] += (weight.detach() * slope).abs()
    return total
