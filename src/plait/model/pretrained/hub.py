"""Checkpoints of the Hugging Face hub: from its cache on this machine, or fetched into it.

The cache is Hugging Face's own, so that other programs share it, and a machine without a network reads
the same folder. Nothing here opens weights.
"""

import errno
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from logging import CRITICAL
from pathlib import Path
from typing import Any

from plait.errors import CheckpointError, counted, error_line

HUB = "hf:"
FETCHED = ("model*.safetensors", "*.json", "*.txt", "*.model", "README.md")
"""What is fetched of a repository: never a pickle, never code."""
INNER = "*/*"
"""Files in folders of a repository, which hold other forms of the same weights; they are left there."""

Note = Callable[[str], None]

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Wanted:
    """What a user asks of the hub.

    Attributes:
        reference: as it was written.
        name: of the repository.
        revision: a branch, a tag, or a commit of which a part is enough where the cache has it.
        cache: Hugging Face's folder.
    """

    reference: str
    name: str
    revision: str
    cache: Path

    @property
    def folder(self) -> Path:
        """Where the cache keeps the repository."""
        return self.cache / f"models--{self.name.replace('/', '--')}"

    @property
    def elsewhere(self) -> str:
        """How to get it without the hub."""
        revision = f" --revision {self.revision}" if self.revision else ""
        return (
            f"Fetch it on a machine with a network (`hf download {self.name}{revision}`), copy the "
            f"folder {self.folder.name} of its cache into {self.cache} here, or copy the files into any "
            "folder and name that folder as the encoder."
        )


def find_in_hub(reference: str, note: Note) -> tuple[str, Path]:
    """The repository's name without a revision, and its snapshot's folder, named by the commit.

    The hub is asked which commit a branch is at, unless ``HF_HUB_OFFLINE`` is set or a commit is named
    that the cache has.

    Raises:
        CheckpointError: it is not there, or cannot be had.
    """
    from huggingface_hub import constants, utils
    from huggingface_hub.errors import HFValidationError

    tools: Any = utils
    name, at, revision = reference.removeprefix(HUB).partition("@")
    if at and not revision:
        raise CheckpointError(f"'{reference}' names no revision after the @; write one, or no @.")
    try:
        tools.validate_repo_id(name)
    except HFValidationError:
        raise CheckpointError(
            f"'{reference}' is not the name of a repository: write hf:owner/name or "
            "hf:owner/name@revision, as hf:google/siglip2-base-patch16-224."
        ) from None
    if ".." in revision or not re.fullmatch(r"(\w[\w.\-/]*)?", revision):
        raise CheckpointError(
            f"'{reference}': '{revision}' is not a revision; write a branch, a tag or a commit after @."
        )
    wanted = Wanted(reference, name, revision, Path(constants.HF_HUB_CACHE))
    commit = _commit(wanted)
    with _silence():
        # A commit never changes, so the hub need not be asked; a branch may have moved.
        if commit or constants.HF_HUB_OFFLINE:
            folder, fault = _cached(wanted, commit)
            if folder is not None:
                return name, folder
            if constants.HF_HUB_OFFLINE:
                raise CheckpointError(
                    f"'{reference}' {fault}, and HF_HUB_OFFLINE forbids to fetch it. {wanted.elsewhere}"
                )
        return name, _fetch(wanted, commit, note)


def _commit(wanted: Wanted) -> str:
    """The commit that a revision means without asking anyone; empty when it may be a branch or a tag.

    The beginning of a commit, as `plait encoders` shows it, will do where the cache has one such.
    """
    if not re.fullmatch(r"[0-9a-f]{7,40}", wanted.revision):
        return ""
    if len(wanted.revision) == 40:
        return wanted.revision
    snapshots = list((wanted.folder / "snapshots").glob(f"{wanted.revision}*"))
    return snapshots[0].name if len(snapshots) == 1 else ""


