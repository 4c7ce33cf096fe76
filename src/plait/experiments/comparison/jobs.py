"""Many runs at once, each a process with one thread, each result a file; a broken-off lot continues."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plait.display.progress import Reporter
from plait.experiments.comparison.about import SOURCE
from plait.experiments.comparison.run import Run

RUNS = "runs"
LATENCY = "latency.json"
_WAIT = 0.02
"""Seconds between two looks at the processes."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def path_of(folder: Path, run: Run) -> Path:
    """The file of a run's result. Stream names are the user's, so they are shortened and hashed."""
    name = run.name
    if run.role != "fusion":
        mark = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        name = f"{run.role}-{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:40]}-{mark}"
    return folder / RUNS / f"{name}.{run.seed}.json"


def finished(folder: Path, run: Run) -> dict[str, Any] | None:
    """The result of an earlier run with the same fingerprint that did not fail."""
    result = _read(path_of(folder, run))
    if result is None or "error" in result or result.get("fingerprint") != run.fingerprint:
        return None
    return result


def _read(path: Path) -> dict[str, Any] | None:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def run_all(
    folder: Path, runs: Sequence[Run], parallel: int, reporter: Reporter
) -> list[dict[str, Any]]:
    """Every run's result in order, those of earlier runs included; a failed one has an ``error``.

    Args:
        parallel: processes at a time.

    Raises:
        KeyboardInterrupt: passed on, after all processes have been stopped.
    """
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    results = {run: finished(folder, run) for run in runs}
    waiting = [run for run in runs if results[run] is None]
    if len(waiting) < len(runs):
        reporter.note(f"{len(runs) - len(waiting)} of {len(runs)} runs were finished before")
    if waiting:
        _run(folder, waiting, parallel, reporter, results)
    return [result for result in results.values() if result is not None]


def _run(
    folder: Path,
    waiting: list[Run],
    parallel: int,
    reporter: Reporter,
    results: dict[Run, dict[str, Any] | None],
) -> None:
    """Run the waiting runs and put their results in."""
    running: dict[subprocess.Popen[bytes], Run] = {}
    try:
        with reporter.stage("compare", len(waiting), "runs") as stage:
            while waiting or running:
                while waiting and len(running) < parallel:
                    run = waiting.pop(0)
                    running[_start(folder, run)] = run
                for process in [p for p in running if p.poll() is not None]:
                    run = running.pop(process)
                    _stop([process])
                    result = results[run] = _collect(folder, run, process.returncode)
                    if "error" in result:
                        first = result["error"].partition("\n")[0]
                        reporter.note(f"{run.method}, seed {run.seed} failed: {first}")
                    stage.advance()
                time.sleep(_WAIT)
    finally:
        _stop(list(running))


def _start(folder: Path, run: Run) -> "subprocess.Popen[bytes]":
    path = path_of(folder, run)
    path.unlink(missing_ok=True)
    argument = {"folder": str(folder), "out": str(path), "run": asdict(run)}
    return launch(argument, path.with_suffix(".log"))


def launch(argument: dict[str, Any], log: Path) -> "subprocess.Popen[bytes]":
    """A process of `plait.experiments.comparison.run`; what it prints goes to the log.

    It ends when its standard input does, so that none outlives this process, however that ends.
    """
    # The same plait, wherever this process found it; -P: nothing is imported from the working folder.
    here = str(SOURCE.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-P", "-m", "plait.experiments.comparison.run", json.dumps(argument)]
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment
        )


def _collect(folder: Path, run: Run, status: int) -> dict[str, Any]:
    """What a process left; where it left nothing, how it ended."""
    path = path_of(folder, run)
    result = _read(path)
    if result is not None:
        if "error" not in result:
            path.with_suffix(".log").unlink(missing_ok=True)
        return result
    how = f"was stopped by signal {-status}" if status < 0 else f"ended with status {status}"
    how += ", as when memory runs out" if status == -9 else ""
    log = path.with_suffix(".log")
    last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    return {**run.identity(), "error": f"the process {how}; see {log}. {last}".strip()}


def _stop(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """End processes that still run, and let go of those that do not."""
    for process in processes:
        process.terminate()  # does nothing to one that has ended
    for process in processes:
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def time_rows(folder: Path, runs: Sequence[Run], reporter: Reporter) -> dict[str, dict[str, Any]]:
    """Single-row latencies by method, measured one after the other in one process, nothing beside it."""
    path = folder / LATENCY
    known = _read(path) or {}
    same = bool(runs) and known.get("fingerprint") == runs[0].fingerprint
    times: dict[str, dict[str, Any]] = known.get("times", {}) if same else {}
    missing = [run for run in runs if run.method not in times]
    if missing:
        asked = {"folder": str(folder), "out": str(path), "runs": [asdict(run) for run in runs]}
        path.unlink(missing_ok=True)
        with reporter.stage("time single rows", len(runs), "methods") as stage:
            process = launch(asked, path.with_suffix(".log"))
            try:
                process.wait()
            finally:
                _stop([process])
            stage.advance(len(runs))
        times = (_read(path) or {}).get("times", {})
    return times
