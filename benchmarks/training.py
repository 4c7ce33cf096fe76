"""Samples a second of plait's Trainer and of the bare loop, an epoch of each in turn."""

from statistics import median
from time import perf_counter

import torch

from benchmarks.bare import Arrays, BareLoop
from benchmarks.context import Bench
from benchmarks.lines import Line, at_least
from benchmarks.ready import Ready, ready
from plait.devices import compute_threads, torch_threads
from plait.model.model import Model
from plait.training.loop import Trainer
from plait.training.optim import DEFAULT_LR
from plait.training.session import Session


def measure(bench: Bench) -> list[Line]:
    source = bench.data.find_or_demo("avdigits")
    table = ready(source, rows=320 if bench.quick else None)
    with torch_threads(compute_threads()):
        ours, bare = in_turn(table, bench, pairs=bench.few(8, 2))
    rows = len(table.data.train)
    line = Line(
        "training speed",
        f"samples/s of plait's Trainer, {compute_threads()} thread(s), medians of {len(ours)} epochs, "
        "checkpoint each epoch, validation not counted",
        value=rows / median(ours),
        unit="samples/s",
        reference=rows / median(bare),
        against="bare PyTorch loop over RAM: same model, batches, augmentation, optimiser, clip, EMA",
        promise=at_least(0.90, "ratio"),
    )
    return [line.on(source.name)]


def in_turn(table: Ready, bench: Bench, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each of plait's epochs and of the bare loop's, the first of both left out.

    The bare epoch runs inside plait's validation callback: when the clock of one runs, that of the
    other stands. Both loops see the same rows in the same batches.
    """
    config, loader = table.config, table.loader()
    order = [[batch.rows for batch in loader.epoch(number)] for number in range(pairs + 1)]
    bare_loop = bare(table, steps=len(loader) * (pairs + 1))
    ours: list[float] = []
    bare_seconds: list[float] = []
    mark = 0.0

    def validate(model: Model) -> dict[str, float]:
        nonlocal mark
        ours.append(perf_counter() - mark)
        began = perf_counter()
        bare_loop.epoch(order[len(bare_seconds)])
        bare_seconds.append(perf_counter() - began)
        bench.say(
            f"  epoch {len(ours)} of {pairs + 1}: plait {ours[-1]:.2f} s, bare {bare_seconds[-1]:.2f} s"
        )
        mark = perf_counter()
        return {"score": float(len(ours)), "loss": 0.0}  # always better: the best weights are kept

    trainer = Trainer(
        table.model(),
        loader,
        validate,
        config,
        Session(epochs=pairs + 1, patience=pairs + 2, checkpoint=bench.work / "checkpoint"),
        vary=table.vary,
    )
    mark = perf_counter()
    trainer.run()
    return ours[1:], bare_seconds[1:]


def bare(table: Ready, steps: int) -> BareLoop:
    """The bare loop with everything plait's loop has."""
    config = table.config
    model = table.model()
    torch.manual_seed(config.seed)
    return BareLoop(
        model,
        Arrays(table.prepared.columns),
        table.goals,
        steps=steps,
        lr=config.lr or DEFAULT_LR[config.optimizer],
        weight_decay=config.weight_decay,
        clip=config.clip or float("inf"),
        warmup=config.warmup,
        ema=config.ema,
        vary=table.vary,
    )