def _cached(wanted: Wanted, commit: str) -> tuple[Path | None, str]:
    """The snapshot in the cache, or None and what is wrong with it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    asked = commit or wanted.revision or None
    files: dict[str, Any] = {"allow_patterns": list(FETCHED), "ignore_patterns": [INNER]}
    try:
        folder = snapshot_download(
            wanted.name, revision=asked, cache_dir=wanted.cache, local_files_only=True, **files
        )
    except IncompleteSnapshotError as error:
        lacking = re.search(r"missing \((.*?)\)", str(error))
        return None, (
            f"is in {wanted.cache} only in part: {lacking[1] if lacking else 'some of it'} is missing"
        )
    except LocalEntryNotFoundError:
        return None, f"is not in {wanted.cache}"
    return Path(str(folder)), ""


def _fetch(wanted: Wanted, commit: str, note: Note) -> Path:
    from huggingface_hub import errors, snapshot_download

    raised: Any = errors
    asked: dict[str, Any] = {
        "cache_dir": wanted.cache,
        "allow_patterns": list(FETCHED),
        "ignore_patterns": [INNER],
    }
    try:
        with _bars(shown=False):
            # A dry run first, to name the size before a long download.
            files: Any = snapshot_download(
                wanted.name, revision=commit or wanted.revision or None, dry_run=True, **asked
            )
        if not any(file.filename.endswith(".safetensors") for file in files):
            raise CheckpointError(
                f"'{wanted.reference}' has no model.safetensors on the hub. Weights of another kind can "
                "run code when opened, and are not fetched. Convert it on a machine you can lose: "
                "AutoModel.from_pretrained(...).save_pretrained(...) writes model.safetensors."
            )
        missing = [file for file in files if file.will_download]
        if missing:
            size = sum(file.file_size or 0 for file in missing) / 1e6
            many = counted(len(missing), "file")
            note(f"fetching {wanted.reference}: {size:,.1f} MB in {many}, to {wanted.cache}")
        with _bars(shown=bool(missing) and sys.stderr.isatty()):
            # The commit of the dry run: the branch may move between the two.
            return Path(str(snapshot_download(wanted.name, revision=files[0].commit_hash, **asked)))
    except (raised.HTTPError, raised.XetDownloadError, OSError) as error:
        return _cached_after(wanted, commit, error, note)


def _cached_after(wanted: Wanted, commit: str, error: Exception, note: Note) -> Path:
    """The hub did not give it: what the cache has, saying so, or why there is nothing."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # A dry run, and what looks into the cache, wrap what the hub said.
    cause = error if isinstance(error, HfHubHTTPError) else error.__cause__ or error
    if isinstance(cause, OSError) and cause.errno in _UNWRITABLE:
        raise CheckpointError(
            f"'{wanted.reference}' cannot be written to {wanted.cache}: {cause.strerror}. Make room "
            "there, or set HF_HOME to a folder elsewhere, and run again; files that came whole are kept."
        ) from error
    if isinstance(cause, RevisionNotFoundError):
        raise CheckpointError(
            f"{wanted.name} has no revision '{wanted.revision}' on the hub."
        ) from error
    folder, fault = _cached(wanted, commit)
    reason = error_line(cause)
    said = "refused" if isinstance(cause, HfHubHTTPError) else "could not be reached"
    if folder is not None:
        note(f"the hub {said} ({reason}); {wanted.reference} is taken from {wanted.cache}")
        return folder
    if isinstance(cause, GatedRepoError):
        raise CheckpointError(
            f"'{wanted.reference}' is gated: accept its terms at https://huggingface.co/{wanted.name}, "
            "then log in with `hf auth login`."
        ) from error
    if isinstance(cause, RepositoryNotFoundError):
        raise CheckpointError(
            f"the hub has no repository '{wanted.name}', or it is private. Check the name at "
            "https://huggingface.co/models, or log in with `hf auth login`."
        ) from error
    raise CheckpointError(
        f"'{wanted.reference}' {fault}, and the hub {said} ({reason}). {wanted.elsewhere}"
    ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """No log lines of huggingface_hub, all as before afterwards."""
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _bars(*, shown: bool) -> AbstractContextManager[Any]:
    """While it is open, huggingface_hub's progress bars, or none of them."""
    from huggingface_hub import utils

    tools: Any = utils
    if shown:
        return nullcontext()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where HF_HUB_DISABLE_PROGRESS_BARS=0 wants them always
        return tools.disable_progress_bars()
