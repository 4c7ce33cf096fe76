"""plait serve on avdigits' four modalities over loopback: throughput, overload, stops, bent files."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.context import Bench
from benchmarks.http_server import Served, load, request, result, row_value, serve
from benchmarks.lines import Line, at_least, at_most
from benchmarks.runtime import from_bytes
from benchmarks.single_row import fitted
from plait.client import Client
from plait.export import export
from plait.runtime import Runtime

CLIENTS = 16
BEND = 10
"""Bent files in a request."""


def measure(bench: Bench) -> list[Line]:
    """Everything, the long parts short."""
    return measured(
        bench, overload=bench.few(20, 3), stops=bench.few(10, 1), files=bench.few(1000, 50)
    )


def measure_long(bench: Bench) -> list[Line]:
    """Two minutes of overload, fifty stops, ten thousand bent files."""
    return measured(
        bench, overload=bench.few(120, 3), stops=bench.few(50, 1), files=bench.few(10_000, 50)
    )


def measured(bench: Bench, *, overload: int, stops: int, files: int) -> list[Line]:
    source = bench.data.find_or_demo("avdigits")
    app = bench.work / "app"
    export(fitted(bench, source), app)
    rows = from_bytes(source, 200)
    bodies = [request({"rows": [row_value(row)]}) for row in rows]
    lines, rate = throughput(bench, app, rows, bodies)
    lines += overloaded(bench, app, bodies, rate, overload)
    lines.append(stopped(bench, app, bodies, stops))
    lines.append(bent_files(bench, app, rows, files))
    return [line.on(source.name) for line in lines]


def throughput(
    bench: Bench, app: Path, rows: list[dict[str, Any]], bodies: list[bytes]
) -> tuple[list[Line], float]:
    """Server and runtime in turn, since the machine is never the same twice."""
    runtime = Runtime(app, threads=1)
    seconds, turns = float(bench.few(6, 1)), bench.few(5, 1)
    alone, sixteens, served, single = [], [], [], []
    with serve(app, "--log-level", "warning") as server:
        result(load(server, bodies, bench.work, seconds=2, clients=CLIENTS), 60)
        for _ in range(turns):
            alone.append(rate_of(runtime, rows, 1, seconds))
            found = result(load(server, bodies, bench.work, seconds=seconds, clients=CLIENTS), 60)
            served.append(found["ms"][200])
            sixteens.append(rate_of(runtime, rows, 16, seconds / 2))
            found = result(load(server, bodies, bench.work, seconds=seconds / 2, clients=1), 60)
            single.append(found["ms"][200])
    ours = median(len(ms) / seconds for ms in served)
    floor = median(alone)
    every, one = np.concatenate(served), np.concatenate(single)
    bench.say(
        f"  {ours:.0f} requests/s with {CLIENTS} clients, runtime alone {floor:.0f} rows/s, "
        f"{median(sixteens):.0f} in sixteens; p99 {np.percentile(every, 99):.1f} ms, one client "
        f"{np.percentile(one, 99):.1f}"
    )
    return [
        Line(
            f"server, {CLIENTS} clients",
            f"requests of one row answered a second, {CLIENTS} clients on the same machine, median of "
            f"{turns} turns of {seconds:g} s",
            value=ours,
            unit="/s",
            reference=floor,
            against="Runtime.answer, a row at a time, in turn with it",
            promise=at_least(0.7, "ratio"),
        ),
        Line(
            f"server, {CLIENTS} clients, against rows in sixteens",
            "the same",
            value=ours,
            unit="/s",
            reference=median(sixteens),
            against="Runtime.answer on 16 rows at a time",
        ),
        percentile(every, f"server, {CLIENTS} clients, p99"),
        percentile(one, "server, one client, p99"),
    ], ours


def rate_of(runtime: Runtime, rows: list[dict[str, Any]], size: int, seconds: float) -> float:
    """Rows a second."""
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        start = done % (len(rows) - size + 1)
        runtime.answer(rows[start : start + size])
        done += size
    return done / spent


def percentile(ms: np.ndarray, name: str, reference: float | None = None) -> Line:
    value = float(np.percentile(ms, 99))
    return Line(
        name,
        "99th percentile of milliseconds of a request",
        value=value,
        unit="ms",
        reference=reference,
    )


def overloaded(
    bench: Bench, app: Path, bodies: list[bytes], rate: float, seconds: float
) -> list[Line]:
    """Four times as many requests as can be answered."""
    with serve(app, "--log-level", "warning") as server:
        result(load(server, bodies, bench.work, seconds=2, clients=CLIENTS), 60)
        calm = result(
            load(server, bodies, bench.work, seconds=min(seconds, 10), clients=CLIENTS), 60
        )
        at_first = server.resident()
        asking = load(server, bodies, bench.work, seconds=seconds, rate=4 * rate)
        sizes = []
        while asking.poll() is None:
            time.sleep(seconds / 40)
            sizes.append(server.resident())
            if len(sizes) > 80:
                break
        found = result(asking, seconds + 120)
    good, no = found["ms"].get(200, np.zeros(1)), found["ms"].get(503, np.zeros(1))
    others = sum(len(ms) for status, ms in found["ms"].items() if status not in (200, 503))
    lost = found["lost"] + found["refused_connections"] + others
    half = sizes[len(sizes) // 2 :]
    growth = half[-1] / half[0] - 1
    before = float(np.percentile(calm["ms"][200], 99))
    bench.say(
        f"  overload: {len(good)} answered, {len(no)} refused, {lost} lost; p99 "
        f"{np.percentile(good, 99):.0f} ms (at capacity {before:.0f}), refusals "
        f"{np.percentile(no, 99):.0f} ms; memory {at_first:.0f} to {sizes[-1]:.0f} MB"
    )
    what = f"{4 * rate:.0f} requests/s begun for {seconds:g} s, four times the throughput"
    return [
        Line(
            "overload, accepted p99",
            f"99th percentile of answered requests, {what}",
            value=float(np.percentile(good, 99)),
            unit="ms",
            reference=before,
            against=f"the same with {CLIENTS} clients, just before",
            promise=at_most(2, "ratio"),
        ),
        Line(
            "overload, refusals p99",
            f"99th percentile of requests refused with 503, {what}",
            value=float(np.percentile(no, 99)),
            unit="ms",
            promise=at_most(100, unit="ms"),
        ),
        Line(
            "overload, lost",
            f"requests with neither answer nor 503, {what}",
            value=float(lost),
            promise=at_most(0),
        ),
        Line(
            "overload, memory",
            f"growth of resident memory over the second half, {what}",
            value=100 * growth,
            unit="%",
            promise=at_most(2, unit="%"),
        ),
    ]


def stopped(bench: Bench, app: Path, bodies: list[bytes], stops: int) -> Line:
    """SIGTERM under load: as many answers are received as requests were begun."""
    rng = np.random.default_rng(0)
    lost, bad, closed = 0, 0, 0
    for _ in range(stops):
        with serve(app, "--log-level", "debug") as server:
            asking = load(server, bodies, bench.work, seconds=30, clients=8)
            wait_for_work(server)
            time.sleep(float(rng.uniform(0, 0.3)))
            bad += server.end() != 0
            found = result(asking, 60)
        begun = sum('"event": "request"' in line and "/predict" in line for line in server.lines)
        answered = sum(len(ms) for ms in found["ms"].values())
        lost += max(0, begun - answered)
        closed += found["lost"]
    bench.say(f"  {stops} stops: {lost} accepted without an answer, {bad} ended badly")
    return Line(
        "stops, accepted and not answered",
        f"requests that the server had begun and the clients got no answer to, 8 clients, {stops} "
        f"SIGTERMs; besides, {closed} requests met a connection that was being closed",
        value=float(lost + bad),
        promise=at_most(0),
    )


def wait_for_work(server: Served) -> None:
    end = time.monotonic() + 20
    while not any("/predict" in line for line in server.lines) and time.monotonic() < end:
        time.sleep(0.01)


def bent_files(bench: Bench, app: Path, rows: list[dict[str, Any]], files: int) -> Line:
    """Media bent out of shape: one answer each, none that takes long."""
    rng = np.random.default_rng(0)
    worst, answers, unreadable = 0.0, 0, 0
    with serve(app, "--log-level", "warning") as server:
        with Client(f"http://127.0.0.1:{server.port}", timeout=30, tries=1) as client:
            for start in range(0, files, BEND):
                sent = []
                for number in range(start, start + BEND):
                    row = rows[number % len(rows)]
                    media = [name for name, cell in row.items() if isinstance(cell, bytes)]
                    name = media[number % len(media)]
                    sent.append({**row, name: bent(row[name], rng)})
                began = time.perf_counter()
                reply = client.predict(sent)
                worst = max(worst, time.perf_counter() - began)
                answers += len(reply.answers)
                unreadable += len(reply.unreadable)
        ended = server.end()
    bench.say(f"  {answers} bent files, {unreadable} unreadable, the slowest request {worst:.2f} s")
    if answers != files or ended:
        raise RuntimeError(f"{answers} answers to {files} rows; the server ended with {ended}")
    return Line(
        "bent files, slowest request",
        f"seconds of the slowest request of {BEND} rows, {files} media files with bytes changed, cut "
        f"out or doubled, one answer each ({unreadable} were unreadable)",
        value=worst,
        unit="s",
        promise=at_most(5, unit="s"),
    )


def bent(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bytes changed, cut out, doubled, or its end missing."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        place, count = int(rng.integers(len(found) or 1)), int(rng.integers(1, 40))
        match int(rng.integers(5)):
            case 0:
                found[place : place + 1] = rng.bytes(1)
            case 1:
                del found[place : place + count]
            case 2:
                found[place:place] = found[place : place + count]
            case 3:
                found[place : place + 4] = b"\xff\xff\xff\xff"
            case _:
                del found[max(place, 1) :]
    return bytes(found)
