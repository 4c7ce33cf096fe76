"""What a server may be told, checked at once, and what it refuses to be told."""

import hmac
import ipaddress
import re
from dataclasses import dataclass, fields
from pathlib import Path

from plait.devices import cores
from plait.errors import ConfigError

MIN_TOKEN_CHARACTERS = 16
"""Of random letters these are 90 bits, beyond guessing over a network."""

REQUESTS_PER_CORE = 8
"""In the queue by default: the core is never idle, and the last one waits for seven others."""

_MAX_TOKEN_FILE_CHARACTERS = 4096  # a file named by mistake is not read whole
_ANY = ("0.0.0.0", "::")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|[0-9a-f.:\[\]]+")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a server listens and what it lets one request cost.

    Attributes:
        host: address to listen on; any but a loopback address asks for a token.
        port: 0 takes a free one.
        token: what every request must bear; None: no token.
        hosts: names that the Host header may have, besides those of the address itself.
        max_body_mb: megabytes of a request's body, counted as they arrive.
        max_pending_mb: megabytes of all bodies that are held at one time.
        max_rows: rows of a request.
        max_values: JSON values of a request.
        queue: requests at work or waiting; one more is refused with 503. 0: eight for each core, which
            keeps them all busy, and the wait short.
        connections: open connections; one more is closed.
        head_seconds: time for a request's head to arrive.
        body_seconds: time for its body to arrive.
        timeout: seconds for its answer.
        drain_seconds: time that accepted requests get to finish after SIGTERM.
        wait_ms: how long a row may wait for others, to be answered with them.
        batch: rows answered at one time.
        decoders: requests whose cells are decoded at one time; 0: one for each core.
        workers: batches answered at one time.
        page: whether there is a web page, under ``/page``.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: tuple[str, ...] = ()
    max_body_mb: float = 32.0
    max_pending_mb: float = 256.0
    max_rows: int = 1024
    max_values: int = 1_000_000
    queue: int = 0
    connections: int = 512
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    timeout: float = 30.0
    drain_seconds: float = 30.0
    wait_ms: float = 2.0
    batch: int = 16
    decoders: int = 0
    workers: int = 1
    page: bool = False

    def __post_init__(self) -> None:
        if not self.decoders:
            object.__setattr__(self, "decoders", cores())
        if not self.queue:
            object.__setattr__(self, "queue", REQUESTS_PER_CORE * cores())
        problems = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least = 0 if field.name in ("port", "wait_ms") else 1e-3
            if not least <= value < 1e9:
                whole = field.type is int
                expected = (
                    f"a whole number of at least {0 if least == 0 else 1}"
                    if whole
                    else f"a number of at least {least:g}"
                )
                problems.append(f"{field.name}={value}: expected {expected}.")
        if self.port > 65535:
            problems.append(f"port={self.port}: expected 0 to 65535.")
        problems += [
            f"allow-host='{name}': expected a name or an address as a client would write it, without a "
            "port, for example fusion.example.org; there are no wildcards."
            for name in self.hosts
            if not _HOST.fullmatch(name)
        ]
        problems += _wrong_address(self.host, self.token)
        if self.token is not None and (
            len(self.token) < MIN_TOKEN_CHARACTERS
            or not self.token.isascii()
            or _has_blank(self.token)
        ):
            problems.append(
                f"token: expected at least {MIN_TOKEN_CHARACTERS} ASCII characters without spaces; make "
                'one with  python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        if problems:
            raise ConfigError(problems)

    @property
    def max_body(self) -> int:
        """Bytes of a body."""
        return round(self.max_body_mb * 1e6)

    def knows_host(self, name: str) -> bool:
        """Whether a Host header's name, without its port, is one of this server's.

        A page elsewhere whose name was pointed at this address would send its own name.
        """
        name = name.lower().rstrip(".")
        if name in self.hosts or name == self.host:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name == "localhost" and (self.host in _ANY or is_loopback(self.host))
        return self.host in _ANY or (address.is_loopback and is_loopback(self.host))

    def is_token(self, given: str) -> bool:
        """Whether a request's token is the server's, told in the same time whatever it is."""
        wanted = self.token or ""
        return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def read_token(path: str | Path) -> str:
    """The token in a file: its only line.

    Raises:
        ConfigError: the file cannot be read, or holds more than a token.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_TOKEN_FILE_CHARACTERS + 1).decode()
    except OSError as error:
        raise ConfigError([f"token-file: '{path}' cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"token-file: '{path}' holds no text."]) from None
    if len(text.split()) != 1 or len(text) > _MAX_TOKEN_FILE_CHARACTERS:
        raise ConfigError([f"token-file: '{path}' must hold one line, the token."])
    return text.strip()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _wrong_address(host: str, token: str | None) -> list[str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            return [f"host='{host}': expected an IP address, such as 127.0.0.1 or 0.0.0.0."]
    if not is_loopback(host) and token is None:
        return [
            f"host='{host}' lets other machines in, so a token is required: --token-file key.txt. "
            "Without a token, listen on a loopback address only."
        ]
    return []


def _has_blank(text: str) -> bool:
    return any(not character.isprintable() or character.isspace() for character in text)
