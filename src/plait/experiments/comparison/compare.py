"""`plait.compare`: fusion methods on one table, all else being equal."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table as Screen

from plait.config import Config
from plait.data.table.answers import write_table
from plait.data.table.source import open_table
from plait.data.targets.registry import kinds_of
from plait.devices import choose_device, cores
from plait.display.bars import Bars
from plait.display.progress import Reporter, Silent
from plait.errors import ConfigError, counted, unknown
from plait.experiments.comparison import about, data
from plait.experiments.comparison.jobs import run_all, time_rows
from plait.experiments.comparison.page import render
from plait.experiments.comparison.rows import REFERENCE, Row, aggregate
from plait.experiments.comparison.run import Run, constant
from plait.experiments.comparison.screen import table as screen_table
from plait.model.fusion.registry import FUSIONS
from plait.model.heads.registry import HEADS
from plait.sealed import write_whole
from plait.training.fit import length
from plait.training.optim import DEFAULT_LR
from plait.training.options import configured
from plait.training.run_folder import check_folder, claim

ALL = "all"

_FIXED = {
    "fusion_options": "every fusion is compared with its default options",
    "threads": "every run computes with one thread",
}


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        rows: one a method, fusions from best to worst, then the baselines.
        about: the metric, the tables, the controls, the version and the machine.
    """

    rows: list[Row]
    about: dict[str, Any]

    def __getitem__(self, method: str) -> Row:
        """The row of a method: ``comparison["late"].mean``."""
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(unknown("method", method, [row.method for row in self.rows]))

    def to_csv(self, path: Path | str) -> None:
        """Every figure, a line a method."""
        lines = [row.flat() for row in self.rows]
        names = dict.fromkeys(name for line in lines for name in line)
        write_table(path, {name: [line.get(name) for line in lines] for name in names})

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        return {"about": self.about, "rows": [row.to_json() for row in self.rows]}

    def to_html(self, path: Path | str) -> None:
        """A page that stands by itself: no script, nothing loaded from elsewhere."""
        write_whole(Path(path), render(self.rows, self.about))

    def table(self, width: int = 120) -> Screen:
        """For the terminal; a narrow one gets fewer columns."""
        return screen_table(self.rows, self.about, width)


@dataclass(frozen=True)
class Design:
    """Which runs a comparison makes.

    Attributes:
        fusion: names with commas between, or a list of names, or ``all``. ``concat`` is always among
            them, since all others are compared with it.
        seeds: runs of each method; they start at the option ``seed``.
        jobs: runs at a time; default: half the cores.
    """

    fusion: str | Sequence[str] = ALL
    seeds: int = 3
    jobs: int | None = None


