"""Clients of a server, in a process of their own: `python -m benchmarks.http_load SPEC.json`.

Requests are written as bytes and answers read as bytes, so that the clients take little of the machine.
Closed: each client asks again once it was answered. Open: requests begin at a rate, whatever becomes of
the earlier ones, each on one of many kept connections.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

CONTENT = b"content-length: "


@dataclass
class Seen:
    """What became of requests: status → seconds of each; and those without any answer."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0
    refused_connections: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "seconds": {str(status): found for status, found in self.seconds.items()},
            "lost": self.lost,
            "refused_connections": self.refused_connections,
        }


class Gone(Exception):
    """The server closed the connection before an answer."""


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> int:
    """Send a request; returns the status of its answer, which is read to its end."""
    try:
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(CONTENT)[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        if b"connection: close" in head.lower():
            writer.close()
    except (OSError, asyncio.IncompleteReadError):
        raise Gone from None
    return int(head[9:12])


async def closed(port: int, bodies: list[bytes], clients: int, seconds: float, seen: Seen) -> None:
    """So many clients, each with one request at a time."""
    end = perf_counter() + seconds

    async def client(number: int) -> None:
        link: Any = None
        while perf_counter() < end:
            if link is None:
                try:
                    link = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    seen.refused_connections += 1
                    return
            began = perf_counter()
            try:
                status = await asked(*link, bodies[number % len(bodies)])
            except Gone:
                seen.lost += 1
                link = None
                continue
            seen.seconds.setdefault(status, []).append(perf_counter() - began)
            number += clients
            if status == 503:
                await asyncio.sleep(0.01)
            if link[1].is_closing():
                link = None
        if link is not None:
            link[1].close()

    await asyncio.gather(*(client(number) for number in range(clients)))


async def opened(port: int, bodies: list[bytes], rate: float, seconds: float, seen: Seen) -> None:
    """So many requests a second."""
    idle: list[Any] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        link = idle.pop() if idle else None
        while link and link[0].at_eof():  # the server has closed it meanwhile
            link[1].close()
            link = idle.pop() if idle else None
        began = perf_counter()
        try:
            link = link or await asyncio.open_connection("127.0.0.1", port)
            status = await asked(*link, bodies[number % len(bodies)])
        except OSError:
            seen.refused_connections += 1
            return
        except Gone:
            seen.lost += 1
            return
        seen.seconds.setdefault(status, []).append(perf_counter() - began)
        if not link[1].is_closing():
            idle.append(link)

    start = perf_counter()
    number = 0
    while (now := perf_counter() - start) < seconds:
        while number < now * rate:
            task = asyncio.create_task(one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(0.002)
    while tasks:
        await asyncio.sleep(0.05)
    for link in idle:
        link[1].close()


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    seen = Seen()
    bodies = [body.encode("latin-1") for body in spec["bodies"]]
    if spec["rate"]:
        asyncio.run(opened(spec["port"], bodies, spec["rate"], spec["seconds"], seen))
    else:
        asyncio.run(closed(spec["port"], bodies, spec["clients"], spec["seconds"], seen))
    print(json.dumps(seen.to_json()))


if __name__ == "__main__":
    main()
