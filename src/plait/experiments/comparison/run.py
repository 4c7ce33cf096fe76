"""One run of a comparison: ``python -m plait.experiments.comparison.run JOB``, a process of its own.

The run comes as JSON in the argument, the prepared table lies in the run's folder, and the result is one
JSON file, written whole or not at all. A run that fails writes the reason instead of figures.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO, Any, Literal

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from plait.answers.plain import plain
from plait.config import Config
from plait.data.features import PreparedTable
from plait.data.store import PreparedColumn
from plait.data.table.quarantine import Quarantine
from plait.devices import torch_threads
from plait.display.progress import Stage, Stopwatch
from plait.errors import PlaitError
from plait.experiments.comparison.data import Ready, load
from plait.model.assemble import build
from plait.model.backbones import frozen_encoders, revive_frozen
from plait.model.blueprint import Blueprint
from plait.model.infer import score_views
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import ColumnBatch
from plait.predictor.predictor import Predictor
from plait.sealed import write_whole
from plait.training.fit import train_model
from plait.training.job import Job

GAPS = (0.25, 0.5, 0.75)
"""Chances that a stream is hidden from a row, for the robustness curve."""

WARM, CALLS = 3, 21
"""Calls that are not timed, since the first ones allocate, and calls whose median is taken: an odd
number has one in the middle."""

Role = Literal["fusion", "alone", "constant"]


@dataclass(frozen=True)
class Run:
    """What one process is to do.

    Attributes:
        role: ``fusion`` trains a method, ``alone`` a model of one stream, ``constant`` answers as the
            training rows do on average.
        name: of the fusion, of the stream, or of the constant.
        fingerprint: of the data, the options and the source; written beside the result.
    """

    role: Role
    name: str
    seed: int
    fingerprint: str = ""

    @property
    def method(self) -> str:
        """What the method is called in tables."""
        return f"{self.name} alone" if self.role == "alone" else self.name

    def identity(self) -> dict[str, Any]:
        """What stands beside the result."""
        return {**asdict(self), "method": self.method}


def plan_for(plan: Blueprint, run: Run) -> Blueprint:
    """The shared architecture with the run's fusion, or with one stream only."""
    if run.role == "fusion":
        return replace(plan, fusion=run.name)
    stream = run.name
    return replace(
        plan,
        fusion="concat",
        streams={stream: plan.streams[stream]},
        encoders={stream: plan.encoders[stream]},
        shared={stream: stream},
        modality_dropout=0.0,
    )


def config_for(config: Config, run: Run) -> Config:
    """The shared options with the run's fusion and seed, on one thread."""
    fusion = run.name if run.role == "fusion" else "concat"
    return config.model_copy(update={"fusion": fusion, "seed": run.seed, "threads": 1})


def perform(ready: Ready, run: Run) -> dict[str, Any]:
    """Train and measure; returns JSON values."""
    plan, config = plan_for(ready.plan, run), config_for(ready.config, run)
    clock = Clock()
    job = Job(
        data=ready.dataset(),
        features=ready.features,
        plan=plan,
        prepared=PreparedTable(ready.columns, Quarantine()),
        config=config,
        reporter=Stopwatch(clock),
    )
    began = time.perf_counter()
    with torch_threads(1):
        model, history = train_model(job)
        trained = time.perf_counter()
        figures = measure(ready, model, run.seed)
        costs = {**size(model), **flops(model, collate(ready.test, np.array([ready.row])))}
    return {
        **figures,
        **costs,
        "rows_per_second": clock.rate,
        "epochs": len(history),
        "train_seconds": trained - began,
        "test_seconds": time.perf_counter() - trained,
    }


def constant(ready: Ready, run: Run) -> dict[str, Any]:
    """The figures of answering every row as the training rows answer on average."""
    target = ready.target
    values, present = ready.encoded[target.name]
    known = values[ready.train][present[ready.train]]
    usual = target.constant(known)
    rows = len(ready.truth[target.name][0])
    scores = np.broadcast_to(usual, (rows, len(usual))).astype(np.float32)
    return {
        **_figures(ready, dict.fromkeys(_masks(ready.streams, rows, run.seed), scores)),
        "epochs": 0,
    }


def measure(ready: Ready, model: Model, seed: int) -> dict[str, Any]:
    """The model on the test rows: with all streams, without each, and with some missing at random."""
    rows = len(ready.truth[ready.target.name][0])
    masks = _masks(ready.streams, rows, seed)
    return _figures(ready, scores(model, ready.test, masks, ready.streams))


def _masks(streams: list[str], rows: int, seed: int) -> dict[str, np.ndarray]:
    """What may be seen in each view, ``[rows, streams]``: alike for every method of a seed."""
    every = np.ones((rows, len(streams)), dtype=bool)
    masks = {"all": every}
    for number, name in enumerate(streams):
        masks[f"without {name}"] = every & (np.arange(len(streams)) != number)
    for share in GAPS:
        generator = np.random.default_rng([seed, round(100 * share)])
        masks[f"gaps {share}"] = generator.random(every.shape) >= share
    return masks


