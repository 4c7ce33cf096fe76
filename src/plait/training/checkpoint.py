"""Nested training state on disk: tensors as safetensors, everything else as JSON; never a pickle."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plait.errors import BundleError, error_line
from plait.sealed import write_whole


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that a kill at any moment leaves the old or the new one, whole.

    The tensors' file has a fresh name each time; the JSON beside it names it and is replaced last.

    Raises:
        BundleError: the folder cannot be written, for instance because the disk is full.
    """
    try:
        _write(folder, state)
    except (OSError, SafetensorError) as error:
        raise BundleError(
            f"the checkpoint could not be saved to {folder}: {error_line(error)}. The previous one is "
            "intact. Free some space, then continue with --resume."
        ) from error


def _write(folder: Path, state: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    tree = _split(state, tensors)
    pointer = folder / "state.json"
    number = _number(pointer) + 1
    data = folder / f"tensors-{number}.safetensors"
    save_file(tensors, data)
    with data.open("rb") as file:
        # On disk before the pointer names it.
        os.fsync(file.fileno())
    write_whole(pointer, json.dumps({"number": number, "tree": tree}))
    for old in folder.glob("tensors-*.safetensors"):
        # Only after the pointer has moved on: until then the old file is the one that counts.
        if old != data:
            old.unlink(missing_ok=True)


def holds_state(folder: Path) -> bool:
    """Whether there is a state to load."""
    return (folder / "state.json").is_file()


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last whole state, or None when there is none.

    Raises:
        BundleError: the files are damaged.
    """
    pointer = folder / "state.json"
    if not pointer.is_file():
        return None
    try:
        saved = json.loads(pointer.read_text(encoding="utf-8"))
        tensors = load_file(folder / f"tensors-{saved['number']}.safetensors")
        state: dict[str, Any] = _join(saved["tree"], tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BundleError(
            f"the checkpoint in {folder} is damaged ({error}). Delete that folder to start again."
        ) from error
    return state


def _number(pointer: Path) -> int:
    try:
        return int(json.loads(pointer.read_text(encoding="utf-8"))["number"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def _split(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Replace each tensor by its name; a dict keeps the type of its keys."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # safetensors refuses tensors that share memory, such as tied weights.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        # JSON would turn the whole-number keys of an optimizer's state into text.
        return {"items": [[key, _split(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_split(item, tensors) for item in value]
    return value


def _join(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_join(item, tensors) for item in tree]
    if isinstance(tree, dict):
        if "tensor" in tree:
            return tensors[tree["tensor"]]
        return {key: _join(item, tensors) for key, item in tree["items"]}
    return tree
