"""What a client is told when a request cannot be answered: a status, a kind, a sentence."""

import json
from collections.abc import Mapping


class Problem(Exception):
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        kind: one word for programs.
        message: for people: what was sent, what was expected, how to mend it; no path, no trace.
        headers: to send besides.
    """

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})

    def body(self, request: str = "") -> bytes:
        """The response's body."""
        fields = {"kind": self.kind, "message": self.message, "request": request}
        return json.dumps({"error": fields}, ensure_ascii=False).encode("utf-8", "replace")


def busy(message: str) -> Problem:
    """Refused for now."""
    return Problem(503, "busy", message, {"Retry-After": "1"})


def wrong(message: str) -> Problem:
    """Understood, and not what the model can read."""
    return Problem(422, "wrong_value", message)
