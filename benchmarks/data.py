"""Where the data are: folders or archives the user has, or the demo that plait makes itself."""

import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.machine import ROOT

VARIABLE = "PLAIT_DATA"


class NoDataError(Exception):
    """A data set is not there; the text says where it was looked for."""


@dataclass(frozen=True)
class Source:
    """One data set: its folder, what to call it, its target and the options that a fit of it needs."""

    folder: Path
    name: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def train(self) -> Path:
        return self.folder / "train.csv"

    @property
    def test(self) -> Path:
        return self.folder / "test.csv"

    def table(self, name: str) -> Path:
        return self.folder / f"{name}.csv"


TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "avdigits": ("label", {}),
    "clipart": ("category", {"ignore": ("tags",), "group": "artist"}),
    "heartbeat": ("beat", {"group": "record"}),
    "emoji": ("group", {"ignore": ("words", "style", "subgroup")}),
}
"""Data set → its target, and the options that say what its columns are. All else is default."""

OTHER_TESTS: dict[str, tuple[str, ...]] = {"emoji": ("style_test",)}
"""Data set → tables that a fit is evaluated on besides `test`."""

DEMO = {"ignore": ("day", "channel", "pulse"), "group": "voice"}


def default_folder() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Finder:
    """Finds data sets in ``folder``, as folders or as archives, which are unpacked into ``work``."""

    folder: Path
    work: Path
    demo_rows: int = 1200

    def find(self, name: str) -> Source:
        """A data set.

        Raises:
            NoDataError: it is not there.
        """
        target, options = TASKS[name]
        folder = self.folder / name
        archive = self.folder / f"{name}.tar.gz"
        if not (folder / "train.csv").is_file():
            if not archive.is_file():
                raise NoDataError(f"no data: neither {name}/train.csv nor {archive.name} in --data")
            folder = self._unpacked(archive, name)
        return Source(folder, name, target, dict(options))

    def find_or_demo(self, name: str) -> Source:
        """A data set, or plait's demo in its place, for lines about speed."""
        try:
            return self.find(name)
        except NoDataError as error:
            return self._demo(str(error))

    def _unpacked(self, archive: Path, name: str) -> Path:
        seen = archive.stat()
        place = self.work / "data" / f"{name}-{seen.st_size}-{int(seen.st_mtime)}"
        if not place.is_dir():
            draft = place.with_name(f".{place.name}.{uuid4().hex}")
            with tarfile.open(archive) as packed:
                packed.extractall(draft, filter="data")
            draft.rename(place)
        return place / name

    def _demo(self, why: str) -> Source:
        from plait.errors import PlaitError
        from plait.recipes.demo.table import build

        folder = self.work / "data" / f"demo-{self.demo_rows}"
        if not (folder / "test.csv").is_file():
            try:
                build(folder, rows=self.demo_rows)
            except PlaitError as error:
                raise NoDataError(f"{why}; and no demo: {error}") from error
        return Source(folder, f"the demo's {self.demo_rows} rows ({why})", "label", dict(DEMO))
