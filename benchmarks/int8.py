"""What 8-bit numbers save and cost: size, metric and time of exported models."""

from pathlib import Path
from statistics import median

from benchmarks.context import Bench
from benchmarks.data import NoDataError
from benchmarks.lines import Line, at_most
from benchmarks.ready import some
from benchmarks.runtime import from_bytes, timed
from plait import fit, load
from plait.export import cost, export, quantise
from plait.runtime import Runtime

DATA = ("avdigits", "clipart")
SHARE, POINT = 0.35, 0.01


def measure(bench: Bench) -> list[Line]:
    lines = []
    for name in DATA:
        try:
            lines += one(bench, name)
        except NoDataError as error:
            lines.append(Line(f"int8, {name}", "size and metric in int8", why=str(error)))
    return lines


def one(bench: Bench, name: str) -> list[Line]:
    """One data set: fitted and exported once, then in int8 both ways."""
    source = bench.data.find(name)
    folder = bench.work / f"int8-{name}"
    train = some(source.train, source.folder, bench.few(10**9, 200))
    test = some(source.test, source.folder, bench.few(10**9, 100))
    epochs = {"epochs": 1} if bench.quick else {}
    fit(train, source.target, out=folder / "run", **epochs, **source.options)
    export(load(folder / "run"), folder / "whole")
    whole = Runtime(folder / "whole", threads=1)
    lines = []
    for kind, calibrate in (("dynamic", None), ("static", train)):
        quantise(folder / "whole", folder / kind, calibrate=calibrate)
        small = Runtime(folder / kind, threads=1)
        share = size(folder / kind) / size(folder / "whole")
        (found,) = cost(whole, small, test)
        bench.say(f"  {name}, {kind}: {share:.3f} of the size; {found.summary()}")
        lines += [
            Line(
                f"int8 {kind}, {name}, size",
                "bytes of the folder over those of the one in float32",
                value=share,
                unit="x",
                reference=size(folder / "whole") / 1e6,
                against="megabytes in float32",
                promise=at_most(SHARE, unit="x"),
            ),
            Line(
                f"int8 {kind}, {name}, drop",
                f"{found.metric} lost on {found.rows} test rows",
                value=found.drop,
                reference=found.before,
                against="in float32",
                promise=at_most(POINT),
            ),
        ]
        if name == "avdigits":
            rows = from_bytes(source, bench.few(220, 25))
            ways: list[list[float]] = [[], []]
            for row in rows:
                for runtime, times in zip((small, whole), ways, strict=True):
                    times.append(timed(runtime.answer, [row]))
            ours, floor = (median(times[bench.few(20, 5) :]) for times in ways)
            lines.append(
                Line(
                    f"int8 {kind}, {name}, one row, p50",
                    "milliseconds of Runtime.answer on four modalities from bytes",
                    value=ours,
                    unit="ms",
                    reference=floor,
                    against="in float32, in turn",
                )
            )
    return lines


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.iterdir())
