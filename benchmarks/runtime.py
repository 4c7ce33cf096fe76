"""Rows through `plait.runtime`, from file bytes, against bare onnxruntime sessions and decoding."""

import json
from io import BytesIO
from itertools import chain
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from tokenizers import Tokenizer

from benchmarks.context import Bench
from benchmarks.data import Source
from benchmarks.lines import Line, at_least, at_most
from benchmarks.ready import some
from benchmarks.single_row import SHOWN, fitted
from plait.data.modalities.log_mel import log_mel
from plait.export import export
from plait.predictor.predictor import Predictor
from plait.runtime import Runtime

Row = dict[str, Any]
BATCHES = (32, 128)


def measure(bench: Bench) -> list[Line]:
    source = bench.data.find_or_demo("avdigits")
    model = fitted(bench, source)
    began = perf_counter()
    export(model, bench.work / "app")
    seconds = perf_counter() - began
    bench.say(f"  export, check included: {seconds:.0f} s")
    runtime = Runtime(bench.work / "app", threads=1)
    bare = Bare(runtime)
    calls, warm = bench.few(200, 20), bench.few(20, 5)
    rows = from_bytes(source, max(calls + warm, max(BATCHES)))
    lines = [
        Line(
            "export, check included",
            "seconds of plait.export on the default model, graphs and numeric check",
            value=seconds,
            unit="s",
            promise=at_most(90, unit="s"),
        ).on(source.name)
    ]
    lines += [line.on(source.name) for line in singles(bench, model, runtime, bare, rows, warm)]
    lines += [line.on(source.name) for line in batches(bench, runtime, bare, rows)]
    lines += [line.on(source.name) for line in fewer(bench, runtime, rows[:32])]
    again = Runtime(bench.work / "app", threads=1, kept=1000)
    lines += [line.on(source.name) for line in repeated(bench, runtime, again, rows[:32])]
    return lines


def singles(
    bench: Bench, model: Predictor, runtime: Runtime, bare: "Bare", rows: list[Row], warm: int
) -> list[Line]:
    """One row at a time, with four, two and one modality present, all ways in turn."""
    lines = []
    for count in (4, 2, 1):
        shown = SHOWN[:count]
        seen = [{name: row[name] if name in shown else None for name in SHOWN} for row in rows]
        ways: dict[str, list[float]] = {"runtime": [], "bare": [], "Predictor": []}
        for row in seen:
            ways["runtime"].append(timed(runtime.answer, [row]))
            ways["bare"].append(timed(bare.answer, [row]))
            ways["Predictor"].append(timed(model.answer, [row]))
        ours, floor, torch = (median(times[warm:]) for times in ways.values())
        bench.say(
            f"  {', '.join(shown)}: p50 {ours:.2f} ms, bare {floor:.2f}, Predictor {torch:.1f}"
        )
        what = f"milliseconds of Runtime.answer on {', '.join(shown)} from bytes, {len(seen)} calls"
        lines += [
            Line(
                f"runtime, one row, {count} of 4 present, p50",
                what,
                value=ours,
                unit="ms",
                reference=torch,
                against="Predictor.answer on the same rows",
                promise=at_most(5, unit="ms") if count == 4 else None,
            ),
            Line(
                f"runtime, one row, {count} of 4 present, over bare",
                "p50 of Runtime.answer over that of bare sessions and bare decoding",
                value=ours / floor,
                unit="x",
                reference=floor,
                against="milliseconds of the bare way",
                promise=at_most(1.3, unit="x") if count == 4 else None,
            ),
        ]
    return lines


def batches(bench: Bench, runtime: Runtime, bare: "Bare", rows: list[Row]) -> list[Line]:
    """Many rows at a time: answers a second as a share of what the bare way gives."""
    lines = []
    for size in BATCHES:
        batch = rows[:size]
        ours, floor = [], []
        for _ in range(bench.few(30, 5)):
            ours.append(timed(runtime.answer, batch))
            floor.append(timed(bare.answer, batch))
        share = median(floor) / median(ours)
        a_second = 1000 * size / median(ours)
        bench.say(f"  batch of {size}: {a_second:.0f} rows/s, {share:.2f} of bare")
        lines.append(
            Line(
                f"runtime, batch of {size}, share of bare throughput",
                f"rows a second of Runtime.answer on {size} rows from bytes, over the bare way's",
                value=share,
                unit="x",
                reference=a_second,
                against="rows a second of Runtime.answer",
                promise=at_least(0.9, unit="x") if size == 128 else None,
            )
        )
    return lines


def fewer(bench: Bench, runtime: Runtime, rows: list[Row]) -> list[Line]:
    """The same batch with two modalities, and with one: what is missing is not paid for."""
    cases = {
        count: [
            {name: row[name] if name in SHOWN[:count] else None for name in SHOWN} for row in rows
        ]
        for count in (4, 2, 1)
    }
    times: dict[int, list[float]] = {count: [] for count in cases}
    for _ in range(bench.few(30, 5)):
        for count, batch in cases.items():
            times[count].append(timed(runtime.answer, batch))
    whole = median(times[4])
    bench.say(
        f"  batch of {len(rows)}, ms: " + str({n: round(median(t), 2) for n, t in times.items()})
    )
    return [
        Line(
            f"runtime, batch of {len(rows)}, {count} of 4 present",
            f"milliseconds of Runtime.answer with {', '.join(SHOWN[:count])}",
            value=median(times[count]),
            unit="ms",
            reference=whole,
            against="with all four, in turn",
            promise=at_most(1, "ratio"),
        )
        for count in (2, 1)
    ]


