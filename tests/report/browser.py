"""A real browser, spoken to through a pipe in its own protocol, without a library."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 30


def found() -> str | None:
    """The browser's path; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in headless Chromium; keeps what its console said and what it asked for."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        self.count, self.rest = 0, b""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            told = self._next()
            if told.get("id") == self.count:
                assert "error" not in told, told
                return dict(told["result"])
            self.events.append(told)
        raise AssertionError(f"no answer to {method}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.reading], [], [], SECONDS)
            assert ready, "the browser says nothing"
            more = os.read(self.reading, 1 << 16)
            assert more, "the browser has closed"
            self.rest += more
        first, self.rest = self.rest.split(b"\0", 1)
        return dict(json.loads(first))

    def look(self, width: int, *, dark: bool = False) -> None:
        """The size of the window, and what the system prefers."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def open(self, path: Path) -> None:
        """Open a file and wait until it is whole."""
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        until = time.monotonic() + SECONDS
        while self.run("document.readyState") != "complete" and time.monotonic() < until:
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """What the console said, exceptions included."""
        return [
            json.dumps(one["params"])
            for one in self.events
            if one["method"]
            in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        ]

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, other than what lies in the page itself."""
        asked = [
            str(one["params"]["request"]["url"])
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; it is ended by its own process number."""
    path = found()
    assert path is not None
    here_read, there_write = os.pipe()
    there_read, here_write = os.pipe()

    def places() -> None:
        """The browser reads commands from 3 and writes answers to 4."""
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (there_read, there_write)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            f"--user-data-dir={folder}", "--no-first-run", "--disable-background-networking",
        ],
        preexec_fn=places,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(there_read)
    os.close(there_write)
    try:
        yield Browser(here_read, here_write)
    finally:
        os.write(here_write, b'{"id": 0, "method": "Browser.close"}\0')
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(here_read)
        os.close(here_write)
