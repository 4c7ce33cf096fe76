"""Where and when: the machine, the versions and the commit that figures belong to."""

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.devices import cores

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = ("benchmarks/RESULTS.md", "benchmarks/results.json")


def stamp(command: str) -> dict[str, Any]:
    """What is written beside every figure."""
    return {
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "machine": machine(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def machine() -> str:
    """Processor, cores, memory and versions in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        processor(),
        f"{cores()} cores",
        f"{memory:.0f} GiB RAM",
        platform.system(),
        f"Python {platform.python_version()}",
        *(f"{name} {installed(name)}" for name in ("torch", "numpy")),
    ]
    return ", ".join(parts)


def processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def commit() -> str:
    """The commit, with +dirty when files other than the results differ from it."""
    try:
        name = _git("rev-parse", "--short", "HEAD").strip()
        changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+dirty" if any(path not in WRITTEN for path in changed) else "")


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def source_hash() -> str:
    """A hash of plait's source: runs made with other source are made again."""
    spec = find_spec("plait")
    if spec is None or spec.origin is None:
        sys.exit("plait is not installed: run `make bench`, which installs it")
    folder = Path(spec.origin).parent
    whole = hashlib.blake2b(digest_size=10)
    for path in sorted(folder.rglob("*.py")):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()
