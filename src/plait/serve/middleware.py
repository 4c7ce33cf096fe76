"""What every request passes before any route sees it: who may ask, from where, and whether now."""

import base64
import binascii
import logging
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from plait.serve.body import Gone
from plait.serve.logs import log
from plait.serve.problem import Problem, busy
from plait.serve.service import FULL, Service

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]

OPEN = ("/healthz", "/readyz")
"""Routes that ask for no token: they say only whether the server is there."""

WORK = ("/predict", "/embed", "/explain")
MAX_HEADERS = 100
"""Lines of a head; browsers send about twenty, proxies add some."""

CLIENT_LEFT = 499
"""Logged where a client left before its answer; nobody receives it."""

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class Gate:
    """An ASGI application around another."""

    def __init__(self, app: App, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Check a request, hand it on, say in words what went wrong, count it and log it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        scope["plait.request"] = name = uuid.uuid4().hex[:16]
        status = [0]

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                extra = [*_ALWAYS, (b"x-request-id", name.encode())]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        try:
            self._check(scope, dict(scope["headers"]))
            # Gradio would fetch a URL inside its own file values: the page must not become a proxy.
            if scope["type"] == "http" and scope["path"].startswith("/page/"):
                from plait.serve.page import without_addresses

                receive = await without_addresses(scope, receive, self.service.options.max_body)
            await self.app(scope, receive, marked)
        except Problem as problem:
            await _refuse(problem, scope, marked)
        except Gone:
            status[0] = CLIENT_LEFT
            self.service.metrics.dropped.inc()
        except Exception:  # the application has said so to the client already
            log.exception("failed", extra={"fields": {"request": name}})
        self._note(scope, status[0], perf_counter() - began, name)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Whether a request may be answered.

        Raises:
            Problem: it may not.
        """
        if len(scope["headers"]) > MAX_HEADERS:
            reason = (
                f"the request has {len(scope['headers'])} header lines, more than {MAX_HEADERS}."
            )
            raise Problem(431, "too_large", reason)
        host = headers.get(b"host", b"").decode("latin-1")
        options = self.service.options
        # DNS rebinding: a foreign page could point its own name at 127.0.0.1 and reach this server.
        if not options.knows_host(_without_port(host)):
            raise Problem(
                421,
                "wrong_host",
                "this server does not go by that host name. --allow-host adds one.",
            )
        # Browsers send Origin with cross-site posts; curl and `plait.Client` send none.
        origin = headers.get(b"origin")
        if origin is not None and not _is_same(origin.decode("latin-1"), host):
            raise Problem(
                403, "wrong_origin", "pages from another origin may not call this server."
            )
        path = scope["path"]
        if options.token is not None and path not in OPEN:
            given = _token(headers.get(b"authorization", b""))
            if given is None or not options.is_token(given):
                what = "no token" if given is None else "a wrong token"
                # A browser asks for a password where this says so, and only where it says that first.
                scheme = "Basic" if b"text/html" in headers.get(b"accept", b"") else "Bearer"
                raise Problem(
                    401,
                    "no_token",
                    f"{what} was sent; send  Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": f'{scheme} realm="plait"'},
                )
        # After the token: a stranger learns nothing of the load, and takes no place.
        if scope["type"] == "http" and path.endswith(WORK):
            self._admit()

    def _admit(self) -> None:
        if self.service.draining:
            raise Problem(
                503,
                "stopping",
                "the server is stopping; try another one, or again later.",
                {"Retry-After": "5", "Connection": "close"},
            )
        if self.service.full:
            self.service.metrics.refused.inc()
            raise busy(FULL)

    def _note(self, scope: Scope, status: int, seconds: float, name: str) -> None:
        # The route's pattern: paths that clients invent would make metric labels without end.
        route = getattr(scope.get("route"), "path", "other")
        if route == "other" and scope["path"].endswith(WORK):
            route = "/v1/" + scope["path"].rpartition("/")[2]
        self.service.metrics.requests.labels(route, str(status)).inc()
        self.service.metrics.seconds.labels(route).observe(seconds)
        quiet = route in OPEN or status == 503  # there may be thousands of them
        level = logging.DEBUG if quiet else logging.ERROR if status >= 500 else logging.INFO
        if log.isEnabledFor(level):
            fields = {
                "request": name,
                "method": scope.get("method", "WEBSOCKET"),
                "path": scope["path"][:200],
                "status": status,
                "ms": round(1000 * seconds, 2),
            }
            log.log(level, "request", extra={"fields": fields})


async def _refuse(problem: Problem, scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        # 1008 is "policy violation" (RFC 6455, section 7.4.1); a handshake can carry no body.
        await send({"type": "websocket.close", "code": 1008})
        return
    await as_response(problem, scope)(scope, None, send)  # type: ignore[arg-type]


def as_response(problem: Problem, scope: Scope) -> Response:
    """A problem as the response that says so."""
    body = problem.body(scope.get("plait.request", ""))
    return Response(body, problem.status, problem.headers, "application/json")


def _without_port(host: str) -> str:
    """The name in a Host header; ``[::1]:8000`` is ``::1``."""
    if host.startswith("["):
        name, mark, _ = host[1:].partition("]")
        return name if mark else ""
    return host.partition(":")[0]


def _is_same(origin: str, host: str) -> bool:
    """Whether a page came from this server itself."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    # "null" (a sandboxed frame, a file) has no netloc and so is refused.
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def _token(header: bytes) -> str | None:
    """The token of a request: a bearer's, or the password that a browser asks for."""
    kind, _, value = header.decode("latin-1").partition(" ")
    value = value.strip()
    if kind.lower() == "bearer" and value:
        return value
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return None
