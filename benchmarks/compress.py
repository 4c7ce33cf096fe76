"""Pruned and taught students at a quarter of the weights, against the model they come from."""

from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.context import Bench
from benchmarks.data import NoDataError, Source
from benchmarks.lines import Line, at_most, not_run
from benchmarks.ready import some
from plait.data.features import settings_for
from plait.data.table.source import open_table
from plait.export import export
from plait.pipeline import fit
from plait.predictor.predictor import Predictor
from plait.runtime import Runtime
from plait.training.compress import compress
from plait.training.compress.result import Figures

TO = 0.25
WAYS = ("prune", "distil")
TURNS, WARM, BATCH = 100, 10, 32


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
        times = latencies(model, found.model, test)
        bench.say(
            f"  {source.name}, {way}: {found.after.weights / found.before.weights:.3f} of the weights, "
            f"score {found.before.score:.4f} to {found.after.score:.4f}, ms before and after: "
            + ", ".join(f"{what} {slow:.2f} {quick:.2f}" for what, (slow, quick) in times.items())
        )
        lines += told(way, found.before, found.after, times, source)
    return lines


def told(
    way: str,
    before: Figures,
    after: Figures,
    times: dict[str, tuple[float, float]],
    source: Source,
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
        *(
            Line(
                f"compress, {way}, {what}",
                f"milliseconds of {SPENT[what]}, both exported, medians of {TURNS} calls in turn, one "
                f"thread; the student has {share:.3f} of the weights",
                value=quick,
                unit="ms",
                reference=slow,
                against="the default model, exported",
                promise=at_most(0.6, "ratio") if what == "graphs, batch" else None,
            ).on(source.name)
            for what, (slow, quick) in times.items()
        ),
    ]


SPENT = {
    "row": "Runtime.answer of one row from its cells, decoding included",
    "graphs, row": "the graphs on one prepared row",
    "graphs, batch": f"the graphs on {BATCH} prepared rows",
}


def latencies(model: Predictor, student: Predictor, test: Any) -> dict[str, tuple[float, float]]:
    """Median milliseconds of both, exported, in turn."""
    names = list(model.features.modalities)
    columns = [test.cells(name) for name in names]
    count = min(test.rows, TURNS)
    rows = [
        {name: cells[row] for name, cells in zip(names, columns, strict=True)}
        for row in range(count)
    ]
    times: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what in SPENT}
    with TemporaryDirectory() as folder:
        apps = []
        for number, one in enumerate((model, student)):
            export(one, Path(folder) / str(number))
            apps.append(Runtime(Path(folder) / str(number), threads=1))
        some_of = test.take(np.arange(min(BATCH, test.rows)))
        settings = settings_for(some_of, model.config)
        many = [app.features.prepare(some_of, settings).columns for app in apps]
        for row in [*rows[:WARM], *rows]:
            for number, app in enumerate(apps):
                one_row = app.features.prepare(open_table([row], root=test.root), settings).columns
                ways = {
                    "row": partial(app.answer, [row], root=test.root),
                    "graphs, row": partial(app.graphs.run, one_row, 1),
                    "graphs, batch": partial(app.graphs.run, many[number], some_of.rows),
                }
                for what, way in ways.items():
                    began = perf_counter()
                    way()
                    times[what][number].append(1000 * (perf_counter() - began))
    return {
        what: (median(found[0][WARM:]), median(found[1][WARM:])) for what, found in times.items()
    }