def compare(
    source: Any,
    target: str | int | Sequence[str | int],
    *,
    test: Any = None,
    out: Path | str | None = None,
    root: Path | str | None = None,
    test_root: Path | str | None = None,
    progress: bool | Reporter = False,
    **options: Any,
) -> Comparison:
    """Compare fusion methods on a table: same encoders, same start, same batches, several seeds.

    Each run is a process with one thread and one file in ``out``; called again, a comparison makes only
    the runs that are missing, that failed, or whose data, options or plait have changed.

    Args:
        source: anything `plait.fit` takes.
        target: the column to predict. Of several all are learnt, and methods compared by the first.
        test: the table to measure on; None holds a fifth of ``source`` out, which no run sees.
        out: the folder for runs, ``compare.csv``, ``compare.json`` and ``compare.html``; None keeps no
            file.
        root: the folder media paths in ``source`` are relative to; ``test_root`` for ``test``.
        progress: True shows bars on standard error; or a reporter of one's own.
        options: ``fusion``, ``seeds`` and ``jobs``, see `Design`; the others are those of every run, see
            `plait.config.Config`.

    Raises:
        PlaitError: what is wrong with the table or the options, and how to mend it. A run that fails
            raises nothing: its row says why.
    """
    own = {field.name: options.pop(field.name) for field in fields(Design) if field.name in options}
    design = Design(**own)
    names, config = _checked(design, options)
    targets = [str(name) for name in ([target] if isinstance(target, str | int) else target)]
    reporter = progress if not isinstance(progress, bool) else Bars() if progress else Silent()
    choose_device(config.device)  # say now that there is none such
    table = open_table(source, root=root)
    tested = None if test is None else open_table(test, root=test_root)
    parallel = design.jobs or max(1, cores() // 2)
    with _folder(out) as folder, claim(folder):
        ready = data.make_ready(table, tested, targets, config, reporter)
        for note in ready.notes:
            reporter.note(note)
        able = _able(names, ready, reporter)
        rows = _rows(ready, folder, able, design.seeds, parallel, reporter)
        about_run = {
            "source": table.name,
            "test": tested.name if tested else f"held out of {table.name}",
            **_about(ready, design.seeds, parallel),
        }
        comparison = Comparison(rows, about_run)
        if out is not None:
            _save(comparison, folder)
    return comparison


def _able(names: Sequence[str], ready: data.Ready, reporter: Reporter) -> list[str]:
    """The methods that can answer the targets; the others are left out, and that is said."""
    if ready.target.ragged:
        raise ConfigError(
            [
                f"target: '{ready.target.name}' is {ready.target.noun}, by which fusions cannot be "
                "compared. Put a target of classes, labels or numbers first."
            ]
        )
    able = []
    for name in names:
        unfit = [target for target in ready.targets if not FUSIONS[name].answers(target)]
        if unfit:
            kinds_named = ", ".join(f"'{target.name}' is {target.kind}" for target in unfit)
            answers = " and ".join(kinds_of(FUSIONS[name].heads or HEADS))
            reporter.note(
                f"{name} is left out: it answers {answers} targets only, and {kinds_named}"
            )
        else:
            able.append(name)
    return able


def _rows(
    ready: data.Ready,
    folder: Path,
    names: Sequence[str],
    seeds: int,
    parallel: int,
    reporter: Reporter,
) -> list[Row]:
    """Make every run, time single rows, and aggregate."""
    mark = _fingerprint(data.save(ready, folder))
    lot = _lot(names, ready, seeds, mark)
    results = run_all(folder, lot, parallel, reporter)
    once = list({run.method: run for run in lot}.values())
    times = time_rows(folder, once, reporter)
    usual = Run("constant", ready.target.usual, ready.config.seed, mark)
    results.append({**usual.identity(), **constant(ready, usual)})
    return aggregate(
        ready.target,
        ready.truth[ready.target.name],
        results,
        times,
        resamples=ready.target.resamples,
        seed=ready.config.seed,
    )


def _save(comparison: Comparison, folder: Path) -> None:
    comparison.to_csv(folder / "compare.csv")
    text = json.dumps(comparison.to_json(), ensure_ascii=False, indent=1)
    write_whole(folder / "compare.json", text)
    comparison.to_html(folder / "compare.html")


def _checked(design: Design, options: dict[str, Any]) -> tuple[list[str], Config]:
    """The methods and the shared options; all problems are reported together."""
    problems = [f"{name}: {why}; leave it out." for name, why in _FIXED.items() if name in options]
    fusion = design.fusion
    asked = fusion.split(",") if isinstance(fusion, str) else list(fusion)
    named = [str(name).strip() for name in asked if str(name).strip()]
    problems += [
        f"fusion: {unknown('fusion', name, [*FUSIONS, ALL])}"
        for name in dict.fromkeys(named)
        if name not in FUSIONS and name != ALL
    ]
    names = list(FUSIONS) if ALL in named else list(dict.fromkeys(named))
    if not names:
        problems.append("fusion: name at least one, or 'all'.")
    problems += [
        f"{name}={value!r}: it must be 1 or more."
        for name, value in (("seeds", design.seeds), ("jobs", design.jobs))
        if value is not None and value < 1
    ]
    given = {name: value for name, value in options.items() if name not in _FIXED}
    config, wrong = configured({**given, "fusion": REFERENCE})
    problems += wrong
    if config and config.pretrain != "none":
        problems.append("pretrain: a comparison trains every method from the same fresh start.")
    if config is None or problems:
        raise ConfigError(dict.fromkeys(problems))
    return list(dict.fromkeys([REFERENCE, *names])), config


@contextmanager
def _folder(out: Path | str | None) -> Iterator[Path]:
    """The folder to work in: the one named, or one that goes away."""
    if out is not None:
        check_folder(Path(out), resume=False, overwrite=True)
        Path(out).mkdir(parents=True, exist_ok=True)
        yield Path(out)
        return
    with TemporaryDirectory(prefix="plait-compare-") as name:
        yield Path(name)


def _fingerprint(prepared: str) -> str:
    """Of the data and options, and of plait itself."""
    whole = [prepared, version("plait"), about.source_hash()]
    return hashlib.blake2b(json.dumps(whole).encode(), digest_size=16).hexdigest()


def _lot(names: Sequence[str], ready: data.Ready, seeds: int, mark: str) -> list[Run]:
    """Every run: each method, and each stream alone where there are several, with each seed.

    A seed at a time, so that a comparison that is broken off has figures for all methods.
    """
    alone = ready.streams if len(ready.streams) > 1 else []
    first = ready.config.seed
    return [
        run
        for seed in range(first, first + seeds)
        for run in (
            *(Run("fusion", name, seed, mark) for name in names),
            *(Run("alone", name, seed, mark) for name in alone),
        )
    ]


def _about(ready: data.Ready, seeds: int, parallel: int) -> dict[str, Any]:
    """Everything a reader needs to judge the figures by; JSON values only."""
    target, config = ready.target, ready.config
    last = config.seed + seeds - 1
    return {
        "target": target.name,
        "kind": target.kind,
        "metric": target.primary,
        "others": [other.name for other in ready.targets[1:]],
        "rows": {
            "train": len(ready.train),
            "validation": len(ready.validation),
            "test": int(ready.truth[target.name][1].sum()),
        },
        "streams": dict(ready.plan.encoders),
        "seeds": f"{config.seed} to {last}" if seeds > 1 else str(config.seed),
        "jobs": parallel,
        "resamples": target.resamples,
        "reference": REFERENCE,
        "controls": _controls(ready, seeds),
        "notes": ready.notes,
        "options": config.model_dump(mode="json", exclude={"fusion", "seed", "threads"}),
        "made": about.provenance(),
    }


def _controls(ready: data.Ready, seeds: int) -> list[str]:
    """What is the same for every method, in words."""
    config, rows = ready.config, len(ready.train)
    batches = max(1, -(-rows // config.batch_size))
    epochs, patience = length(config, batches)
    encoders = ", ".join(f"{stream} → {name}" for stream, name in ready.plan.encoders.items())
    return [
        f"encoders: {encoders}; width {ready.plan.width} (preset {ready.plan.preset})",
        "initial weights: the same encoders and heads for every fusion of a seed; so too the encoders "
        "of the models of one stream",
        f"rows: one split into {rows} to train on and {len(ready.validation)} to stop by "
        f"(seed {config.seed}), prepared once",
        f"batches: the same rows in the same order, {config.batch_size} per step",
        f"optimizer: {config.optimizer}, peak lr {config.lr or DEFAULT_LR[config.optimizer]:g}, "
        f"weight decay {config.weight_decay:g}, schedule {config.schedule}",
        f"epochs: {epochs} at most, patience {patience}, the best epoch by the validation rows is kept",
        f"augmentation: {'the same draws at every step' if config.augment else 'none'}; "
        f"modality dropout {ready.plan.modality_dropout:g}, the same draws at every step",
        f"each stream also predicts alone in training, weight {config.unimodal_loss:g}; fusions whose "
        "streams vote do so by themselves",
        "options of the fusions: their defaults; none was tuned",
        f"{counted(seeds, 'seed')} per method, one thread per run",
    ]
