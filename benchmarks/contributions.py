"""Contributions of every stream to every test row, against one plain pass of the same rows."""

from statistics import median
from time import process_time

import numpy as np

from benchmarks.context import Bench
from benchmarks.lines import Line, at_most
from benchmarks.ready import some
from benchmarks.single_row import fitted
from plait.data.features import settings_for
from plait.devices import torch_threads
from plait.insight.explain.shapley import Game
from plait.model.infer import infer, score_views


def measure(bench: Bench) -> list[Line]:
    """The whole call against `answer`, and the model's part alone, prepared, against `infer`."""
    source = bench.data.find_or_demo("avdigits")
    model = fitted(bench, source)
    table = some(source.test, source.folder, bench.few(1000, 80))
    columns = model.features.prepare(table, settings_for(table, model.config)).columns
    rows, game = np.arange(table.rows), Game(len(model.model.streams))
    ways = {
        "answer": lambda: model.answer(table),
        "contributions": lambda: model.contributions(table),
        "infer": lambda: infer(model.model, columns, rows),
        "subsets": lambda: score_views(model.model, columns, rows, game.subsets[:, None]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch_threads(1):
        for turn in range(bench.few(7, 2)):
            for name, way in ways.items():
                began = process_time()
                way()
                if turn:
                    times[name].append(process_time() - began)
    found = {name: median(each) for name, each in times.items()}
    told = (
        f"{table.rows} rows, {len(game.subsets)} subsets, median of {len(times['answer'])} in turn"
    )
    bench.say("  " + ", ".join(f"{name} {one:.2f} s" for name, one in found.items()))
    pairs = (
        ("contributions", "answer", "files to shares of every row and metric", "one plain pass"),
        ("subsets", "infer", "model alone, cells prepared", "the model's one plain pass"),
    )
    return [
        Line(
            f"contributions, {name}",
            f"processor seconds, {what}, {told}",
            value=found[name],
            unit="s",
            reference=found[plain],
            against=against,
            promise=at_most(3, "ratio"),
        ).on(source.name)
        for name, plain, what, against in pairs
    ]
