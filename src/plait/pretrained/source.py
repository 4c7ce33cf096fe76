"""From what a user writes to a folder with a checkpoint: a hub name, a local folder, or a package.

Nothing here opens weights or imports torch. What is fetched goes to Hugging Face's own cache, so that
other programs share it, and a machine without a network reads the same folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.errors import CheckpointError, MissingExtra
from plait.pretrained.contents import check_folder, digest, licence
from plait.pretrained.packaged import find_packaged

HUB = "hf:"
PACKAGE = "pip:"
FETCHED = ("*.safetensors", "*.json", "*.txt", "*.model", "README.md")
"""What is fetched of a repository: never a pickle, never code."""

Note = Callable[[str], None]


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
    def told(self) -> str:
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
        found = find_packaged(reference.removeprefix(PACKAGE))
        config = found.config or check_folder(found.folder, reference)
        return Checkpoint(
            reference, found.folder, config, digest(found.folder), licence=found.licence
        )
    if find_spec("transformers") is None:
        raise MissingExtra(f"the encoder '{reference}'", "pretrained", "transformers")
    if reference.startswith(HUB):
        return _hub(reference, note or (lambda text: None))
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(
            f"'{reference}' {what}. An encoder is a name of plait's own (`plait encoders` lists "
            "them), hf:owner/name, pip:name, or a folder with config.json and model.safetensors."
        )
    config = check_folder(folder, reference)
    return Checkpoint(
        str(folder.resolve()), folder, config, digest(folder), licence=licence(folder)
    )


def _hub(reference: str, note: Note) -> Checkpoint:
    """A repository of the Hugging Face hub, from the cache or the network."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError

    name, _, revision = reference.removeprefix(HUB).partition("@")
    try:
        folder = _cached(name, revision) or _fetch(name, revision, reference, note)
    except HFValidationError:
        raise CheckpointError(
            f"'{reference}' is no name of a repository: write hf:owner/name, as "
            "hf:google/siglip2-base-patch16-224."
        ) from None
    known = (
        f"{reference} in {constants.HF_HUB_CACHE}; a download that was broken off is taken up by "
        "running again with a network"
    )
    config = check_folder(folder, known)
    return Checkpoint(f"{HUB}{name}", folder, config, digest(folder), folder.name, licence(folder))


def _cached(name: str, revision: str) -> Path | None:
    """The snapshot in the cache, when it is asked for by its commit or the hub may not be asked."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    is_commit = len(revision) == 40
    if not (constants.HF_HUB_OFFLINE or is_commit):
        return None
    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _fetch(name: str, revision: str, reference: str, note: Note) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = constants.HF_HUB_CACHE
    elsewhere = (
        f"Fetch it on a machine with a network (`hf download {name}"
        f"{f' --revision {revision}' if revision else ''}`), copy the folder "
        f"models--{name.replace('/', '--')} into {where} here, or copy its files into any folder "
        "and name that folder as the encoder."
    )
    asked: dict[str, Any] = {"revision": revision or None, "allow_patterns": list(FETCHED)}
    try:
        wanted: Any = snapshot_download(name, dry_run=True, **asked)
        missing = [file for file in wanted if file.will_download]
        if missing:
            size = sum(file.file_size for file in missing) / 1e6
            note(f"fetching {reference}: {size:,.0f} MB in {len(missing)} files, to {where}")
        return Path(str(snapshot_download(name, **asked)))
    except GatedRepoError as error:
        raise CheckpointError(
            f"'{reference}' is gated: accept its terms at https://huggingface.co/{name}, then log in "
            "with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{name} has no revision '{revision}' on the hub.") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the hub has no repository '{name}', or it is private. Check the name at "
            f"https://huggingface.co/models, or log in with `hf auth login`."
        ) from error
    except OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"'{reference}' is not in {where}, and HF_HUB_OFFLINE forbids to fetch it. {elsewhere}"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        return _from_cache_after(name, revision, reference, where, elsewhere, error, note)


def _from_cache_after(
    name: str,
    revision: str,
    reference: str,
    where: str,
    elsewhere: str,
    error: Exception,
    note: Note,
) -> Path:
    """The hub could not be reached: what the cache has, saying so, or why there is nothing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            str(snapshot_download(name, revision=revision or None, local_files_only=True))
        )
    except LocalEntryNotFoundError:
        reason = str(error.__cause__ or error).strip().split("\n")[0][:200]
        raise CheckpointError(
            f"'{reference}' is not in {where}, and the hub could not be reached ({reason}). {elsewhere}"
        ) from error
    note(f"the hub could not be reached; {reference} is taken from {where}")
    return folder
