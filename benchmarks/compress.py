"""Pruned and taught students at a quarter of the weights, against the model they come from."""

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.context import Bench
from benchmarks.data import NoDataError, Source
from benchmarks.lines import Line, at_most, not_run
from benchmarks.ready import some
from plait.compress import compress
from plait.compress.result import Figures
from plait.export import export
from plait.pipeline import fit
from plait.predict import Predictor
from plait.runtime import Runtime

TO = 0.25
WAYS = ("prune", "distil", "both")
TURNS, WARM = 100, 10


def measure(bench: Bench) -> list[Line]:
    """Both data sets, every way."""
    lines = []
    for name in ("avdigits", "clipart"):
        try:
            lines += of(bench, bench.data.find(name))
        except NoDataError as error:
            lines.append(not_run(f"compress, {name}", str(error)))
    return lines


def of(bench: Bench, source: Source) -> list[Line]:
    """One data set: the default model, and its students."""
    train = some(source.train, source.folder, bench.few(10**9, 300))
    test = some(source.test, source.folder, bench.few(10**9, 100))
    options: dict[str, Any] = {"epochs": 1} if bench.quick else {}
    model = fit(train, source.target, **source.options, **options)
    lines = []
    for way in WAYS:
        found = compress(model, train, to=TO, way=way, test=test, **options)
        before, after = latencies(model, found.model, test)
        bench.say(
            f"  {source.name}, {way}: {found.after.weights / found.before.weights:.3f} of the weights, "
            f"score {found.before.score:.4f} to {found.after.score:.4f}, {before:.2f} to {after:.2f} ms"
        )
        lines += told(way, found.before, found.after, before, after, source)
    return lines


def told(
    way: str, before: Figures, after: Figures, slow: float, quick: float, source: Source
) -> list[Line]:
    share = after.weights / before.weights
    return [
        Line(
            f"compress, {way}, score lost",
            "main test metric of the default model less that of its student of "
            f"{after.weights:,} weights, one seed",
            value=before.score - after.score,
            reference=before.score,
            against=f"the default model, {before.weights:,} weights",
            promise=at_most(0.02),
        ).on(source.name),
        Line(
            f"compress, {way}, latency",
            f"milliseconds of Runtime.answer of one row from its cells, both exported, {TURNS} calls in "
            f"turn, one thread; the student has {share:.3f} of the weights",
            value=quick,
            unit="ms",
            reference=slow,
            against="the default model, exported",
            promise=at_most(0.6, "ratio"),
        ).on(source.name),
    ]


def latencies(model: Predictor, student: Predictor, test: Any) -> tuple[float, float]:
    """Median milliseconds a row of both, exported, in turn."""
    names = list(model.features.modalities)
    columns = [test.cells(name) for name in names]
    count = min(test.rows, TURNS)
    rows = [
        {name: cells[row] for name, cells in zip(names, columns, strict=True)}
        for row in range(count)
    ]
    times: list[list[float]] = [[], []]
    with TemporaryDirectory() as folder:
        apps = []
        for number, one in enumerate((model, student)):
            export(one, Path(folder) / str(number))
            apps.append(Runtime(Path(folder) / str(number), threads=1))
        for row in [*rows[:WARM], *rows]:
            for app, found in zip(apps, times, strict=True):
                began = perf_counter()
                app.answer([row], root=test.root)
                found.append(1000 * (perf_counter() - began))
    slow, quick = (median(found[WARM:]) for found in times)
    return slow, quick
