"""Exported graphs, kept from run to run: the exporter takes seconds a graph and gives the same each time.

A graph is found again by what it was made from: the source of plait's models and exporter, the versions of
torch, onnx and onnxscript, and the module itself, weights included. Only the export is spared; a test
compares the graph's answers with torch's every time. `PLAIT_GRAPH_CACHE=off` exports everything anew, which
`make coverage` does.
"""

import functools
import hashlib
import importlib.metadata
import inspect
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCES = ("src/plait/model", "src/plait/export", "src/plait/runtime")
FOLDER = ROOT / ".pytest_cache" / "d" / "graphs"
MOST = 512
"""Graphs that are kept; the oldest go first."""


def install(convert: Any) -> None:
    """Have `plait.export.convert`, just imported, look for a graph before it makes one."""
    exported = convert.to_onnx

    @functools.wraps(exported)
    def to_onnx(module: Any, example: Any, axes: Any, **named: Any) -> bytes:
        _read_operations_once()
        if os.environ.get("PLAIT_GRAPH_CACHE") == "off":
            return exported(module, example, axes, **named)
        path = FOLDER / f"{_key(module, example, axes, named)}.onnx"
        if path.exists():
            path.touch()
            return path.read_bytes()
        data = exported(module, example, axes, **named)
        FOLDER.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(data)
        part.replace(path)
        return data

    convert.to_onnx = to_onnx


def prune() -> None:
    """Keep the graphs that were used last."""
    if FOLDER.exists():
        graphs = sorted(FOLDER.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in graphs[MOST:]:
            path.unlink(missing_ok=True)


@functools.cache
def _read_operations_once() -> None:
    """The exporter reads the source of its 500 operations anew for every graph, a third of its time.

    Nothing public lets a table of operations be handed on from export to export, so that this is done
    where the exporter keeps it; a torch that keeps it elsewhere only takes longer.
    """
    try:
        from torch.onnx._internal._lazy_import import onnxscript_apis

        once = functools.cache(onnxscript_apis.get_torchlib_ops)
        onnxscript_apis._module.get_torchlib_ops = once
    except (ImportError, AttributeError):
        pass


def _key(module: Any, example: Any, axes: Any, named: dict[str, Any]) -> str:
    digest = hashlib.sha256(_sources().encode())
    _add(digest, [list(axes), {k: named[k] for k in ("inputs", "outputs")}], set())
    # Of the example only the form counts: the graph answers for any values.
    for tensor in example:
        _add(digest, [str(tensor.dtype), tuple(tensor.shape)], set())
    _add(digest, module, set())
    return digest.hexdigest()[:40]


@functools.cache
def _sources() -> str:
    versions = [importlib.metadata.version(name) for name in ("torch", "onnx", "onnxscript")]
    digest = hashlib.sha256(" ".join(versions).encode())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _source_of(kind: type) -> bytes:
    """The file of a class that is neither plait's nor torch's: a fusion made in a test."""
    if kind.__module__.startswith(("torch.", "plait.", "builtins")):
        return b""
    try:
        return Path(inspect.getsourcefile(kind) or "").read_bytes()
    except (OSError, TypeError):
        return b""


def _add(digest: Any, value: Any, seen: set[int]) -> None:
    """Everything that a value holds; what cannot be told apart by it is told apart by its address."""
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous().cpu()
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, str | bytes | int | float | complex | bool | None | torch.dtype):
        digest.update(repr(value).encode())
    elif id(value) in seen:
        digest.update(b"again")
    elif isinstance(value, dict):
        seen.add(id(value))
        for key, item in value.items():
            digest.update(repr(key).encode())
            _add(digest, item, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        seen.add(id(value))
        digest.update(f"{type(value).__qualname__}{len(value)}".encode())
        for item in value if isinstance(value, list | tuple) else sorted(value, key=repr):
            _add(digest, item, seen)
    elif isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        digest.update(f"{value.__module__}.{value.__qualname__}".encode())
    elif hasattr(value, "__dict__"):
        seen.add(id(value))
        digest.update(f"{type(value).__module__}.{type(value).__qualname__}".encode())
        digest.update(_source_of(type(value)))
        _add(digest, vars(value), seen)
    else:
        digest.update(repr(value).encode())
