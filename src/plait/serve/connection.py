"""One connection: a head has its time, an answer is heard, and a full server refuses in microseconds.

Refusals are written as raw bytes of HTTP/1.1, made once. Parsing a request and building an answer costs
a full server more than what it refuses, and those it has accepted wait for that: under four times the
load, refusals are most of what it does (docs/lab-notes.md). Only what is certain from a few bytes is
refused so; everything else goes the long way through h11 and uvicorn.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from plait.serve.problem import Problem, busy
from plait.serve.service import FULL, Service

LINGER_SECONDS = 2.0
"""Seconds that a client which is still sending gets to read why it was refused."""

HEAD_BYTES = 64 * 1024
"""Of a head, which h11 holds in memory until it is whole; several times what browsers send."""

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
    b"Cache-Control: no-store\r\n%sContent-Length: %d\r\n\r\n"
)


def _refusal(message: str, more: bytes = b"") -> bytes:
    body = busy(message).body()
    return _REFUSAL % (more, len(body)) + body


_FULL = _refusal(FULL)
_CROWDED = _refusal("the server has reached its limit of connections.", b"Connection: close\r\n")
# A head with one of these may mean another length, or wants another answer first.
_ODD = (b"transfer-encoding", b"expect:", b"upgrade:", b"connection:")


class Guarded(H11Protocol):
    """A connection that cannot be held open by saying nothing."""

    service: Service
    _head: asyncio.TimerHandle | None = None
    _crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse what is over the cap; else wait for a head, but not for ever."""
        super().connection_made(transport)
        over = len(self.connections) - self.service.options.connections
        if over <= 0:
            self._await_head()
            return
        self._crowded = True
        transport.write(_CROWDED)
        # Closed at once, it would be reset while the client still sends, and the words be lost.
        few = over <= self.service.options.connections
        # Lingering is capped too: a flood of refused clients would use up the file descriptors.
        self.loop.call_later(LINGER_SECONDS if few else 0, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is not whole yet has the time it had."""
        if self._crowded or (self.service.full and self._refuse(data)):
            return
        super().data_received(data)
        # h11 leaves IDLE once the head is whole; from there on the body's own timeout counts.
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head is None:
            self._await_head()

    def _refuse(self, data: bytes) -> bool:
        """Refuse a small request, which came whole and alone, without taking it apart.

        What a full server spends on saying no, it takes from those that it has accepted.
        """
        idle = self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE
        # Bytes in h11's buffer belong to an earlier request, or begin this head.
        if not idle or self.conn.trailing_data[0] or not data.startswith(b"POST /v1/"):
            return False
        end = data.find(b"\r\n\r\n")
        head = data[:end].lower()
        before, mark, rest = head.partition(b"\r\ncontent-length:")
        length = rest.partition(b"\r\n")[0].strip()
        # A second Content-Length is how requests are smuggled; h11 judges that, not this shortcut.
        known = mark and length.isdigit() and len(length) < 10
        if end < 0 or not known or b"content-length" in before + rest:
            return False
        # A pipelined or partial request must reach h11, or the connection falls out of step.
        if len(data) != end + 4 + int(length) or any(word in head for word in _ODD):
            return False
        self.service.metrics.refused.inc()
        self._forget_head()
        if self.timeout_keep_alive_task is not None:  # else it would close a connection in use
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self.transport.write(_FULL)
        self._await_head()
        return True

    def send_400_response(self, msg: str) -> None:
        """Say that it is no HTTP, as every other error is said; what h11 makes of it stays here."""
        body = Problem(400, "bad_http", "this is not valid HTTP/1.1.").body()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        reply = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (reply, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """A client that was answered before its body was whole may read that, and not send for long."""
        sending = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        # Reset at once, the client would see a broken pipe in place of the answer it was sent.
        if sending and not self.transport.is_closing():
            self.loop.call_later(LINGER_SECONDS, self._end_if_sending, self.conn)

    def _end_if_sending(self, conn: h11.Connection) -> None:
        if conn is self.conn and conn.their_state is h11.SEND_BODY:
            self.transport.abort()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.service.options.head_seconds, self.transport.close)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