def scores(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    masks: Mapping[str, np.ndarray],
    streams: list[str],
) -> dict[str, np.ndarray]:
    """Scores of every row for the first target in each view; encoders run once.

    Args:
        masks: view → which streams each row shows, ``[rows, streams]``.
        streams: of the masks' columns; the model may have fewer.
    """
    views = np.stack(list(masks.values()))[:, :, [streams.index(name) for name in model.streams]]
    by_target = score_views(model, columns, np.arange(views.shape[1]), views).scores
    return dict(zip(masks, by_target[model.targets[0]], strict=True))


def _figures(ready: Ready, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Metrics of every view, and the answers that the bootstrap resamples."""
    target = ready.target
    values, present = ready.truth[target.name]
    views = {name: target.measure(values[present], got[present]) for name, got in scores.items()}
    main = target.primary
    return {
        "metrics": plain(views["all"]),
        "without": plain({name: views[f"without {name}"][main] for name in ready.streams}),
        "gaps": plain({str(share): views[f"gaps {share}"][main] for share in GAPS}),
        "answers": target.compared(scores["all"][present]),
    }


def size(model: Model) -> dict[str, int]:
    """Parameters that answering needs, and how many of them are the fusion's."""
    needed = {n: p for n, p in model.named_parameters() if not n.startswith("voices.")}
    return {
        "parameters": sum(p.numel() for p in needed.values()),
        "fusion_parameters": sum(p.numel() for p in model.fusion.parameters()),
    }


@torch.no_grad()
def flops(model: Model, batch: Mapping[str, ColumnBatch]) -> dict[str, int]:
    """Floating-point operations of one row's forward, as torch counts them.

    Matrix products, convolutions and attention count, a multiplication with its addition as two; what
    works element by element does not, nor do recurrent layers.
    """
    # torch's counter stumbles over parameters that a module is called with, unless nothing is learnt.
    model = deepcopy(model).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as encoders:
        tokens = model.encode(batch)
    with FlopCounterMode(display=False) as rest:
        model.answer(model.fuse(tokens))
    fused = int(rest.get_total_flops())
    return {"flops": int(encoders.get_total_flops()) + fused, "fusion_flops": fused}


def latency(ready: Ready, run: Run) -> dict[str, float | None]:
    """Milliseconds for one row, median: through a Predictor from the raw cells, and of the model alone.

    The weights are fresh, which changes no time.
    """
    plan = plan_for(ready.plan, run)
    model = build(plan, ready.features, ready.targets).eval()
    states = ready.features.states
    frozen = frozen_encoders(
        plan.frozen, states, revive_frozen(plan.frozen, states, {}), keep_cells=False
    )
    batch = collate(ready.test, np.array([ready.row]))
    with torch_threads(1), torch.no_grad():
        forward = _milliseconds(lambda: model(batch))
        whole = None
        if ready.cells is not None:
            predictor = Predictor(
                config=config_for(ready.config, run),
                schema=ready.schema,
                features=ready.features,
                blueprint=plan,
                targets=ready.targets,
                model=model,
                frozen=frozen,
            )
            row = [ready.cells.cells()]
            whole = _milliseconds(lambda: predictor.answer(row))
    return {"latency_ms": whole, "forward_ms": forward}


def _milliseconds(call: Any) -> float:
    times = []
    for _ in range(WARM + CALLS):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return median(times[WARM:])


class Clock:
    """A reporter that says nothing and takes the training's time.

    ``rate`` is the median over steps of rows per second; the median leaves out the steps that validation
    came before.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.last = time.perf_counter()

    @property
    def rate(self) -> float | None:
        """Rows a second; None before the first step."""
        return median(self.rates) if self.rates else None

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Start the clock."""
        self.last = time.perf_counter()
        yield self

    def advance(self, amount: int = 1, **metrics: float) -> None:
        """Note how long these rows took."""
        now = time.perf_counter()
        if amount:
            self.rates.append(amount / max(now - self.last, 1e-9))
        self.last = now

    def note(self, text: str) -> None:
        """Drop the note."""


def attempt(ready: Ready, run: Run) -> dict[str, Any]:
    """The run's result, or why there is none; every kind of failure is a reason and not a crash."""
    try:
        result = perform(ready, run)
    except PlaitError as error:
        result = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()  # into the run's log; the result has room for one line
        result = {"error": f"{type(error).__name__}: {error}"}
    return {**run.identity(), **result}


def end_with(stream: IO[bytes]) -> None:
    """End this process when the stream does, which the one that started it holds open."""

    def watch() -> None:
        # Past the stream's buffer, whose lock a process could not take back when it ends.
        while os.read(stream.fileno(), 64):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argument: str) -> None:
    """Do what the JSON says: ``{"folder", "out", "run"}``, or ``"runs"`` to time single rows."""
    asked = json.loads(argument)
    torch.set_num_threads(1)
    ready = load(Path(asked["folder"]))
    if "run" in asked:
        result = attempt(ready, Run(**asked["run"]))
        write_whole(Path(asked["out"]), json.dumps(result))
        return
    runs = [Run(**run) for run in asked["runs"]]
    times = {}
    for run in runs:
        try:
            times[run.method] = latency(ready, run)
        except (PlaitError, ValueError, RuntimeError):  # its runs have told why
            times[run.method] = {"latency_ms": None, "forward_ms": None}
    written = {"fingerprint": runs[0].fingerprint, "times": times}
    write_whole(Path(asked["out"]), json.dumps(written))


if __name__ == "__main__":
    end_with(sys.stdin.buffer)
    main(sys.argv[1])
