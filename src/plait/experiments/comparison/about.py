"""What figures belong to: version, source, commit, machine."""

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from plait.devices import cores

SOURCE = Path(__file__).parents[2]


def source_hash() -> str:
    """A hash of plait's source: runs made with other source are made again."""
    whole = hashlib.blake2b(digest_size=10)
    for path in sorted(SOURCE.rglob("*.py")):
        whole.update(path.relative_to(SOURCE).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def commit() -> str | None:
    """The last commit of plait's own source; None where it is no part of a git checkout."""
    command = ["git", "--no-optional-locks", "log", "-1", "--format=%h", "--", "."]
    try:
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def provenance() -> dict[str, str]:
    """Version, commit, source, machine and date, as a page shows them."""
    return {
        "plait": version("plait"),
        "commit": commit() or "not a git checkout",
        "source": source_hash(),
        "machine": f"{_processor()}, {cores()} cores, {platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"
