"""Run a command in a fresh process and watch its time and its memory."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.machine import ROOT

EVERY = 0.05
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds, and gigabytes (1e9 bytes).

    Attributes:
        peak: most memory resident at once, mapped files included.
        private: most memory of its own at once, without mapped files; NaN where the system hides it.
    """

    seconds: float
    peak: float
    private: float
    output: str


class FailedError(Exception):
    """The process ended with an error."""


def watch(command: Sequence[str], env: Mapping[str, str] | None = None) -> Spent:
    """Run to the end.

    Raises:
        FailedError: with the last of what the process said.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        peak = private = 0.0
        try:
            while process.poll() is None:
                now, own = memory(process.pid)
                peak, private = max(peak, now), max(private, own)
                time.sleep(EVERY)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - began
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise FailedError(f"exit {process.returncode}: {output.strip()[-600:]}")
    return Spent(seconds, peak, private or float("nan"), output)


def memory(pid: int) -> tuple[float, float]:
    """Gigabytes resident at most so far, and private now; 0 once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        told = dict(line.split(":", 1) for line in lines)
        high, own = (int(told[name].split()[0]) * 1024 / 1e9 for name in ("VmHWM", "RssAnon"))
    except (OSError, KeyError):
        try:
            return float(psutil.Process(pid).memory_info().rss) / 1e9, 0.0
        except psutil.Error:
            return 0.0, 0.0
    return high, own
