"""Rows a second from files to arrays: plait into an empty store, a bare decode loop, plait again."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import soundfile
import soxr
from PIL import Image
from threadpoolctl import threadpool_limits

from benchmarks.context import Bench
from benchmarks.data import Source
from benchmarks.lines import Line, at_least, at_most
from benchmarks.ready import some
from plait.config import configure
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.store import Store
from plait.data.table.source import Table
from plait.devices import cores
from plait.training.dataset import read_dataset

Decode = Callable[[Path], np.ndarray]


def measure(bench: Bench) -> list[Line]:
    source = bench.data.find_or_demo("avdigits")
    tables, features = opened(source, 200 if bench.quick else None)
    rows = sum(table.rows for table in tables)
    loops = decoders(features)
    first: list[float] = []
    bare: list[float] = []
    again: list[float] = []
    for turn in range(bench.few(5, 2)):
        store = Store(bench.work / f"store-{turn}")
        seconds, ours = timed(partial(prepare, tables, features, store))
        first.append(seconds)
        seconds, theirs = timed(partial(decode, tables, loops))
        bare.append(seconds)
        again.append(timed(partial(prepare, tables, features, store))[0])
        if turn == 0:
            check_same(ours[0], theirs[0])
        shutil.rmtree(store.folder.parent, ignore_errors=True)
        bench.say(f"  plait {first[-1]:.2f} s, bare {bare[-1]:.2f} s, again {again[-1]:.3f} s")
    what = (
        f"{rows} rows of image, audio, text and number, {cores()} threads, medians of {len(first)}"
    )
    fresh = Line(
        "preparing speed",
        f"rows/s into an empty store: {what}",
        value=rows / median(first),
        unit="rows/s",
        reference=rows / median(bare),
        against="bare ThreadPoolExecutor loop: Pillow, soundfile, numpy log-mel; no text, no disk",
        promise=at_least(0.8, "ratio"),
    )
    stored = Line(
        "preparing again",
        f"seconds from the store: {what}",
        value=median(again),
        unit="s",
        reference=median(first),
        against="the first run",
        promise=at_most(0.05, "ratio"),
    )
    return [fresh.on(source.name), stored.on(source.name)]


def opened(source: Source, rows: int | None) -> tuple[list[Table], Features]:
    """Both tables, and the preprocessing fitted on the training rows."""
    config = configure(**source.options)
    train, test = (some(path, source.folder, rows) for path in (source.train, source.test))
    data = read_dataset(train, [source.target], config)
    settings = settings_for(train, config)
    return [train, test], Features.fit(train, data.schema.inputs, data.train, settings)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = perf_counter()
    result = work()
    return perf_counter() - began, result


def prepare(tables: list[Table], features: Features, store: Store) -> list[PreparedTable]:
    config = configure()
    return [features.prepare(table, settings_for(table, config), store=store) for table in tables]


def decoders(features: Features) -> dict[str, Decode]:
    """Media column → what turns one of its files into an array."""
    found: dict[str, Decode] = {}
    for name, modality in features.modalities.items():
        state = features.states[name]
        if modality == "image":
            found[name] = partial(
                pixels, size=state["size"], mode="L" if state["channels"] == 1 else "RGB"
            )
        elif modality == "audio":
            found[name] = log_mel(state)
    return found


def decode(tables: list[Table], loops: dict[str, Decode]) -> list[dict[str, list[np.ndarray]]]:
    """Every media cell of every table, in threads, kept in RAM.

    BLAS gets one thread, since its own threads would fight those of the pool.
    """
    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
        return [
            {
                name: list(
                    pool.map(
                        loop,
                        [Path(table.root or "", str(cell)) for cell in table.cells(name) if cell],
                    )
                )
                for name, loop in loops.items()
            }
            for table in tables
        ]


def pixels(path: Path, *, size: int, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        seen = image.convert(mode)
    if seen.size != (size, size):
        seen = seen.resize((size, size), Image.Resampling.BICUBIC)
    values = np.asarray(seen)
    return values[:, :, None] if mode == "L" else values


def log_mel(state: dict[str, Any]) -> Decode:
    """Log-mel of one clip, as its state asks: HTK's mel, Hann windows, triangles of height 1."""
    rate, hop = state["rate"], state["rate"] * state["hop_ms"] // 1000
    length = round(rate * state["window_ms"] / 1000)
    size = 2 ** int(np.ceil(np.log2(max(length, rate // 20))))
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
    low, high = (float(np.log1p(state[name] / 700)) for name in ("fmin", "fmax"))
    edges = np.linspace(low, high, state["mels"] + 2)
    hertz = 700 * np.expm1(edges)
    bins = np.fft.rfftfreq(size, 1 / rate)[:, None]
    up = (bins - hertz[:-2]) / np.diff(hertz)[:-1]
    down = (hertz[2:] - bins) / np.diff(hertz)[1:]
    bank = np.clip(np.minimum(up, down), 0, None).astype(np.float32)
    most = state["max_seconds"]

    def transform(path: Path) -> np.ndarray:
        wave, source = soundfile.read(BytesIO(path.read_bytes()), dtype="float32", always_2d=True)
        mono = wave[: int(most * source)].mean(axis=1)
        if source != rate:
            mono = soxr.resample(mono, source, rate)
        padded = np.pad(mono, (length // 2, length // 2 + length % 2 + hop))
        frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop][
            : 1 + len(mono) // hop
        ]
        power = np.abs(np.fft.rfft(frames * window, size)) ** 2
        frames_by_mels: np.ndarray = np.log(power @ bank + np.float32(1e-6)).astype(np.float16)
        return frames_by_mels

    return transform


def check_same(ours: PreparedTable, theirs: dict[str, list[np.ndarray]]) -> None:
    """The floor must do the same work: its arrays are plait's, to rounding."""
    for name, cells in theirs.items():
        column = ours.columns[name]
        rows = np.flatnonzero(column.rows_present)[:50]
        for row, cell in zip(rows, cells, strict=False):
            values, mask = column.batch(np.array([row]))
            mine = values[0][mask[0]] if mask.ndim == 2 else values[0]
            if mine.shape != cell.shape or not np.allclose(
                mine.astype(np.float32), cell.astype(np.float32), atol=0.05
            ):
                raise AssertionError(f"column {name}, row {row}: the bare loop's array is another")
