"""Models and a reader of pages, shared by the tests of reports."""

from html.parser import HTMLParser
from typing import Any

import pytest

from plait.insight.report.context import Limits

QUICK = Limits(rows=24, degraded=6, levels=(0.0, 1.0), checked=3, examples=2, steps=2, resamples=3)


class Page(HTMLParser):
    """What a browser would make of a page: elements with attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.problems: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img", "input", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def keys(self) -> list[str | None]:
        return [one["id"] for one in self.all("section")]


@pytest.fixture(scope="session")
def page() -> Any:
    """Reads a page, after checking that it is whole and asks for nothing."""

    def read(path: Any) -> Page:
        found = Page(path.read_text(encoding="utf-8"))
        assert not found.problems and not found.open
        assert not found.all("script") and not found.all("iframe") and not found.all("form")
        for _, attributes in found.elements:
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("src", "href"):
                told = attributes.get(name)
                assert told is None or told.startswith(("data:", "#")), told
            assert attributes.get("alt", "x") and attributes.get("id", "x")
        ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for link in found.all("a"):
            assert str(link["href"])[1:] in ids
        return found

    return read


@pytest.fixture(scope="session")
def several(maker: Any, braid: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of `braid`'s three targets: classes, a number, labels. Do not change it."""
    out = tmp_path_factory.mktemp("several") / "run"
    return maker.fit(
        braid / "train.csv", ["label", "score", "tags"], out=out, epochs=2, golden_rows=2,
        target_kinds={"tags": "multilabel"}, separator=";", validation=0.45,
    )  # fmt: skip


@pytest.fixture(scope="session")
def written(fitted: Any, braid: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of `fitted` on `braid`'s test rows."""
    path = tmp_path_factory.mktemp("page") / "r.html"
    assert fitted[0].report(braid / "test.csv", path, limits=QUICK) == path
    return path
