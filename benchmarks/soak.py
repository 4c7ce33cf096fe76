"""Good and bad requests for a long while: does the server's memory stay as it is?

python -m benchmarks.soak APP --minutes 20
python -m benchmarks.soak APP --minutes 1 --leak     # a server with a leak, which has to be caught
"""

import argparse
import socket
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.http_server import Served, request, row_value, serve
from plait.runtime import Runtime

GROWTH = 0.02
"""Of resident memory over the second half, from which on it counts as a leak."""


def leaky(app: Path, size: int) -> Served:
    """A server that forgets to forget so many bytes of each request."""
    code = (
        "import sys\n"
        "from plait.serve.service import Service\n"
        "whole, kept = Service.work, []\n"
        "async def work(self, *arguments):\n"
        f"    kept.append(bytearray({size}))\n"
        "    return await whole(self, *arguments)\n"
        "Service.work = work\n"
        f"sys.argv = ['plait', 'serve', {str(app)!r}, '--port', '0', '--log-level', 'error']\n"
        "from plait.cli.main import main\n"
        "main()\n"
    )
    return Served([sys.executable, "-c", code])


def requests(app: Path) -> list[bytes]:
    """Good ones, and one of each kind that is not."""
    row: dict[str, Any] = {}
    for name, cell in Runtime(app).golden[0].cells().items():
        row[name] = cell["bytes"] if isinstance(cell, dict) else cell
    value = row_value(row)
    good = [request({"rows": [value]}, kind) for kind in ("predict", "explain", "embed")]
    good.append(request({"rows": [value] * 20}))
    media = [name for name, cell in row.items() if isinstance(cell, bytes)]
    broken = [request({"rows": [{name: {"base64": "aGVsbG8="}}]}) for name in media]
    bad: list[Any] = [b"", b"[" * 5000, b'{"rows": [NaN]}', {"rows": [{"?": 1}]}, {"rows": [7]}]
    return [
        *good,
        *broken,
        *map(request, bad),
        request(b"x" * 100_000, content="multipart/form-data; boundary=y"),
        request(b'{"a": 1}\n' * 50, content="application/x-ndjson"),
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
        b"no http\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",  # and leaves
    ]


def soak(server: Served, sent: list[bytes], seconds: float, samples: int = 200) -> np.ndarray:
    """Resident megabytes, sampled evenly, while requests are sent."""
    sizes = []
    began, number = time.monotonic(), 0
    while (spent := time.monotonic() - began) < seconds:
        if spent >= len(sizes) * seconds / samples:
            sizes.append(server.resident())
        data = sent[number % len(sent)]
        number += 1
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            raw.sendall(data)
            if number % 7 and not data.endswith(b"\n{"):  # every seventh leaves at once
                raw.recv(1)
    return np.array(sizes)


def growth(sizes: np.ndarray) -> float:
    """Of the second half, as a share: the last quarter's median over that of the one before."""
    third, last = np.array_split(sizes[len(sizes) // 2 :], 2)
    return float(np.median(last) / np.median(third)) - 1


def alive(server: Served) -> bool:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("app", type=Path, help="folder of an exported model")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--leak", action="store_true", help="serve with a planted leak")
    asked = parser.parse_args(given)
    started = leaky(asked.app, 60_000) if asked.leak else serve(asked.app, "--log-level", "error")
    with started as server:
        sizes = soak(server, requests(asked.app), 60 * asked.minutes)
        well = alive(server)
        status = server.end()
    found = growth(sizes)
    print(
        f"{asked.minutes:g} min: {sizes[0]:.1f} to {sizes[-1]:.1f} MB, {100 * found:+.2f} % in the "
        f"second half; {'alive' if well else 'dead'} at the end, exit status {status}"
    )
    return 0 if found < GROWTH and well and status == 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
