"""A real browser, driven by playwright, that keeps what a page said and asked for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def found() -> str | None:
    """The browser's path; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in headless Chromium; keeps what its console said and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def look(self, width: int, *, dark: bool = False) -> None:
        """The size of the window, and what the system prefers."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme="dark" if dark else "light")

    def open(self, path: Path) -> None:
        """Open a file and wait until it is whole."""
        self.complaints.clear()
        self.asked.clear()
        self.page.goto(path.as_uri(), wait_until="load")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(expression)

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, other than what lies in the page itself."""
        return [url for url in self.asked if not url.startswith("data:")]


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser with a profile of its own."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found(), args=["--no-sandbox"])
        try:
            yield Browser(chromium.new_page())
        finally:
            chromium.close()
