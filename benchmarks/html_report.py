"""The HTML report of a test table: how long it takes, how large it is."""

from time import perf_counter

from benchmarks.context import Bench
from benchmarks.lines import Line, at_most
from benchmarks.ready import some
from benchmarks.single_row import fitted
from plait.devices import compute_threads, torch_threads

SECONDS, MEGABYTES = 30.0, 15.0


def measure(bench: Bench) -> list[Line]:
    """Wall time of `Predictor.report`, from files to the page, and the size of the page."""
    source = bench.data.find_or_demo("avdigits")
    model = fitted(bench, source)
    table = some(source.test, source.folder, bench.few(1000, 60))
    path = bench.work / "report.html"
    with torch_threads(compute_threads()):
        began = perf_counter()
        model.report(table, path)
        seconds = perf_counter() - began
    size = path.stat().st_size / 1e6
    bench.say(f"  {seconds:.1f} s, {size:.2f} MB")
    told = f"{table.rows} rows, {len(model.model.streams)} streams, every part"
    return [
        Line(
            "report, time",
            f"seconds from files to the page, {told}",
            value=seconds,
            unit="s",
            promise=at_most(SECONDS, "value", "s"),
        ).on(source.name),
        Line(
            "report, size",
            f"one file, pictures and sounds in it, {told}",
            value=size,
            unit="MB",
            promise=at_most(MEGABYTES, "value", "MB"),
        ).on(source.name),
    ]
