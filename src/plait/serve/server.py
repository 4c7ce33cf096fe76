"""Listening on a socket: uvicorn, with time limits on heads, a cap on connections, and a drain.

On SIGTERM or SIGINT readiness flips and new work is refused in words, while what was accepted is
answered; a moment later the socket closes, and the process ends with status 0.
"""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from plait.errors import ConfigError
from plait.serve.app import build, reload
from plait.serve.connection import HEAD_BYTES, Guarded
from plait.serve.logs import log
from plait.serve.options import Options
from plait.serve.problem import Problem
from plait.serve.service import Service

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread of Python makes way for another. With Python's own 5 ms the loop that
refuses waits for threads that decode: under four times the load refusals took seconds instead of
milliseconds (docs/serve.md)."""

GRACE_SECONDS = 0.5
"""Seconds between readiness flipping and the socket closing, for those who are on their way."""


class Listener(uvicorn.Server):
    """A server whose signals drain it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: `run` handles them, and a drained server ends well."""
        yield


def bind(options: Options) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the port is taken, or may not be.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With its protocol said: asyncio sends small pieces at once only then.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        where = f"port={options.port}:"
        if error.errno == errno.EADDRINUSE:
            reason = f"{where} the port is in use; choose another, or 0 for a free one."
        elif error.errno == errno.EACCES:
            reason = f"{where} this user may not use that port; choose one above 1023."
        else:
            reason = f"host='{options.host}': cannot listen there: {error.strerror}."
        raise ConfigError([reason]) from None
    listener.listen(2048)
    return listener


class Server:
    """A service on a socket, from `run` until `drain`.

    Args:
        listening: what `bind` gave.
    """

    def __init__(self, service: Service, listening: socket.socket) -> None:
        self.service = service
        self.listening = listening
        self.port: int = listening.getsockname()[1]
        options = service.options
        protocol: Any = type("GuardedHere", (Guarded,), {"service": service})
        config = uvicorn.Config(
            build(service),
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_graceful_shutdown=max(1, round(options.drain_seconds)),
        )
        self._listener = Listener(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain. SIGHUP reloads every model.

        Args:
            ready: called once requests are taken.
        """
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            asyncio.run(self._run(ready))
        finally:
            sys.setswitchinterval(before)

    def drain(self) -> None:
        """Begin to stop, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, self._drain)

    async def _run(self, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        handled: dict[int, Callable[[], Coroutine[Any, Any, None]]] = {}
        if threading.current_thread() is threading.main_thread():
            handled = {signal.SIGTERM: self._drain, signal.SIGINT: self._drain}
            handled[signal.SIGHUP] = self._reload
        for number, work in handled.items():
            self._loop.add_signal_handler(number, self._begin, work)
        fields = {
            "host": self.service.options.host,
            "port": self.port,
            "models": [model.name for model in self.service.models],
            "token": self.service.options.token is not None,
        }
        log.info("serving", extra={"fields": fields})
        try:
            self._loop.call_soon(ready)
            await self._listener.serve([self.listening])
        finally:
            for number in handled:
                self._loop.remove_signal_handler(number)
            self.service.engine.stop()
        log.info("stopped", extra={"fields": {"admitted": self.service.admitted}})

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.ensure_future(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        if not self.service.draining:
            self.service.draining = True
            log.info("draining", extra={"fields": {"admitted": self.service.admitted}})
            await asyncio.sleep(GRACE_SECONDS)
            self._listener.should_exit = True
            await self._end_streams()

    async def _end_streams(self) -> None:
        """Close what the web page keeps open to hear of answers, once they are all told."""
        while self.service.options.page and self._listener.server_state.connections:
            await asyncio.sleep(GRACE_SECONDS)
            for connection in list(self._listener.server_state.connections):
                path = (getattr(connection, "scope", None) or {}).get("path", "")
                if path.startswith("/page/") and not self.service.admitted:
                    connection.transport.abort()

    async def _reload(self) -> None:
        for model in self.service.models:
            with contextlib.suppress(Problem):  # logged, and the old one goes on
                await reload(self.service, model.name)
