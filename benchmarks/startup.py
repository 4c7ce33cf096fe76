"""How long plait takes to import and to show its help; how long and how large its installation is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.context import Bench
from benchmarks.lines import Line, at_most
from benchmarks.machine import ROOT


def measure(bench: Bench) -> list[Line]:
    """Fresh processes in turn: bare Python, `import plait`, `plait --help`."""
    commands = {
        "bare": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import plait"],
        "help": [sys.executable, "-m", "plait", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(bench.few(10, 2) + 1):
        for name, command in commands.items():
            began = perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            if turn:  # the first of each warms the disk cache
                times[name].append(perf_counter() - began)
    bare, imported, helped = (median(times[name]) for name in ("bare", "import", "help"))
    count = len(times["bare"])
    bench.say(f"  bare {bare:.3f} s, import {imported:.3f} s, help {helped:.3f} s")
    return [
        Line(
            "import plait",
            f"seconds more than bare Python, warm, medians of {count}",
            value=imported - bare,
            unit="s",
            reference=bare,
            against="bare Python",
            promise=at_most(0.3, unit="s"),
        ),
        Line(
            "plait --help",
            f"seconds in all, warm, median of {count}",
            value=helped,
            unit="s",
            reference=bare,
            against="bare Python",
            promise=at_most(0.5, unit="s"),
        ),
    ]


def measure_install(bench: Bench) -> list[Line]:
    """The core with the pinned torch into a new environment, nothing taken from uv's or pip's cache."""
    home = bench.work / "install"
    env = dict(os.environ)
    links = env.get("PIP_FIND_LINKS", "").split()
    if links:
        env.setdefault("UV_FIND_LINKS", ",".join(links))
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    tool = uv()
    constraints = ["--constraint", str(ROOT / "constraints.txt"), str(ROOT)]
    if tool:
        steps = [[*tool, "venv", "--quiet", "--python", sys.executable, str(home)]]
        install = [*tool, "pip", "install", "--compile-bytecode", "--python", str(python)]
        install += ["--no-cache"]
    else:
        steps = [[sys.executable, "-m", "venv", str(home)]]
        install = [str(python), "-m", "pip", "install", "--no-cache-dir"]
    steps.append([*install, "--quiet", *constraints])
    began = perf_counter()
    for step in steps:
        done = subprocess.run(step, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the installation failed: {done.stderr.strip()[-400:]}")
    seconds, size = perf_counter() - began, disk_gb(home)
    shutil.rmtree(home)
    what = f"core with torch into a new environment by {'uv' if tool else 'pip'}, nothing cached"
    return [
        Line("install, time", f"seconds: {what}", seconds, "s", promise=at_most(240, unit="s")),
        Line("install, size", f"GB on disk: {what}", size, "GB", promise=at_most(2.5, unit="GB")),
    ]


def uv() -> list[str]:
    """The command that runs uv; empty when it is absent."""
    found = shutil.which("uv")
    if found:
        return [found]
    here = [sys.executable, "-m", "uv"]
    ran = subprocess.run([*here, "--version"], capture_output=True, check=False)
    return here if ran.returncode == 0 else []


def disk_gb(folder: Path) -> float:
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            seen[(found.st_dev, found.st_ino)] = found.st_size
    return sum(seen.values()) / 1e9
