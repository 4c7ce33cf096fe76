"""`plait fit` with defaults in a fresh process: time, memory, memory with more rows, time to .890."""

import csv
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile, rmtree
from statistics import median

from benchmarks.context import Bench
from benchmarks.data import Source
from benchmarks.lines import Line, at_most
from benchmarks.watch import Spent, watch

LUDWIG_SECONDS, LUDWIG_GB, LUDWIG_ACCURACY = 195.0, 3.8, 0.890
"""Ludwig on avdigits, five epochs, in all; measured on another day (issue 2), not in this run."""

TIMES = 10


def measure(bench: Bench) -> list[Line]:
    """Seconds and peak memory from the import to the saved bundle, the store empty."""
    source = bench.data.find("avdigits")
    table = head(bench, source) if bench.quick else source.train
    spent: list[Spent] = []
    for turn in range(bench.few(3, 1)):
        spent.append(fit(bench, source, table, ["epochs=1"] if bench.quick else []))
        bench.say(f"  fit {turn + 1}: {spent[-1].seconds:.1f} s, {spent[-1].peak:.2f} GB")
    what = f"plait fit with defaults, import to saved bundle, empty store, {of(len(spent))}"
    recorded = "Ludwig, recorded in issue 2, not in this run"
    return [
        Line(
            "whole fit, time",
            what,
            value=median(one.seconds for one in spent),
            unit="s",
            reference=LUDWIG_SECONDS,
            against=recorded,
            promise=at_most(180, unit="s"),
        ).on(source.name),
        Line(
            "whole fit, memory",
            f"peak resident memory, mapped files included: {what}",
            value=max(one.peak for one in spent),
            unit="GB",
            reference=LUDWIG_GB,
            against=recorded,
            promise=at_most(1.2, unit="GB"),
        ).on(source.name),
    ]


def measure_memory(bench: Bench) -> list[Line]:
    """As many steps over the table, over its rows ten times, and over ten times as many files."""
    source = bench.data.find("avdigits")
    table = head(bench, source) if bench.quick else source.train
    epoch = ["epochs=1"]
    once = fit(bench, source, table, [f"epochs={TIMES}", f"patience={TIMES}"])
    rows = fit(bench, source, repeated(bench, table), epoch)
    many = copied(bench, source, table)
    files = fit(bench, many, many.train, epoch)
    rmtree(many.folder)
    bench.say(f"  once {once.peak:.2f} GB, rows {rows.peak:.2f} GB, files {files.private:.2f} GB")
    return [
        Line(
            "memory flat, rows",
            f"peak resident memory of one epoch, the table's rows {TIMES} times",
            value=rows.peak,
            unit="GB",
            reference=once.peak,
            against=f"{TIMES} epochs of the table once, which are as many steps",
            promise=at_most(1.15, "ratio"),
        ).on(source.name),
        Line(
            "memory flat, files",
            f"peak private memory (no mapped files) of one epoch, {TIMES} copies of every file",
            value=files.private,
            unit="GB",
            reference=once.private,
            against=f"{TIMES} epochs of the table once, which are as many steps",
            promise=at_most(1.15, "ratio"),
        ).on(source.name),
    ]


def measure_race(bench: Bench) -> list[Line]:
    """Seconds from the start of the process to Ludwig's accuracy on the test table."""
    source = bench.data.find("avdigits")
    goal = 0.05 if bench.quick else LUDWIG_ACCURACY
    table = head(bench, source) if bench.quick else source.train
    found: list[float | None] = []
    for seed in range(bench.few(bench.seeds, 1)):
        with cache(bench) as env:
            told = {
                "train": str(table),
                "test": str(source.test),
                "root": str(source.folder),
                "target": source.target,
                "goal": goal,
                "seed": seed,
                "out": str(bench.work / "race"),
                "began": time.time(),
            }
            spent = watch([sys.executable, "-m", "benchmarks.race", json.dumps(told)], env)
        result = json.loads(spent.output.strip().splitlines()[-1])
        found.append(result["seconds"])
        bench.say(f"  seed {seed}: {result}")
    reached = [seconds for seconds in found if seconds is not None]
    line = Line(
        f"time to accuracy {LUDWIG_ACCURACY:.3f}",
        f"import to the first epoch whose averaged weights reach {goal} on the test table, empty store, "
        f"time of looking not counted, {of(len(found), 'seed')}",
        value=median(reached) if len(reached) == len(found) else None,
        unit="s",
        reference=LUDWIG_SECONDS,
        against="Ludwig, whole run, recorded in issue 2, not in this run",
        promise=at_most(39, unit="s"),
    )
    return [line.on(source.name)]


def of(count: int, name: str = "run") -> str:
    return f"median of {count} {name}s" if count > 1 else f"one {name}"


class cache:  # noqa: N801 - reads as a with-statement
    """An empty folder for plait to cache in, removed afterwards."""

    def __init__(self, bench: Bench) -> None:
        self.folder = bench.work / "cache"

    def __enter__(self) -> dict[str, str]:
        rmtree(self.folder, ignore_errors=True)
        return {"PLAIT_CACHE": str(self.folder)}

    def __exit__(self, *_: object) -> None:
        rmtree(self.folder, ignore_errors=True)


def fit(bench: Bench, source: Source, table: Path, options: Sequence[str]) -> Spent:
    """`plait fit` in a fresh process with an empty store."""
    out = bench.work / "fit"
    rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "plait", "fit", str(table), "--target", source.target]
    command += ["--out", str(out), "--root", str(source.folder), "--quiet"]
    command += [word for option in options for word in ("--set", option)]
    with cache(bench) as env:
        return watch(command, env)


def read(table: Path) -> tuple[list[str], list[list[str]]]:
    with table.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    return names, rows


def write(table: Path, names: list[str], rows: list[list[str]]) -> Path:
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return table


def head(bench: Bench, source: Source) -> Path:
    """Some 200 rows, for trying the benchmark itself."""
    names, rows = read(source.train)
    return write(bench.work / "head.csv", names, rows[:: max(1, len(rows) // 200)])


def repeated(bench: Bench, table: Path) -> Path:
    names, rows = read(table)
    return write(bench.work / "repeated.csv", names, rows * TIMES)


def copied(bench: Bench, source: Source, table: Path) -> Source:
    """The table ten times, each row with files of its own (hard links where the disk allows)."""
    names, rows = read(table)
    folder = bench.work / "copied"
    media = [place for place, cell in enumerate(rows[0]) if (source.folder / cell).is_file()]
    more = []
    for number in range(TIMES):
        for row in rows:
            fresh = list(row)
            for place in media:
                if row[place]:
                    fresh[place] = f"{number}/{row[place]}"
                    link(source.folder / row[place], folder / fresh[place])
            more.append(fresh)
    write(folder / "train.csv", names, more)
    return Source(folder, source.name, source.target, source.options)


def link(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        copyfile(old, new)
