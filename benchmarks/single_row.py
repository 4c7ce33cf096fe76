"""One row through a loaded Predictor, from paths, with four modalities and with fewer."""

from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks.context import Bench
from benchmarks.data import Source
from benchmarks.lines import Line, at_most
from benchmarks.ready import some
from plait.data.features import settings_for
from plait.data.table.source import open_table
from plait.model.loader import collate
from plait.pipeline import fit
from plait.predictor.predictor import Predictor, load

Row = dict[str, object]
SHOWN = ("image", "audio", "text", "number")


def measure(bench: Bench) -> list[Line]:
    source = bench.data.find_or_demo("avdigits")
    model = fitted(bench, source)
    calls, warm = bench.few(200, 20), bench.few(20, 5)
    table = some(source.test, source.folder, calls + warm)
    rows = [
        {name: table.cells(name)[row] for name in SHOWN}
        for row in range(min(calls + warm, table.rows))
    ]
    times = in_turn(model, rows, source)
    lines = []
    for count, (ours, bare) in times.items():
        shown, ours = SHOWN[:count], ours[warm:]
        p50, p95 = (float(figure) for figure in np.percentile(ours, [50, 95]))
        floor = median(bare[warm:])
        bench.say(f"  {', '.join(shown)}: p50 {p50:.1f} ms, p95 {p95:.1f}, bare {floor:.1f}")
        lines.append(p_line(shown, "p50", p50, floor, len(ours)).on(source.name))
        if shown == SHOWN:
            lines.append(p_line(shown, "p95", p95, floor, len(ours)).on(source.name))
    return lines


def in_turn(
    model: Predictor, rows: list[Row], source: Source
) -> dict[int, tuple[list[float], list[float]]]:
    """Number of modalities present → milliseconds of the Predictor and of the bare model, by row."""
    times: dict[int, tuple[list[float], list[float]]] = {
        count: ([], []) for count in range(len(SHOWN), 0, -1)
    }
    for row in rows:
        for count, (ours, bare) in times.items():
            seen = {name: row[name] if name in SHOWN[:count] else None for name in SHOWN}
            ours.append(timed(model, seen, source))
            bare.append(forward(model, seen, source))
    return times


def fitted(bench: Bench, source: Source) -> Predictor:
    """A saved and loaded model of the default architecture; its weights matter little for time."""
    folder = bench.work / "single"
    if not folder.exists():  # another measurement of the same run may have fitted it
        table = some(source.train, source.folder, 400)
        fit(table, source.target, out=folder, epochs=1, **source.options)
    return load(folder)


def timed(model: Predictor, row: Row, source: Source) -> float:
    began = perf_counter()
    model.predict([row], root=source.folder)
    return 1000 * (perf_counter() - began)


@torch.no_grad()
def forward(model: Predictor, row: Row, source: Source) -> float:
    """The model alone, the row already prepared and batched: what no Predictor can undercut."""
    table = open_table([row], root=source.folder)
    prepared = model.features.prepare(table, settings_for(table, model.config))
    batch = collate(prepared.columns, np.arange(1))
    began = perf_counter()
    model.model(batch)
    return 1000 * (perf_counter() - began)


def p_line(shown: tuple[str, ...], which: str, value: float, bare: float, calls: int) -> Line:
    return Line(
        f"one row, {len(shown)} of 4 present, {which}",
        f"milliseconds of Predictor.predict on {', '.join(shown)} from paths, {calls} calls",
        value=value,
        unit="ms",
        reference=bare,
        against="p50 of the model alone, on that row prepared (peers, recorded in issue 2: 183 to 1803)",
        promise=at_most(15, unit="ms") if which == "p50" and len(shown) == 4 else None,
    )
