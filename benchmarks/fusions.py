"""Every fusion method on three data sets: the table by which the default is chosen."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.accuracy import done, of, specs
from benchmarks.context import Bench
from benchmarks.runs import Result
from plait.config import configure
from plait.fusion.registry import FUSIONS

HEAD = ["data", "fusion", "accuracy", "balanced", "balanced, one stream hidden", "fit s"]
DATA = ("avdigits", "clipart", "heartbeat")


def measure(bench: Bench) -> dict[str, Any]:
    """A table: one row a data set and fusion."""
    default = configure().fusion
    tried = DATA[:1] if bench.quick else DATA
    groups = {}
    for data in tried:
        for name in FUSIONS:
            options: dict[str, Any] = (
                {} if name == default else {"fusion": name}
            )  # the default's runs are shared
            groups[f"{data} {name}"] = specs(bench, data, "fit", **options)
    found = done(bench, groups)
    rows = [
        [data, name + (" (default)" if name == default else ""), *figures(found[f"{data} {name}"])]
        for data in tried
        for name in FUSIONS
    ]
    seeds = len(next(iter(found.values())))
    title = (
        f"Fusion methods, all else default, test tables, mean ± standard deviation of {seeds} seeds. "
        f"One stream hidden: balanced accuracy, mean over hiding each stream in turn. Fit seconds with "
        f"{bench.runs.jobs} runs at a time."
    )
    return {"title": title, "head": HEAD, "rows": rows}


def figures(results: Sequence[Result]) -> list[str]:
    hidden = [mean(one["balanced_accuracy"] for one in run["without"].values()) for run in results]
    return [
        pair(of(results, "accuracy")),
        pair(of(results, "balanced_accuracy")),
        pair(hidden),
        f"{mean(run['seconds'] for run in results):.0f}",
    ]


def pair(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"
