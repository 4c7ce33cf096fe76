"""The models of a server: loaded whole into memory, told apart by name, exchanged at once."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.errors import BundleError, ConfigError, PlaitError, printable, unknown
from plait.runtime import Runtime
from plait.sealed import EXPORTED
from plait.serve.problem import Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DECODE_SECONDS = 5.0
"""Time for one cell: less than a table may take, since somebody waits."""


@dataclass(frozen=True)
class Model:
    """One model at one time. A reload makes another; requests keep the one that they began with.

    Attributes:
        name: what clients call it.
        folder: where it was loaded from; it is not looked at again before a reload.
        runtime: answers.
        loaded: seconds since 1970.
    """

    name: str
    folder: Path
    runtime: Runtime
    loaded: float

    @property
    def modalities(self) -> dict[str, str]:
        """Column → modality, of the columns that it reads."""
        return self.runtime.features.modalities

    @property
    def streams(self) -> list[str]:
        """The streams that can be left out."""
        return [stream.name for stream in self.runtime.streams]

    def about(self) -> dict[str, Any]:
        """What a client needs to know of it."""
        described = self.runtime.features.describe()
        return {
            "name": self.name,
            "stamp": self.runtime.stamp[:16],
            "columns": [
                {"name": name, "modality": kind, "read_as": described[name]}
                for name, kind in self.modalities.items()
            ],
            "streams": [
                {"name": stream.name, "columns": list(stream.columns)}
                for stream in self.runtime.streams
            ],
            "targets": [
                {"name": target.name, "kind": target.kind, "classes": list(target.classes)}
                for target in self.runtime.targets
            ],
            "embeds": self.runtime.graphs.embeds,
            "loaded": round(self.loaded, 3),
        }


class Models:
    """The models by name, the first being the one meant where none is named."""

    def __init__(self, folders: Sequence[str], *, threads: int = 1) -> None:
        """Load them all.

        Args:
            folders: ``folder`` or ``name=folder`` each.
            threads: of each graph.

        Raises:
            ConfigError: no model, a name that cannot be one, or a name given twice.
            BundleError: a folder holds no exported model.
        """
        if threads < 1:
            raise ConfigError([f"threads={threads}: expected a whole number of at least 1."])
        self.threads = threads
        self._models: dict[str, Model] = {}
        problems = [] if folders else ["name at least one folder with an exported model."]
        places: dict[str, Path] = {}
        for given in folders:
            name, folder = _named(given)
            if not _NAME.fullmatch(name):
                problems.append(
                    f"'{given}': '{name}' cannot be a model's name; give one as NAME=FOLDER, of "
                    "letters, digits, '.', '_' and '-'."
                )
            elif name in places:
                problems.append(
                    f"'{given}': there is already a model '{name}'; give another name as NAME=FOLDER."
                )
            places[name] = folder
        if problems:
            raise ConfigError(problems)
        for name, folder in places.items():
            self._models[name] = self._load(name, folder)

    def __iter__(self) -> Any:
        return iter(list(self._models.values()))

    def get(self, name: str | None) -> Model:
        """A model by name; the first one for None.

        Raises:
            Problem: there is none of that name.
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            reason = unknown("model", printable(name), self._models)
            raise Problem(404, "no_such_model", reason)
        return self._models[name]

    def reload(self, name: str) -> Model:
        """Load a model's folder anew, check its golden rows, and put it into the old one's place.

        The old one answers until then, and goes on answering where this fails.

        Raises:
            Problem: the folder no longer holds a model that loads and answers its golden rows.
        """
        old = self.get(name)
        try:
            new = self._load(name, old.folder)
            new.runtime.verify()
        except (PlaitError, OSError) as error:
            reason = (
                error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
            )
            reason = re.sub(rf"{re.escape(str(old.folder))}[/\\]", "", reason)
            reason = reason.replace(str(old.folder), name)  # no path goes to a client
            raise Problem(
                409,
                "not_reloaded",
                f"'{name}' was not reloaded; the previous version stays in use: {reason}",
            ) from None
        self._models[name] = new
        return new

    def _load(self, name: str, folder: Path) -> Model:
        if not EXPORTED.is_in(folder):
            hint = " There is no such folder."
            if folder.exists():
                hint = " It holds no exported model."
                if (folder / "bundle.json").is_file():
                    hint = (
                        " It holds the bundle of a fitted model; export it first:  "
                        f"plait export {folder} --out {folder}-app"
                    )
            raise BundleError(f"{folder} cannot be served.{hint}")
        runtime = Runtime(folder, threads=self.threads, max_decode_seconds=DECODE_SECONDS)
        return Model(name, folder, runtime, time.time())


def _named(given: str) -> tuple[str, Path]:
    """Name and folder of an argument."""
    name, mark, folder = given.partition("=")
    path = Path(given)
    if mark and (_NAME.fullmatch(name) or not path.exists()):
        return name, Path(folder)
    return path.name or path.resolve().name, path
