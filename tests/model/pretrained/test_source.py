"""From what a user writes to a checkpoint: folders, the hub's cache, the hub, and every way to miss."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from plait.errors import CheckpointError, MissingExtra
from plait.model.pretrained import source
from plait.model.pretrained.source import find_checkpoint, is_reference

CONFIG = b'{"model_type": "bert"}'
WEIGHTS = save({"weight": torch.ones(3)})
FILES = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
}
NAME = "someone/model"
KINDS = (
    " An encoder is a name of plait's own (`plait encoders` lists them), hf:owner/name, pip:name, or a "
    "folder with config.json and model.safetensors."
)


def refused(reference: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(reference)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:a/b", True), ("pip:a", True), ("./a", True), ("../a", True), ("~/a", True), ("/a", True),
        ("a/b", True), ("resnet", False), ("vit", False), ("hf", False),
    ],
)  # fmt: skip
def test_what_is_a_reference(name: str, expected: bool) -> None:
    assert is_reference(name) is expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my-bert"
    made.mkdir()
    for name, data in FILES.items():
        (made / name).write_bytes(data)
    return made


def test_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_checkpoint(str(folder))
    assert found.reference == str(folder) and found.folder == folder
    assert found.config == {"model_type": "bert"} and len(found.digest) == 64
    assert (found.revision, found.licence) == ("", "apache-2.0")
    assert found.summary == f"{folder} (apache-2.0)"
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    for written in ("./my-bert", "my-bert/", "~/my-bert"):
        assert find_checkpoint(written).reference == str(folder)
    (folder / "README.md").unlink()
    assert find_checkpoint("./my-bert").summary == f"{folder} (licence not stated)"


def test_folders_that_are_none(folder: Path, tmp_path: Path) -> None:
    missing, file = tmp_path / "nowhere", folder / "config.json"
    assert refused(str(missing)) == f"'{missing}' does not exist.{KINDS}"
    assert refused(str(file)) == f"'{file}' is a file, not a folder.{KINDS}"
    assert (
        refused("google/vit") == f"'google/vit' does not exist. Did you mean hf:google/vit?{KINDS}"
    )
    assert refused("./google/vit") == f"'./google/vit' does not exist.{KINDS}"
    (folder / "config.json").unlink()
    assert refused(str(folder)) == (
        f"{folder} is not a checkpoint: its folder has no config.json (it holds README.md, "
        "model.safetensors, tokenizer.json). Name the folder that `save_pretrained` wrote."
    )


def test_without_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    for reference in (str(folder), "hf:a/b"):
        with pytest.raises(MissingExtra) as caught:
            find_checkpoint(reference)
        assert str(caught.value) == (
            f"the encoder '{reference}' needs the package transformers, which is not installed.\n"
            'Install it with:  pip install "plait[pretrained]"'
        )
