"""Ask a plait server from Python, with nothing but the standard library.

    with Client("http://127.0.0.1:8000", token="...") as client:
        reply = client.predict([{"photo": Path("cat.jpg"), "note": "a cat"}])
        reply.answers[0]["label"]["answer"]

Cells are what a server reads: text, numbers, dates, lists of numbers; media as bytes, or as a `Path`,
whose file is read here and sent as bytes.
"""

import base64
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from plait.errors import PlaitError

Row = Mapping[str, Any]


class ServerError(PlaitError):
    """A server refused a request, or could not be reached.

    Attributes:
        status: of HTTP; 0 where there was no answer.
        kind: one word, such as ``busy`` or ``wrong_value``.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


@dataclass(frozen=True)
class Reply:
    """A server's reply to a request, one answer per row.

    Attributes:
        model: who answered.
        answers: one for every row, in their order: target → ``answer``, ``confidence`` and
            ``probabilities``; of `Client.explain` also ``scores``; of `Client.embed` a list of numbers.
        unreadable: ``row``, ``column`` and ``reason`` of cells that counted as missing.
        absent: columns of the model that no row had.
    """

    model: str
    answers: list[Any]
    unreadable: list[dict[str, Any]]
    absent: list[str]


class Client:
    """A server, from any number of threads; each keeps a connection of its own.

    Args:
        url: ``http://127.0.0.1:8000``, or ``https://...`` where a proxy brings TLS.
        token: what the server asks for.
        model: which of the server's models; None: its first.
        timeout: seconds for an answer.
        tries: how often a request is sent that a busy server refuses, waiting in between as long as the
            server says.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        model: str | None = None,
        timeout: float = 60.0,
        tries: int = 3,
    ) -> None:
        parts, host, port = _address(url)
        if token is not None:
            token = token.strip()  # as read from a file, with the end of its line
            if not token or not token.isascii() or not token.isprintable() or " " in token:
                raise ServerError(
                    0, "wrong_token", "token: expected ASCII characters without spaces."
                )
        if not timeout > 0:
            raise ServerError(0, "wrong_timeout", f"timeout={timeout}: expected seconds above 0.")
        self._https = parts.scheme == "https"
        self._host = host
        self._port = port
        self._path = parts.path.rstrip("/")
        self._model = model
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout = timeout
        self._tries = max(1, tries)
        self._local = threading.local()
        self._open: list[HTTPConnection] = []

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's connection; another request opens one again."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()

    def predict(self, rows: Sequence[Row], *, streams: Sequence[str] | None = None) -> Reply:
        """Answers.

        Args:
            streams: the only streams to look at; None: all.

        Raises:
            ServerError: the server refused, or could not be reached.
        """
        return self._work("predict", rows, streams)

    def embed(self, rows: Sequence[Row], *, streams: Sequence[str] | None = None) -> Reply:
        """Fused vectors. Raises as `predict` does."""
        return self._work("embed", rows, streams)

    def explain(self, rows: Sequence[Row], *, streams: Sequence[str] | None = None) -> Reply:
        """Answers, and what each stream contributed to them. Raises as `predict` does."""
        return self._work("explain", rows, streams)

    def about(self) -> dict[str, Any]:
        """The model: its columns, streams and targets."""
        path = "/v1/model" if self._model is None else f"/v1/models/{quote(self._model, safe='')}"
        return self._json("GET", path)

    def is_ready(self) -> bool:
        """Whether the server takes requests."""
        try:
            return self._send("GET", "/readyz", None)[0] == 200
        except ServerError:
            return False

    def _work(self, kind: str, rows: Sequence[Row], streams: Sequence[str] | None) -> Reply:
        if isinstance(rows, Mapping | str) or not all(isinstance(row, Mapping) for row in rows):
            text = "rows: expected a list of dicts, one per row: [{'photo': Path('cat.jpg')}]."
            raise ServerError(0, "wrong_rows", text)
        if isinstance(streams, str):
            raise ServerError(0, "wrong_streams", f"streams='{streams}': expected a list of names.")
        body: dict[str, Any] = {"rows": [{k: to_value(v) for k, v in row.items()} for row in rows]}
        if streams is not None:
            body["streams"] = list(streams)
        path = f"/v1/models/{quote(self._model, safe='')}" if self._model is not None else "/v1"
        try:
            reply = self._json("POST", f"{path}/{kind}", body)
        except (TypeError, ValueError) as error:
            raise _unsendable(body["rows"]) or error from None
        return Reply(reply["model"], reply["answers"], reply["unreadable"], reply["absent"])

    def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        sent = None if body is None else json.dumps(body, allow_nan=False).encode()
        for left in reversed(range(self._tries)):
            status, wait, data = self._send(method, path, sent)
            if status == 503 and left:
                time.sleep(wait)
                continue
            break
        try:
            reply = json.loads(data)
            if status == 200 and isinstance(reply, dict):
                return reply
            error = reply["error"]
            raise ServerError(status, str(error["kind"]), str(error["message"]))
        except (ValueError, KeyError, TypeError):
            text = f"the server's response, with status {status}, is not from plait."
            raise ServerError(status, "no_plait", text) from None

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, float, bytes]:
        """Status, seconds to wait before another try, and body."""
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        while True:
            connection: HTTPConnection | None = getattr(self._local, "connection", None)
            kept = connection is not None
            if connection is None:
                make = HTTPSConnection if self._https else HTTPConnection
                connection = make(self._host, self._port, timeout=self._timeout)
                self._local.connection = connection
                self._open.append(connection)
            try:
                connection.request(method, self._path + path, body, headers)
                response = connection.getresponse()
                data = response.read()
            except (OSError, HTTPException) as error:
                connection.close()
                if connection in self._open:
                    self._open.remove(connection)
                self._local.connection = None
                if kept and not isinstance(error, TimeoutError):
                    continue  # the server had closed it meanwhile
                where = f"{self._host}:{self._port}" if self._port else self._host
                text = f"{where} did not respond: {str(error) or type(error).__name__}."
                raise ServerError(0, "no_answer", text) from None
            wait = response.headers.get("Retry-After", "1")
            return response.status, float(wait) if wait.isdigit() else 1.0, data


def _address(url: str) -> tuple[SplitResult, str, int | None]:
    """A server's address, its host and its port.

    Raises:
        ServerError: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        if parts.scheme in ("http", "https") and parts.hostname and parts.username is None:
            return parts, parts.hostname, port
    except (ValueError, AttributeError, TypeError):
        pass
    raise ServerError(0, "wrong_url", f"url={url!r}: expected http://host:port.")


def _unsendable(rows: Sequence[Row]) -> ServerError | None:
    """What is wrong with the first cell that JSON cannot hold."""
    for place, row in enumerate(rows):
        for name, value in row.items():
            try:
                json.dumps({name: value}, allow_nan=False)
            except (TypeError, ValueError) as error:
                text = f"row {place}, column '{name}': {error}."
                return ServerError(0, "wrong_value", text)
    return None


def to_value(cell: Any) -> Any:
    """A cell as a JSON value; NaN, which pandas has for a missing cell, as null."""
    if isinstance(cell, float) and cell != cell:
        return None
    if isinstance(cell, Path):
        return {"base64": base64.b64encode(cell.read_bytes()).decode(), "name": cell.name}
    if isinstance(cell, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(cell).decode()}
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
        name = cell.get("path")
        return to_value(cell["bytes"]) | ({"name": str(name)} if name else {})
    if hasattr(cell, "tolist"):  # numpy, without importing it
        return cell.tolist()
    return cell
