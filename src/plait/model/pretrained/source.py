"""From what a user writes to a folder with a checkpoint: a hub name, a local folder, or a package.

Nothing here opens weights or imports torch.
"""

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.errors import CheckpointError, MissingExtra
from plait.model.pretrained.contents import check_folder, digest, licence
from plait.model.pretrained.hub import HUB, Note, find_in_hub
from plait.model.pretrained.packaged import PACKAGE, find_packaged


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        reference: what the user wrote, without the revision.
        folder: holds ``config.json`` and ``*.safetensors``.
        config: what ``config.json`` says.
        digest: SHA-256 over the weights.
        revision: of the hub's repository, resolved; empty for others.
        licence: as its model card or package says; empty where nothing is said.
    """

    reference: str
    folder: Path
    config: dict[str, Any]
    digest: str
    revision: str = ""
    licence: str = ""

    @property
    def summary(self) -> str:
        """The reference with its revision and licence."""
        more = [f"revision {self.revision[:12]}"] if self.revision else []
        return f"{self.reference} ({', '.join([*more, self.licence or 'licence not stated'])})"


def is_reference(name: str) -> bool:
    """Whether an encoder's name means a checkpoint and not one of plait's own encoders."""
    return name.startswith((HUB, PACKAGE, "./", "../", "~", "/")) or os.sep in name or "/" in name


def find_checkpoint(reference: str, *, note: Note | None = None) -> Checkpoint:
    """The checkpoint of a reference, fetched first where that is needed and allowed.

    Args:
        reference: ``hf:owner/name``, ``hf:owner/name@revision``, ``pip:name`` or a folder.
        note: told what is about to be fetched, before it is.

    Raises:
        CheckpointError: there is none, or it holds what must not be loaded.
        MissingExtra: the package that carries it, or reads it, is not installed.
    """
    if reference.startswith(PACKAGE):
        packaged = find_packaged(reference.removeprefix(PACKAGE))
        config = packaged.config or check_folder(packaged.folder, reference)
        return Checkpoint(
            reference, packaged.folder, config, digest(packaged.folder), licence=packaged.licence
        )
    if find_spec("transformers") is None:
        raise MissingExtra(f"the encoder '{reference}'", "pretrained", "transformers")
    if reference.startswith(HUB):
        return _hub(reference, note or (lambda text: None))
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(
            f"'{reference}' {what}.{_meant(reference)} An encoder is a name of plait's own (`plait "
            "encoders` lists them), hf:owner/name, pip:name, or a folder with config.json and "
            "model.safetensors."
        )
    config = check_folder(folder, reference)
    return Checkpoint(
        str(folder.resolve()), folder, config, digest(folder), licence=licence(folder)
    )


def _hub(reference: str, note: Note) -> Checkpoint:
    """A repository of the Hugging Face hub, from the cache or the network."""
    name, folder = find_in_hub(reference, note)
    known = f"{reference} in {folder}"
    config = check_folder(folder, known)
    return Checkpoint(f"{HUB}{name}", folder, config, digest(folder), folder.name, licence(folder))


def _meant(reference: str) -> str:
    """A hub's name that was written without what says so."""
    plain = re.fullmatch(r"\w[\w.\-]*/\w[\w.\-]*(@\w[\w.\-]*)?", reference)
    return f" Did you mean {HUB}{reference}?" if plain else ""
