"""Which device and how many threads, and why."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.errors import ConfigError


def cores() -> int:
    """Processor cores this process may use: its affinity, and its container's share of time."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = Path("/sys/fs/cgroup/cpu.max")
    try:
        share, period = quota.read_text(encoding="ascii").split()
        if share != "max":
            allowed = min(allowed, max(1, round(int(share) / int(period))))
    except (OSError, ValueError):  # no such limit on this system
        pass
    return max(1, allowed)


def compute_threads() -> int:
    """Threads to train with: half the cores.

    The small convolutions of from-scratch encoders gain nothing from a second thread on two cores and
    lose much when another process is busy (docs/lab-notes.md); decoding still uses every core.
    """
    return max(1, cores() // 2)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with ``count`` threads, and give back the caller's setting afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(asked: str) -> tuple[str, str]:
    """The device's name for torch, and the reason it was chosen.

    Raises:
        ConfigError: the device does not exist here.
    """
    import torch

    devices = ["cpu"]
    devices += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if asked == "auto":
        best = "cuda" if len(devices) > 1 and devices[1] == "cuda:0" else devices[-1]
        return best, "the fastest device available" if best != "cpu" else "no GPU was found"
    if (asked != "cuda" and asked not in devices) or (asked == "cuda" and "cuda:0" not in devices):
        raise ConfigError([f"device='{asked}': this machine has only {', '.join(devices)}."])
    return asked, "as requested"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the processor or on a GPU."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "out of memory" in text
    )


def channels_last(module: Any) -> None:
    """Lay a torch module's two-dimensional convolutions out with channels last.

    So they are quickest on a processor. Convolutions over clips, of five axes, stay as they are.
    """
    import torch

    for weight in module.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