def repeated(bench: Bench, runtime: Runtime, keeping: Runtime, rows: list[Row]) -> list[Line]:
    """The same rows again and again, with encoder outputs kept and without."""
    ways: dict[str, list[float]] = {"kept": [], "plain": []}
    for _ in range(bench.few(30, 5)):
        ways["kept"].append(timed(keeping.answer, rows))
        ways["plain"].append(timed(runtime.answer, rows))
    ours, floor = (median(times[1:]) for times in ways.values())
    return [
        Line(
            f"runtime, batch of {len(rows)} seen before, kept=1000",
            "milliseconds of Runtime.answer on rows whose encoder outputs are kept",
            value=ours,
            unit="ms",
            reference=floor,
            against="with nothing kept, in turn",
        )
    ]


def timed(call: Any, rows: list[Row]) -> float:
    began = perf_counter()
    call(rows)
    return 1000 * (perf_counter() - began)


def from_bytes(source: Source, count: int) -> list[Row]:
    """Rows whose media cells are the files' bytes; every cell is there."""
    table = some(source.test, source.folder, 4 * count)
    columns = [table.cells(name) for name in SHOWN]
    rows = []
    for cells in zip(*columns, strict=True):
        if None in cells:
            continue
        row = dict(zip(SHOWN, cells, strict=True))
        for name in ("image", "audio"):
            row[name] = (source.folder / str(row[name])).read_bytes()
        rows.append(row)
    return [rows[number % len(rows)] for number in range(count)]


class Bare:
    """The same graphs by hand: no guard, no checks, no missing cells but whole columns.

    It decodes as a notebook would, on one thread, and calls each session once.
    """

    def __init__(self, runtime: Runtime) -> None:
        features = runtime.features
        self.streams = runtime.streams
        self.states = features.states
        self.modalities = features.modalities
        self.widths = runtime.graphs.widths
        self.sessions = runtime.graphs.sessions
        text = next(name for name, kind in self.modalities.items() if kind == "text")
        self.tokenizer = Tokenizer.from_str(json.dumps(self.states[text]["tokenizer"]))
        self.decoders = {
            "image": self.images,
            "audio": self.sounds,
            "text": self.texts,
            "numeric": self.numbers,
        }

    def answer(self, rows: list[Row]) -> Any:
        feed: dict[str, Any] = {}
        for index, stream in enumerate(self.streams):
            cells = [[row[name] for row in rows] for name in stream.columns]
            if all(cell is None for cell in chain(*cells)):
                width = self.widths[index]
                feed[f"tokens_{index}"] = np.zeros((len(rows), 1, width), np.float32)
                feed[f"mask_{index}"] = np.zeros((len(rows), 1), bool)
                continue
            given = {}
            for place, (name, column) in enumerate(zip(stream.columns, cells, strict=True)):
                values, mask = self.decoders[self.modalities[name]](column, self.states[name])
                given[f"values_{place}"], given[f"mask_{place}"] = values, mask
            feed[f"tokens_{index}"], feed[f"mask_{index}"] = self.sessions[stream.encoder].run(
                None, given
            )
        return self.sessions["fusion.onnx"].run(None, feed)

    @staticmethod
    def images(cells: list[bytes], state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        size, mode = state["size"], "L" if state["channels"] == 1 else "RGB"
        found = [
            np.asarray(Image.open(BytesIO(cell)).convert(mode).resize((size, size)))
            for cell in cells
        ]
        return np.stack(found).reshape(len(cells), size, size, -1), np.ones(len(cells), bool)

    @staticmethod
    def sounds(cells: list[bytes], state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        waves = []
        for cell in cells:
            wave, _ = soundfile.read(BytesIO(cell), dtype="float32")
            waves.append(wave[: state["rate"] * state["max_seconds"]])
        hop = round(state["rate"] * state["hop_ms"] / 1000)
        lengths = np.array([1 + len(wave) // hop for wave in waves])
        return padded(np.split(log_mel(waves, state), np.cumsum(lengths)[:-1]))

    def texts(self, cells: list[str], state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(cells)]
        return padded([np.array(some[: state["max_tokens"]], np.int32) for some in ids])

    @staticmethod
    def numbers(cells: list[float], state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        values = (np.array(cells, np.float64) - state["center"]) / state["scale"]
        return values.astype(np.float32)[:, None], np.ones(len(cells), bool)


def padded(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ragged arrays as one, zeros behind, with a mask."""
    lengths = np.array([len(part) for part in parts])
    mask = np.arange(lengths.max()) < lengths[:, None]
    values = np.zeros((*mask.shape, *parts[0].shape[1:]), parts[0].dtype)
    values[mask] = np.concatenate(parts)
    return values, mask
