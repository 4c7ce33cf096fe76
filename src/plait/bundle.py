"""The folder a model is saved to: JSON and safetensors, hashed, never a pickle.

bundle.json            format version, plait version, and the SHA-256 of every other file
config.json            the options of the fit
schema.json            columns: modality, role, reason
preprocessing.json     each input column's fitted state, tokenizers included
architecture.json      streams, encoders, fusion, width
targets.json           kinds and classes
model.safetensors      the weights
golden.json            a few rows with the answers they must give
metrics.json           validation metrics of the fit
history.json           loss and score by epoch
record.json            seconds by stage, rows and decisions of the fit; bundles without it still load
quarantine.json        unreadable cells met while fitting
held_out.json          temperatures, and what the validation rows promise; its arrays are in
held_out.safetensors   conformal scores and a neighbourhood; bundles without the two still load
README.md              the model card
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from plait.errors import BundleError

FORMAT = 1
MANIFEST = "bundle.json"
WEIGHTS = "model.safetensors"
REQUIRED = (
    "config.json",
    "schema.json",
    "preprocessing.json",
    "architecture.json",
    "targets.json",
    WEIGHTS,
)
TRAINING = "training"
"""The subfolder with checkpoints and TensorBoard logs; no part of the bundle, may be deleted."""

_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".npy", ".npz"}


@dataclass(frozen=True)
class Contents:
    """What a bundle holds: JSON documents by name, other texts by name, the weights, other arrays."""

    documents: dict[str, Any]
    texts: dict[str, str]
    weights: dict[str, Tensor]
    arrays: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def save_bundle(folder: Path, contents: Contents) -> None:
    """Write a bundle so that a full disk or a kill leaves an earlier one as it was.

    Raises:
        BundleError: the folder cannot be written; says why and what is left.
    """
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"the bundle could not be saved: '{folder}' is a file; name a folder.")
    draft = folder / f".new-{uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        files = _write(draft, contents)
        manifest = {"format": FORMAT, "plait": version("plait"), "files": files}
        _put(draft / MANIFEST, json.dumps(manifest, indent=1).encode())
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in [*files, MANIFEST]:
            (draft / name).replace(folder / name)
    except OSError as error:
        raise BundleError(
            f"the bundle could not be saved to {folder}: {error.strerror or error}. Nothing of it was "
            "kept. Free some space or name another folder; a fit continues from its last checkpoint "
            "with --resume."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(draft: Path, contents: Contents) -> dict[str, str]:
    """Write every file but the manifest; returns their hashes."""
    files: dict[str, bytes] = {}
    for name, value in contents.documents.items():
        files[name] = json.dumps(value, ensure_ascii=False, indent=1).encode()
    for name, text in contents.texts.items():
        files[name] = text.encode()
    for file, tensors in {WEIGHTS: contents.weights, **contents.arrays}.items():
        files[file] = save(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        )
    for name, data in files.items():
        _put(draft / name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _put(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def holds_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle."""
    return (folder / MANIFEST).is_file()


def load_bundle(folder: Path) -> Contents:
    """Read and check a bundle; nothing inside it is executed.

    Raises:
        BundleError: no bundle there; a newer format; a changed, missing or foreign file.
    """
    files = _manifest(folder)
    for path in folder.iterdir():
        if path.suffix.lower() in _PICKLES:
            raise BundleError(
                f"the bundle {folder} holds '{path.name}'. A bundle is JSON and safetensors; files of "
                "that kind can run code when opened, so plait refuses the whole bundle. Remove the file "
                "if you know where it came from."
            )
    documents, texts, arrays = {}, {}, {}
    for name, digest in files.items():
        data = _checked(folder, name, digest)
        if name.endswith(".safetensors"):
            arrays[name] = _tensors(folder, name, data)
        elif name.endswith(".json"):
            documents[name] = _json(folder, name, data)
        else:
            texts[name] = data.decode(errors="replace")
    return Contents(documents, texts, arrays.pop(WEIGHTS), arrays)


def _manifest(folder: Path) -> Mapping[str, str]:
    """The files a bundle must hold, by name, with their hashes."""
    path = folder / MANIFEST
    if not path.is_file():
        hint = ""
        if (folder / TRAINING).is_dir():
            hint = " A fit was started there and has not finished; continue it with --resume."
        elif not folder.exists():
            hint = " There is no such folder."
        raise BundleError(f"{folder} is no plait bundle: it has no {MANIFEST}.{hint}")
    manifest = _json(folder, MANIFEST, path.read_bytes())
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise BundleError(f"{folder}/{MANIFEST} is damaged: it names no format version.")
    if manifest["format"] > FORMAT:
        raise BundleError(
            f"the bundle {folder} has format {manifest['format']}, made by plait "
            f"{manifest.get('plait', '?')}; this plait reads up to format {FORMAT}. Upgrade plait: "
            "pip install --upgrade plait"
        )
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{folder}/{MANIFEST} is damaged: it lists no files.")
    for name in files:
        if Path(name).name != name or Path(name).suffix not in {
            ".json",
            ".safetensors",
            ".md",
            ".csv",
        }:
            raise BundleError(f"the bundle {folder} lists '{name}', which no bundle may hold.")
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise BundleError(f"the bundle {folder} lacks {', '.join(missing)}.")
    return files


def _checked(folder: Path, name: str, digest: str) -> bytes:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"the bundle {folder} lacks the file {name}, or it is a link.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(
            f"{folder}/{name} was changed or damaged after the bundle was saved: its SHA-256 is not the "
            f"one in {MANIFEST}. Copy the bundle again from where it came from."
        )
    return data


def _json(folder: Path, name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder}/{name} is no JSON: {error}.") from error


def _tensors(folder: Path, name: str, data: bytes) -> dict[str, Tensor]:
    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise BundleError(
            f"{folder}/{name} is no safetensors file ({error}); plait opens no other kind."
        ) from error
