"""Bodies of requests: read by counting bytes within a time, then parsed strictly."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from plait.errors import printable
from plait.serve.problem import Problem, busy

Receive = Callable[[], Awaitable[Any]]

MAX_PARTS = 1000
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 4096
"""Caps on a form, above what browsers and curl send: a part has two or three short headers."""


class Gone(Exception):
    """The client left before its request was whole."""


class Pending:
    """How many bytes of bodies are in memory, of all requests together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """A request's share, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.bytes -= share.bytes


class Share:
    """The bytes of one request."""

    def __init__(self, held: Pending) -> None:
        self.held = held
        self.bytes = 0

    def take(self, count: int) -> None:
        """Count more bytes.

        Raises:
            Problem: all requests together hold too many.
        """
        if self.held.bytes + count > self.held.most:
            raise busy("the server has reached its limit of bytes in memory; try again later.")
        self.held.bytes += count
        self.bytes += count


async def read_body(
    receive: Receive, headers: dict[bytes, bytes], share: Share, *, most: int, seconds: float
) -> bytes:
    """A request's body.

    What Content-Length says can refuse a body and never admit one: the bytes that arrive are counted.

    Raises:
        Problem: it is too large, too slow, or compressed.
        Gone: the client left.
    """
    # A few kilobytes of gzip unpack to gigabytes.
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(
            415, "wrong_type", "compressed bodies are not accepted; send it uncompressed."
        )
    claimed = headers.get(b"content-length", b"0")
    # The length is checked first: int() of a very long number is slow, and fails above 4300 digits.
    if not claimed.isdigit() or len(claimed) > 18 or int(claimed) > most:
        _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    _too_large(most)
                # Counted as it arrives: a client cannot reserve memory by claiming a length.
                share.take(len(chunk))
                parts.append(chunk)
                if not message.get("more_body", False):
                    # Most bodies arrive in one chunk, which need not be copied.
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise Problem(
            408,
            "too_slow",
            f"the body did not arrive within {seconds:g} s.",
            {"Connection": "close"},
        ) from None


def parse_json(data: bytes, most_values: int, where: str = "the body") -> Any:
    """A JSON value, by the letter of RFC 8259: no NaN, no infinity, no half characters in UTF-8,
    and no name twice in an object, of which Python would keep the last.

    Raises:
        Problem: saying what is wrong with it.
    """
    # Before anything is made of it: every value but the last of its kind is followed by a comma.
    if data.count(b",") + data.count(b"[") + data.count(b"{") > most_values:
        raise Problem(
            413,
            "too_large",
            f"{where} holds more than {most_values} values; send fewer per request.",
        )
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=partial(_refuse, where),
            parse_float=partial(_finite, where),
            object_pairs_hook=partial(_once, where),
        )
    except RecursionError:
        raise Problem(400, "bad_json", f"{where} is nested too deeply.") from None
    except UnicodeDecodeError:
        raise Problem(400, "bad_json", f"{where} is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        reason = f"{where} is not valid JSON: {error.msg.lower()} at character {error.pos}."
        raise Problem(400, "bad_json", reason) from None
    except ValueError:  # more digits than Python makes a number of
        raise Problem(400, "bad_json", f"{where} holds a number with too many digits.") from None


def _once(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, _ in pairs)  # one pass, however many names were sent
        twice = next(name for name, count in counts.items() if count > 1)
        reason = f"{where} has '{printable(twice)}' twice in one object; send it once."
        raise Problem(400, "bad_json", reason)
    return value


def _refuse(where: str, word: str) -> NoReturn:
    raise Problem(400, "bad_json", f"{where} holds {word}, which is not JSON; send null.")


def _finite(where: str, text: str) -> float:
    # 1e999 is valid JSON and becomes infinity in Python, without parse_constant being asked.
    number = float(text)
    if number - number != 0.0:
        raise Problem(
            400, "bad_json", f"{where} holds {printable(text)}, which is too large for a number."
        )
    return number


@dataclass(slots=True)
class Part:
    """One part of a form: its name, the file's name if it is a file, and its bytes."""

    name: str
    filename: str | None
    data: bytes


class _Form:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.head: dict[bytes, bytes] = {}
        self.field = b""
        self.value = b""
        self.data: list[bytes] = []
        self.ended = False

    def begin(self) -> None:
        self.head, self.data = {}, []

    def name(self, data: bytes, start: int, end: int) -> None:
        self.field += data[start:end]

    def worth(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def line(self) -> None:
        self.head[self.field.lower()] = self.value
        self.field = self.value = b""

    def data_piece(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def finish(self) -> None:
        kind, options = parse_options_header(self.head.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise Problem(400, "bad_form", "a part of the form has no name.")
        # The parser caps the headers of a part, not how many parts there are.
        if len(self.parts) == MAX_PARTS:
            raise Problem(413, "too_large", f"the form has more than {MAX_PARTS} parts.")
        filename = options.get(b"filename")
        self.parts.append(
            Part(
                options[b"name"].decode("utf-8", "replace"),
                None if filename is None else filename.decode("utf-8", "replace"),
                b"".join(self.data),
            )
        )

    def end(self) -> None:
        self.ended = True


def parse_form(data: bytes, content_type: bytes) -> list[Part]:
    """The parts of a multipart form.

    Raises:
        Problem: saying what is wrong with it.
    """
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise Problem(400, "bad_form", "the Content-Type has no boundary.")
    form = _Form()
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.begin,
                "on_header_field": form.name,
                "on_header_value": form.worth,
                "on_header_end": form.line,
                "on_part_data": form.data_piece,
                "on_part_end": form.finish,
                "on_end": form.end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        reason = printable(str(error).rstrip("."), 120)
        raise Problem(400, "bad_form", f"the form cannot be read: {reason}.") from None
    # The parser accepts a body that is cut off; a truncated picture would be read as a whole one.
    if not form.ended:
        raise Problem(400, "bad_form", "the form ends before its last boundary.")
    return form.parts


def _too_large(most: int) -> NoReturn:
    raise Problem(413, "too_large", f"the body is larger than {most / 1e6:g} MB (--max-body-mb).")
