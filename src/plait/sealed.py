"""A folder whose files are listed by hash in one of them: how bundles and exported models are kept.

The manifest is written last and removed first, so a folder with one holds a whole model. Nothing that is
read here is executed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from plait.errors import BundleError

_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".npy", ".npz"}


@dataclass(frozen=True)
class Seal:
    """One kind of such folder.

    Attributes:
        noun: what people call it, ``bundle`` or ``exported model``.
        article: that goes before it.
        done: what was done to make it, ``saved`` or ``exported``.
        manifest: the file that lists the others.
        format: the newest format that this plait reads.
        required: files that there must be.
        endings: of the files that there may be, the manifest's list of them being a stranger's.
        holds: what it is made of, in words.
    """

    noun: str
    article: str
    done: str
    manifest: str
    format: int
    required: tuple[str, ...]
    endings: frozenset[str]
    holds: str

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds one."""
        return (folder / self.manifest).is_file()

    def write(self, folder: Path, files: Mapping[str, bytes], **about: Any) -> None:
        """Write one so that a full disk or a kill leaves an earlier one as it was.

        Args:
            about: what the manifest says besides.

        Raises:
            OSError: the folder cannot be written; nothing new is left in it.
        """
        made = not folder.exists()
        # Inside the folder, so on the same file system, where a rename is atomic.
        draft = folder / f".new-{uuid4().hex}"
        try:
            draft.mkdir(parents=True)
            hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
            manifest = {"format": self.format, "plait": version("plait"), **about, "files": hashes}
            for name, data in files.items():
                write_whole(draft / name, data)
            write_whole(draft / self.manifest, json.dumps(manifest, indent=1))
            # A kill between the renames must not leave the old manifest over new files.
            (folder / self.manifest).unlink(missing_ok=True)
            # The manifest last: it makes the folder a model.
            for name in [*files, self.manifest]:
                (draft / name).replace(folder / name)
            # From here on the folder is whole, and not to be removed with the draft.
            made = False
        finally:
            shutil.rmtree(folder if made else draft, ignore_errors=True)

    def read(self, folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The manifest, and every file that it lists, each as its hash says it must be.

        Raises:
            BundleError: none there; a newer format; a changed, missing or foreign file.
        """
        manifest = self._manifest(folder)
        for path in folder.iterdir():
            # Refused even if the manifest does not list it: another tool may open it from there.
            if path.suffix.lower() in _PICKLES:
                raise BundleError(
                    f"the {self.noun} {folder} holds '{path.name}'. {self.article.capitalize()} "
                    f"{self.noun} is {self.holds}; files of that kind can run code when opened, so "
                    f"plait refuses the whole {self.noun}. Remove it if you know where it came from."
                )
        return manifest, {
            name: self._checked(folder, name, digest) for name, digest in manifest["files"].items()
        }

    def _manifest(self, folder: Path) -> dict[str, Any]:
        """What it says of itself, with the files it must hold, by name, and their hashes."""
        path = folder / self.manifest
        if not path.is_file():
            hint = "" if folder.exists() else " There is no such folder."
            raise BundleError(
                f"{folder} is not a plait {self.noun}: it has no {self.manifest}.{hint}"
            )
        manifest = document(folder, self.manifest, path.read_bytes())
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise BundleError(f"{folder}/{self.manifest} is damaged: it names no format version.")
        if manifest["format"] > self.format:
            raise BundleError(
                f"the {self.noun} {folder} has format {manifest['format']}, made by plait "
                f"{manifest.get('plait', '?')}; this plait reads up to format {self.format}. Upgrade "
                "plait: pip install --upgrade plait"
            )
        files = manifest.get("files")
        if not isinstance(files, dict):
            raise BundleError(f"{folder}/{self.manifest} is damaged: it lists no files.")
        for name in files:
            # The manifest is a stranger's: '../' in a name would lead out of the folder.
            if Path(name).name != name or Path(name).suffix not in self.endings:
                raise BundleError(
                    f"the {self.noun} {folder} lists '{name}', which no {self.noun} may hold."
                )
        missing = [name for name in self.required if name not in files]
        if missing:
            raise BundleError(f"the {self.noun} {folder} lacks {', '.join(missing)}.")
        return manifest

    def _checked(self, folder: Path, name: str, digest: object) -> bytes:
        path = folder / name
        # A link could make any file of this machine part of the model.
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"the {self.noun} {folder} lacks the file {name}, or it is a link.")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise BundleError(
                f"{folder}/{name} was changed or damaged after the {self.noun} was {self.done}: its "
                f"SHA-256 is not the one in {self.manifest}. Copy the {self.noun} again from where it "
                "came from."
            )
        return data


def document(folder: Path, name: str, data: bytes) -> Any:
    """A JSON file's value.

    Raises:
        BundleError: it is not valid JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder}/{name} is not valid JSON: {error}.") from error


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write to, which takes the place of ``path`` once it is complete and on disk.

    Raises:
        OSError: it cannot be written; what was at ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".new-{uuid4().hex}")
    try:
        # "x": two processes never write to the same draft.
        with draft.open("xb") as file:
            yield file
            file.flush()
            # Else a power cut could leave the new name with the data still unwritten.
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file, text as UTF-8, so that it holds all of ``data`` or is as it was."""
    with whole_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


EXPORTED = Seal(
    noun="exported model",
    article="an",
    done="exported",
    manifest="app.json",
    format=1,
    required=(
        "graphs.json",
        "config.json",
        "schema.json",
        "preprocessing.json",
        "targets.json",
        "golden.json",
    ),
    endings=frozenset({".json", ".onnx", ".md"}),
    holds="JSON and ONNX",
)
"""What `plait export` writes and `plait.runtime` reads."""

TRAINING = "training"
"""The subfolder with checkpoints and TensorBoard logs; no part of the bundle, may be deleted."""
