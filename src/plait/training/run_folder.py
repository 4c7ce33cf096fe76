"""The folder of a run: who may write to it, and whether a checkpoint in it is of the same run."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.errors import ConfigError
from plait.predictor.bundle import holds_bundle
from plait.sealed import TRAINING, write_whole

PRETRAINING = "pretrain"
"""The subfolder of the training's where the pretraining keeps its checkpoint and logs."""

FORMAT = 2
"""Of the checkpoint: raised with every change to what it holds. A checkpoint lives no longer than a fit,
so no version reads another's; 0.1.0 wrote no number."""

try:
    import fcntl
except ImportError:  # Windows has no such locks; two fits into one folder are then not kept apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def claim(folder: Path | None) -> Iterator[None]:
    """Keep other fits out of the folder; the system lets go of it however this process ends."""
    if folder is None or fcntl is None:
        yield
        return
    training = folder / TRAINING
    training.mkdir(parents=True, exist_ok=True)
    with (training / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                [f"out: another fit is writing to '{folder}'; name another folder."]
            ) from None
        yield


def check_folder(folder: Path | None, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that cannot be written to, or that holds a model nobody said to replace."""
    if folder is None:
        if resume:
            raise ConfigError(["resume: name the folder to continue in with out=... (--out)."])
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f"out: '{folder}' is a file; name a folder."])
    above = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(
            [
                f"out: '{folder}' cannot be written: '{above}' is not a folder that can be written to."
            ]
        )
    if holds_bundle(folder) and not overwrite:
        raise ConfigError(
            [
                f"out: '{folder}' already holds a model; name another folder, or pass overwrite=True "
                "(--overwrite)."
            ]
        )


def check_same(training: Path, settings: Mapping[str, Any], resume: bool) -> None:
    """Refuse to take up a checkpoint of another run; mark a new one.

    Args:
        settings: whatever must be the same, by the name a user knows it by.

    Raises:
        ConfigError: naming each option, or part of the table, that is not as it was; or it was made by
            another version.
    """
    mark = training / "run.json"
    prints = {name: _print(value) for name, value in settings.items()}
    if resume and mark.is_file():
        before = json.loads(mark.read_text(encoding="utf-8"))
        if before.get("format") != FORMAT:
            raise ConfigError(
                [
                    f"resume: the checkpoint in '{training.parent}' was made by another version of "
                    "plait, which this one cannot continue. Resume it with that version, or start anew "
                    "without resume."
                ]
            )
        differ = [name for name in prints if prints[name] != before.get(name)]
        if differ:
            raise ConfigError(
                [
                    f"resume: the checkpoint in '{training.parent}' was made with other values of "
                    f"{', '.join(differ)}. Use the same ones, or start again without resume."
                ]
            )
        return
    for checkpoint in (training / "checkpoint", training / PRETRAINING / "checkpoint"):
        if checkpoint.is_dir():
            (checkpoint / "state.json").unlink(missing_ok=True)
    write_whole(mark, json.dumps({"format": FORMAT, **prints}, indent=1))


def _print(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def tensorboard(training: Path) -> Any:
    """A function that writes a step's scalars to the run's TensorBoard log."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(training / "logs"))

    def log(step: int, scalars: Any) -> None:
        for name, value in scalars.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log
