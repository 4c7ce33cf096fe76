"""A server in a process of its own, and clients in another: what the benchmarks of serving share."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Served:
    """A running server.

    Attributes:
        command: what starts it; it tells its address on standard error.
    """

    command: list[str]
    lines: list[str] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> "Served":
        self.process = subprocess.Popen(
            self.command, stderr=subprocess.PIPE, text=True, env=_environment()
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        end = time.monotonic() + 60
        while not self.port:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the server did not start:\n" + "".join(self.lines))
            time.sleep(0.02)
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stderr
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.match(r"http://127\.0\.0\.1:(\d+) ", line):
                self.port = int(found[1])

    def resident(self) -> float:
        """Megabytes of memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def end(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.reader.join()
        return status


def serve(app: Path, *options: str) -> Served:
    return Served([sys.executable, "-m", "plait", "serve", str(app), "--port", "0", *options])


def request(value: Any, kind: str = "predict", content: str = "application/json") -> bytes:
    """A request as bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"POST /v1/{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def row_value(row: dict[str, Any]) -> dict[str, Any]:
    """A row of cells as JSON values."""
    return {
        name: {"base64": base64.b64encode(cell).decode()} if isinstance(cell, bytes) else cell
        for name, cell in row.items()
    }


def load(
    served: Served,
    bodies: list[bytes],
    work: Path,
    *,
    seconds: float,
    clients: int = 1,
    rate: float = 0.0,
) -> Any:
    """Start clients; `result` gives what they saw."""
    spec = {
        "port": served.port,
        "bodies": [body.decode("latin-1") for body in bodies],
        "clients": clients,
        "rate": rate,
        "seconds": seconds,
    }
    path = work / "load.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.http_load", str(path)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_environment()
    )


def result(clients: Any, timeout: float) -> dict[str, Any]:
    """What the clients saw: milliseconds by status, and what was lost."""
    told, _ = clients.communicate(timeout=timeout)
    found = json.loads(told)
    found["ms"] = {
        int(status): 1000 * np.array(seconds) for status, seconds in found.pop("seconds").items()
    }
    return dict(found)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
