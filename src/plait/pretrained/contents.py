"""What a checkpoint's folder holds, and what it must not: checked before anything is loaded."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from plait.errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
LARGEST_JSON = 64 << 20
"""Bytes of a JSON file that are read at most; tokenizers of many languages reach 35 MB."""


def check_folder(folder: Path, name: str) -> dict[str, Any]:
    """The checkpoint's configuration, after a look at everything else.

    Args:
        name: what to call it in messages.

    Raises:
        CheckpointError: it is no checkpoint, is incomplete, has weights as a pickle only, or needs code
            of its own.
    """
    if not (folder / CONFIG).is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        raise CheckpointError(
            f"{name} is no checkpoint: its folder has no {CONFIG} (it holds {found}). Name the folder "
            "that `save_pretrained` wrote."
        )
    config = read_json(folder / CONFIG, name)
    for file in (
        CONFIG,
        "tokenizer_config.json",
        "preprocessor_config.json",
        "processor_config.json",
    ):
        if (folder / file).is_file() and _asks_for_code(read_json(folder / file, name)):
            raise CheckpointError(
                f"{name} comes with Python code of its own ({file} names it under 'auto_map'), and "
                "plait runs no code from checkpoints. Take a checkpoint whose model is part of "
                "transformers, or convert it on a machine you can lose."
            )
    if "model_type" not in config and "architecture" not in config:  # the latter is timm's
        raise CheckpointError(f"{name}: {CONFIG} names no model_type, so no model can be built.")
    _check_weights(folder, name)
    return config


def _asks_for_code(value: Any) -> bool:
    """Whether ``auto_map`` occurs anywhere inside."""
    if isinstance(value, dict):
        return bool(value.get("auto_map")) or any(map(_asks_for_code, value.values()))
    return isinstance(value, list) and any(map(_asks_for_code, value))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, whether or not they are there."""
    index = folder / INDEX
    if not (folder / WEIGHTS).exists() and index.is_file():
        shards = read_json(index, folder.name).get("weight_map", {})
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        return [folder / Path(name).name for name in names]
    return [folder / WEIGHTS]


def _check_weights(folder: Path, name: str) -> None:
    files = weight_files(folder)
    missing = [path.name for path in files if not path.is_file()]
    if not missing and files:
        for path in files:
            _check_whole(path, name)
        return
    if any(path.is_file() for path in files) or (folder / INDEX).is_file():
        raise CheckpointError(
            f"{name} is incomplete: {', '.join(missing) or 'every shard'} is not there, though {INDEX} "
            "names it. Fetch it again."
        )
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise CheckpointError(
            f"{name} has its weights as {', '.join(pickles)} only, a kind of file that can run code "
            "when opened; plait loads safetensors alone. Convert it on a machine you can lose: "
            "AutoModel.from_pretrained(...).save_pretrained(...) writes model.safetensors."
        )
    raise CheckpointError(f"{name} has no weights: there is no {WEIGHTS}.")


def _check_whole(path: Path, name: str) -> None:
    """A safetensors file says in its head how long it is; a broken download is shorter."""
    broken = CheckpointError(
        f"{name}: {path.name} is damaged or was not downloaded whole. Delete it and fetch it again."
    )
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_JSON):
            raise broken
        try:
            head = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in head.items() if k != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise broken from None
    if size != 8 + length + max(ends, default=0):
        raise broken


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A JSON object from a checkpoint's folder.

    Raises:
        CheckpointError: it is too large, no JSON, or no object.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise CheckpointError(f"{name}: {path.name} is larger than {LARGEST_JSON >> 20} MiB.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: {path.name} is no JSON ({error}).") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name}: {path.name} holds no JSON object.")
    return value


def digest(folder: Path) -> str:
    """SHA-256 over the weights, in 64 hexadecimal digits.

    The hub's cache names a large file by its SHA-256; that name is taken instead of reading it again.
    """
    whole = hashlib.sha256()
    paths = [path for path in weight_files(folder) if path.is_file()]
    for path in paths or sorted(folder.glob("*.pth")):
        target = path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", target):
            found = target
        else:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(found.encode())
    return whole.hexdigest()


def licence(folder: Path) -> str:
    """The licence that the model card's head names, in Hugging Face's words; empty where it does not."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    head = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    found = re.search(r"\A---\n.*?^license: *[\"']?([\w.\- ]+)", head, re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""
