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

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from plait.errors import BundleError, error_line
from plait.sealed import EXPORTED, TRAINING, Seal, document

WEIGHTS = "model.safetensors"
BUNDLE = Seal(
    noun="bundle",
    article="a",
    done="saved",
    manifest="bundle.json",
    format=1,
    required=(
        "config.json",
        "schema.json",
        "preprocessing.json",
        "architecture.json",
        "targets.json",
        WEIGHTS,
    ),
    endings=frozenset({".json", ".safetensors", ".md", ".csv"}),
    holds="JSON and safetensors",
)


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
    files = {
        name: json.dumps(value, ensure_ascii=False, indent=1).encode()
        for name, value in contents.documents.items()
    }
    # All in memory before anything is written: a failure while encoding leaves the folder alone.
    files |= {name: text.encode() for name, text in contents.texts.items()}
    for file, tensors in {WEIGHTS: contents.weights, **contents.arrays}.items():
        files[file] = save(
            # safetensors takes contiguous tensors only.
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        )
    try:
        BUNDLE.write(folder, files)
    except OSError as error:
        raise BundleError(
            f"the bundle could not be saved to {folder}: {error_line(error)}. No part of it was kept. "
            "Free some space or name another folder; a fit continues from its last checkpoint with "
            "--resume."
        ) from error


def holds_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle."""
    return BUNDLE.is_in(folder)


def load_bundle(folder: Path) -> Contents:
    """Read and check a bundle; nothing inside it is executed.

    Raises:
        BundleError: no bundle there; a newer format; a changed, missing or foreign file.
    """
    _expect(folder)
    documents, texts, arrays = {}, {}, {}
    for name, data in BUNDLE.read(folder)[1].items():
        if name.endswith(".safetensors"):
            arrays[name] = _tensors(folder, name, data)
        elif name.endswith(".json"):
            documents[name] = document(folder, name, data)
        else:
            texts[name] = data.decode(errors="replace")
    return Contents(documents, texts, arrays.pop(WEIGHTS), arrays)


def _expect(folder: Path) -> None:
    """Say what there is instead of a bundle, where that helps."""
    if holds_bundle(folder):
        return
    hint = ""
    if (folder / TRAINING).is_dir():
        hint = "A fit was started there and has not finished; continue it with --resume."
    elif EXPORTED.is_in(folder):
        hint = (
            "It holds an exported model, for `plait predict` and plait.Runtime; for anything else name "
            "the bundle that it was exported from."
        )
    if hint:
        raise BundleError(f"{folder} is not a plait bundle: it has no {BUNDLE.manifest}. {hint}")


def _tensors(folder: Path, name: str, data: bytes) -> dict[str, Tensor]:
    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise BundleError(
            f"{folder}/{name} is not a safetensors file ({error}); plait opens no other format."
        ) from error
