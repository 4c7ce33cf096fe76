"""What pretrained encoders that come by pip are worth: accuracy, and the time to reach one."""

import json
import sys
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks.accuracy import compared, done, of, specs
from benchmarks.context import Bench
from benchmarks.data import Source
from benchmarks.lines import Line, at_most, more_than
from benchmarks.pretrained import ENCODERS, needed, source_of
from benchmarks.runs import Result
from benchmarks.watch import watch
from benchmarks.whole_fit import cache, head
from benchmarks.whole_fit import of as median_of

TRANSFER = {"clipart": ("title", ("test",)), "emoji": ("name", ("test", "style_test"))}
"""Data set → its text column beside ``image``, and the tables to answer."""

TABLES = {"test": "test table", "style_test": "test in the other drawing style"}


def measure_transfer(bench: Bench) -> list[Line]:
    """Packaged encoders, frozen, against plait's own from scratch; and each column alone, frozen."""
    needed()
    groups = {}
    for data, (text, _) in TRANSFER.items():
        groups[f"{data} scratch"] = specs(bench, data, "fit")
        for alone, left, wanted in (
            ("", [], ("image", "text")),
            ("image", [text], ("image",)),
            (text, ["image"], ("text",)),
        ):
            options: dict[str, Any] = {"ignore": left} if left else {}
            options["encoders"] = {modality: ENCODERS[modality] for modality in wanted}
            groups[f"{data} frozen {alone}"] = specs(bench, data, "fit", **options)
    found = done(bench, groups)
    return [
        transferred(
            *(data, table, alone, found[f"{data} frozen {alone}"]),
            found[f"{data} frozen " if alone else f"{data} scratch"],
        )
        for data, (text, tables) in TRANSFER.items()
        for table in tables
        for alone in ("", "image", text)
    ]


def transferred(
    data: str, table: str, alone: str, frozen: list[Result], reference: list[Result]
) -> Line:
    """One table under one choice of columns; the promise is for both columns together."""
    ours, floor = (
        of(results if table == "test" else [one["also"][table] for one in results], METRIC)
        for results in (frozen, reference)
    )
    noise = round(deviation(ours) + deviation(floor), 4)
    against = "both columns, frozen" if alone else "the same with plait's encoders from scratch"
    return compared(
        f"transfer, {data}, {alone + ' alone' if alone else 'both'}, {table}",
        f"balanced accuracy on the {TABLES[table]}, {alone or 'image and ' + TRANSFER[data][0]}, "
        "packaged encoders frozen",
        ours,
        mean(floor),
        f"{against}, ± {deviation(floor):.3f}"
        + ("" if alone else "; the promise is more than the sum of both deviations"),
        None if alone else more_than(noise),
    )


METRIC = "balanced_accuracy"


def deviation(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def measure_time_to(bench: Bench) -> list[Line]:
    """Seconds from nothing to the best validation score of the fit from scratch."""
    source = source_of(bench, "clipart")
    scratch: list[float] = []
    empty: list[float | None] = []
    filled: list[float | None] = []
    prepared: list[float] = []
    table = head(bench, source) if bench.quick else source.train
    length = {"epochs": 2} if bench.quick else {}
    compiled = {"PYTHONPYCACHEPREFIX": str(bench.work / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    with cache(bench) as env:  # so that every module is compiled, as pip leaves it
        race(source, head(bench, source), env | compiled, 0, None, epochs=1, encoders=ENCODERS)
    for seed in range(bench.few(bench.seeds, 1)):
        with cache(bench) as env:
            found = race(source, table, env | compiled, seed, None, **length)
        best = max(found["curve"], key=lambda point: point[1])  # the first of equals
        scratch.append(best[0])
        prepared.append(found["stages"]["prepare"])
        with cache(bench) as env:
            for times in (empty, filled):
                again = race(
                    *(source, table, env | compiled, seed, best[1]), encoders=ENCODERS, **length
                )
                when, score = again["curve"][-1]
                times.append(when if score >= best[1] else None)
                bench.say(f"  seed {seed}, goal {best[1]:.3f}: {times[-1]} s, {again['stages']}")
        bench.say(f"  seed {seed}: from scratch {best[0]} s, {found['stages']}")
    what = (
        "seconds from the start of the process to the first epoch whose validation balanced accuracy "
        f"is the best of the fit from scratch, packaged encoders frozen, {{}}, all "
        f"modules compiled before, {median_of(len(scratch), 'seed')}"
    )
    against = (
        "from scratch, to its own best, empty store, in this run; preparing is "
        f"{median(prepared):.1f} s of it"
    )
    return [
        Line(
            f"time to from-scratch's best, {name} store",
            what.format(f"{name} store"),
            value=median(known) if len(known) == len(times) else None,
            unit="s",
            reference=median(scratch),
            against=against,
            promise=at_most(0.2, "ratio") if name == "empty" else None,
        ).on(source.name)
        for name, times in (("empty", empty), ("filled", filled))
        for known in [[one for one in times if one is not None]]
    ]


def race(
    source: Source,
    table: Path,
    env: dict[str, str],
    seed: int,
    goal: float | None,
    **options: Any,
) -> dict[str, Any]:
    """One fit in a fresh process: to the end, or until its validation score is the goal."""
    told = {
        "train": str(table),
        "target": source.target,
        "root": str(source.folder),
        "options": {**source.options, **options},
        "seed": seed,
        "goal": goal,
        "began": time.time(),
    }
    spent = watch([sys.executable, "-m", "benchmarks.fit_race", json.dumps(told)], env)
    found: dict[str, Any] = json.loads(spent.output.strip().splitlines()[-1])
    return found
