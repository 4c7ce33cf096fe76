"""What a checkpoint's folder holds, and what it must not: checked before anything is loaded."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from plait.errors import CheckpointError

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
TOKENIZER = "tokenizer_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
MAX_JSON_BYTES = 64 << 20
"""Bytes of a JSON file that are read at most; tokenizers of many languages reach 35 MB."""


def check_folder(folder: Path, name: str) -> dict[str, Any]:
    """The checkpoint's configuration, after a look at everything else.

    Args:
        name: what to call it in messages.

    Raises:
        CheckpointError: it is not a checkpoint, is incomplete, has weights as a pickle only, is an
            adapter or quantized, or needs code of its own.
    """
    if (folder / ADAPTER).is_file():  # transformers would follow it to other weights
        raise CheckpointError(
            f"{name} is an adapter, not a model: its folder has {ADAPTER}, so its weights belong beside "
            "those of another checkpoint. Name that one and tune it anew (--tune text=lora), or merge "
            "both with peft: merge_and_unload(), then save_pretrained(...)."
        )
    if not (folder / CONFIG).is_file():
        files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        raise CheckpointError(
            f"{name} is not a checkpoint: its folder has no {CONFIG} (it holds "
            f"{', '.join(files[:6]) or 'nothing'}). Name the folder that `save_pretrained` wrote."
        )
    config = read_json(folder / CONFIG, name)
    settings = [folder / CONFIG, folder / TOKENIZER, *sorted(folder.glob("*processor_config.json"))]
    for path in settings:
        if path.is_file() and "auto_map" in _keys(read_json(path, name)):
            raise CheckpointError(
                f"{name} comes with Python code of its own ({path.name} names it under 'auto_map'), and "
                "plait runs no code from checkpoints. Take a checkpoint whose model is part of "
                "transformers, or convert it on a machine you can lose."
            )
    if "model_type" not in config and "architecture" not in config:  # the latter is timm's
        raise CheckpointError(f"{name}: {CONFIG} names no model_type, so no model can be built.")
    _check_plain(_keys(config), name)
    tensors = _check_weights(folder, name)
    layers = _layers(config)
    if layers > max(tensors, 1):
        raise CheckpointError(
            f"{name}: {CONFIG} asks for {layers} layers, and the weights hold {tensors} tensors in all. "
            "The two files should be of one checkpoint; fetch both again."
        )
    return config


def _layers(config: Any) -> int:
    """The largest number of layers that a configuration names, at any depth."""
    if not isinstance(config, dict):
        return 0
    own = [
        value
        for key, value in config.items()
        if isinstance(value, int) and ("layers" in key or key in ("n_layer", "depth"))
    ]
    return max([*own, *map(_layers, config.values())], default=0)


def _check_plain(keys: set[str], name: str) -> None:
    if "transformers_weights" in keys:
        raise CheckpointError(
            f"{name}: {CONFIG} names its weights' file itself (transformers_weights), and plait opens "
            f"{WEIGHTS} alone. Load it with transformers and write it with save_pretrained(...)."
        )
    if "quantization_config" in keys:
        raise CheckpointError(
            f"{name} is quantized ({CONFIG} has a quantization_config), which plait cannot read. Take "
            "the checkpoint it was made from."
        )


def _keys(value: dict[str, Any]) -> set[str]:
    """Every name inside, at any depth, that has a value which is not empty."""
    keys: set[str] = set()
    ahead: list[Any] = [value]
    while ahead:
        part = ahead.pop()
        if isinstance(part, dict):
            keys |= {key for key, inner in part.items() if inner}
            ahead += part.values()
        elif isinstance(part, list):
            ahead += part
    return keys


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, whether or not they are there.

    Raises:
        CheckpointError: the list of them cannot be read, or leads out of the folder.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).exists() or not index.is_file():
        return [folder / WEIGHTS]
    shards = read_json(index).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    for name in names:
        if not re.fullmatch(r"[\w.\-]+\.safetensors", name):
            raise CheckpointError(
                f"{index} names '{name[:100]}', which is not a safetensors file beside it. Fetch the "
                "checkpoint again."
            )
    return [folder / name for name in names]


def _check_weights(folder: Path, name: str) -> int:
    """How many tensors the weights hold, after a look at whether they are whole."""
    files = weight_files(folder)
    missing = [path.name for path in files if not path.is_file()]
    if not missing and files:
        return sum(_check_whole(path, name) for path in files)
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


def _check_whole(path: Path, name: str) -> int:
    """How many tensors a file holds. Its head says how long it is; a broken download is shorter."""
    broken = CheckpointError(
        f"{name}: {path.name} is damaged or was not downloaded whole. Delete it and fetch it again."
    )
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_JSON_BYTES):
            raise broken
        try:
            head = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in head.items() if k != "__metadata__"]
            claimed = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise broken from None
    if size != claimed:
        raise broken
    return len(ends)


def read_json(path: Path, name: str = "") -> dict[str, Any]:
    """A JSON object from a checkpoint's folder.

    Args:
        name: what to call the checkpoint in messages; its path where nothing is given.

    Raises:
        CheckpointError: it is too large, no JSON, or no object.
    """
    label = f"{name}: {path.name}" if name else str(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(
                f"{label} is larger than {MAX_JSON_BYTES >> 20} MiB, so it is not read."
            )
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{label} cannot be read as JSON ({error}). Fetch the checkpoint again."
        ) from None
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{label} holds a {type(value).__name__}, expected a JSON object. "
            "Fetch the checkpoint again."
        )
    return value


def read_json_if_there(path: Path) -> dict[str, Any] | None:
    """The same; None when there is no such file."""
    return read_json(path) if path.is_file() else None


def digest(folder: Path) -> str:
    """SHA-256 over the weights, in 64 hexadecimal digits.

    The hub's cache names a large file by its SHA-256; that name is taken instead of reading it again.
    """
    whole = hashlib.sha256()
    paths = [path for path in weight_files(folder) if path.is_file()]
    for path in paths or sorted(folder.glob("*.pth")):
        target = path.resolve()
        if target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name):
            digest = target.name
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(digest.encode())
    return whole.hexdigest()


def licence(folder: Path) -> str:
    """The licence that the model card's head names, in Hugging Face's words; empty where it does not."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    head = re.match(r"\ufeff?---\n(.*?)^---", text, re.DOTALL | re.MULTILINE)
    fields = dict(
        re.findall(r"^(license(?:_name)?): *[\"']?([\w.\- ]+)", head[1], re.MULTILINE)
        if head
        else ()
    )
    name = fields.get("license", "").strip()
    return fields.get("license_name", name).strip() if name in ("", "other") else name
