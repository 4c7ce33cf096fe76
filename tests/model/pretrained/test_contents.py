"""What a checkpoint's folder must hold, what it must not, and the words that say so."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from plait.errors import CheckpointError
from plait.model.pretrained import contents
from plait.model.pretrained.contents import check_folder, digest, licence, read_json, weight_files

HOW = "Name the folder that `save_pretrained` wrote."
AGAIN = "Fetch the checkpoint again."
BROKEN = (
    "mine: model.safetensors is damaged or was not downloaded whole. Delete it and fetch it again."
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that passes: a configuration and one weight."""
    made = tmp_path / "checkpoint"
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    save_file({"weight": torch.ones(3)}, made / "model.safetensors")
    return made


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_folder(folder, "mine")
    return str(caught.value)


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def test_a_whole_folder_gives_its_configuration(folder: Path) -> None:
    write(folder / "tokenizer_config.json", {"auto_map": {}, "extra": [1, {"auto_map": None}]})
    write(folder / "data_config.json", [{"name": "what it was trained on"}])
    assert check_folder(folder, "mine") == {"model_type": "bert", "hidden_size": 8}
    write(folder / "config.json", {"architecture": "resnet18"})
    assert check_folder(folder, "mine") == {"architecture": "resnet18"}


def test_links_inside_are_fine_as_the_hub_makes_them(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    assert check_folder(linked, "mine") == check_folder(folder, "mine")
    assert digest(linked) == digest(folder)


def test_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").unlink()
    for name in "abcdefg":
        (folder / f"{name}.txt").touch()
    assert refused(folder) == (
        "mine is not a checkpoint: its folder has no config.json (it holds a.txt, b.txt, c.txt, d.txt, "
        f"e.txt, f.txt). {HOW}"
    )
    nothing = f"mine is not a checkpoint: its folder has no config.json (it holds nothing). {HOW}"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == nothing
    assert refused(tmp_path / "nowhere") == nothing


@pytest.mark.parametrize("whole", [True, False], ids=["with a model", "alone"])
def test_an_adapter(folder: Path, whole: bool) -> None:
    write(folder / "adapter_config.json", {"base_model_name_or_path": "nobody/nothing"})
    if not whole:
        (folder / "config.json").unlink()
    assert refused(folder) == (
        "mine is an adapter, not a model: its folder has adapter_config.json, so its weights belong "
        "beside those of another checkpoint. Name that one and tune it anew (--tune text=lora), or merge "
        "both with peft: merge_and_unload(), then save_pretrained(...)."
    )


def test_transformers_would_follow_an_adapter(folder: Path) -> None:
    """Why such a folder is refused: from_pretrained loads what stands beside the model, or another one."""
    from transformers.integrations.peft import maybe_load_adapters

    write(folder / "adapter_config.json", {"base_model_name_or_path": "nobody/nothing"})
    adapter, base, _ = maybe_load_adapters(str(folder), {"local_files_only": True})
    assert (adapter, base) == (str(folder), str(folder))
    (folder / "config.json").unlink()
    adapter, base, _ = maybe_load_adapters(str(folder), {"local_files_only": True})
    assert (adapter, base) == (str(folder), "nobody/nothing")


def deep(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = {"inner": value} if level % 2 else [0, value]
    return value


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("config.json", {"model_type": "bert", "auto_map": {"AutoModel": "mine.Model"}}),
        ("config.json", {"model_type": "clip", "text_config": {"auto_map": {"AutoModel": "a.B"}}}),
        ("config.json", {"model_type": "a", "b": deep({"auto_map": {"c": "d"}}, 600)}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["mine.Own", None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "mine.Own"}}),
        ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": "mine.Own"}}),
    ],
)
def test_code(folder: Path, file: str, value: Any) -> None:
    write(folder / file, value)
    assert refused(folder) == (
        f"mine comes with Python code of its own ({file} names it under 'auto_map'), and plait runs no "
        "code from checkpoints. Take a checkpoint whose model is part of transformers, or convert it on "
        "a machine you can lose."
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"hidden_size": 8}, "mine: config.json names no model_type, so no model can be built."),
        (
            {"model_type": "bert", "text_config": {"quantization_config": {"quant_method": "gptq"}}},
            "mine is quantized (config.json has a quantization_config), which plait cannot read. Take "
            "the checkpoint it was made from.",
        ),
        (
            {"model_type": "bert", "transformers_weights": "adapter_model.bin"},
            "mine: config.json names its weights' file itself (transformers_weights), and plait opens "
            "model.safetensors alone. Load it with transformers and write it with save_pretrained(...).",
        ),
        ([1], f"mine: config.json holds a list, expected a JSON object. {AGAIN}"),
    ],
)  # fmt: skip
def test_configurations_that_are_refused(folder: Path, value: Any, message: str) -> None:
    write(folder / "config.json", value)
    assert refused(folder) == message


def test_json_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "config.json"
    start = "mine: config.json cannot be read as JSON ("
    for data, reason in [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (
            b'{"a": "\xff"}',
            "'utf-8' codec can't decode byte 0xff in position 7: invalid start byte",
        ),
    ]:
        path.write_bytes(data)
        assert refused(folder) == f"{start}{reason}). {AGAIN}"
    path.write_text("[" * 100_000)
    told = refused(folder)
    assert told.startswith(f"{start}maximum recursion depth exceeded") and told.endswith(AGAIN)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} cannot be read as JSON ([Errno 21] Is a directory")
    path.rmdir()
    assert contents.read_json_if_there(path) is None
    monkeypatch.setattr(contents, "MAX_JSON_BYTES", 2 << 20)
    path.write_text(" " * (2 << 20) + "{}")
    assert refused(folder) == "mine: config.json is larger than 2 MiB, so it is not read."


def test_pickles_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refused(folder) == "mine has no weights: there is no model.safetensors."
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "model.pt").write_bytes(b"\x80\x04.")
    assert refused(folder) == (
        "mine has its weights as model.pt, pytorch_model.bin only, a kind of file that can run code when "
        "opened; plait loads safetensors alone. Convert it on a machine you can lose: "
        "AutoModel.from_pretrained(...).save_pretrained(...) writes model.safetensors."
    )


@pytest.fixture
def shards(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}
    write(folder / "model.safetensors.index.json", {"weight_map": names})
    save_file({"a": torch.ones(2)}, folder / "model-1.safetensors")
    save_file({"b": torch.ones(2), "c": torch.zeros(1)}, folder / "model-2.safetensors")
    return folder


def test_shards(shards: Path) -> None:
    assert check_folder(shards, "mine")["model_type"] == "bert"
    assert [path.name for path in weight_files(shards)] == [
        "model-1.safetensors",
        "model-2.safetensors",
    ]
    (shards / "model-2.safetensors").unlink()
    told = (
        "mine is incomplete: {} is not there, though model.safetensors.index.json names it. Fetch it "
        "again."
    )
    assert refused(shards) == told.format("model-2.safetensors")
    (shards / "model-1.safetensors").unlink()
    assert refused(shards) == told.format("model-1.safetensors, model-2.safetensors")
    for nothing in ({}, {"weight_map": {}}, {"weight_map": 3}):
        write(shards / "model.safetensors.index.json", nothing)
        assert refused(shards) == told.format("every shard")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "weights.bin", 3])
def test_shards_elsewhere(shards: Path, name: Any) -> None:
    write(shards / "model.safetensors.index.json", {"weight_map": {"a": name}})
    assert refused(shards) == (
        f"{shards / 'model.safetensors.index.json'} names '{name}', which is not a safetensors file beside "
        f"it. {AGAIN}"
    )


def test_a_file_cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for keep in (0, 4, 8, 20, len(whole) - 1):
        path.write_bytes(whole[:keep])
        assert refused(folder) == BROKEN
    path.write_bytes(whole + b"\0")
    assert refused(folder) == BROKEN


@pytest.mark.parametrize(
    "head",
    [
        b"{",
        b"[]",
        b'{"weight": 3}',
        b'{"weight": {}}',
        b'{"weight": {"data_offsets": [0]}}',
        b'{"weight": {"data_offsets": [0, "12"]}}',
        b'{"weight": {"data_offsets": [0, 99]}}',
        b'{"weight": {"data_offsets": [0, NaN]}}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
)
def test_a_head_that_lies(folder: Path, head: bytes) -> None:
    data = len(head).to_bytes(8, "little") + head + b"\0" * 12
    (folder / "model.safetensors").write_bytes(data)
    assert refused(folder) == BROKEN


def test_a_head_that_claims_to_be_huge(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    assert refused(folder) == BROKEN


def test_digests(folder: Path, tmp_path: Path) -> None:
    path = folder / "model.safetensors"

    def once(*names: str) -> str:
        return hashlib.sha256("".join(names).encode()).hexdigest()

    own = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest(folder) == once(own)

    # A link into a hub's cache is named by its target; a file elsewhere is read, whatever its name.
    name = "0" * 64
    for place, expected in (("blobs", name), ("other", own)):
        (tmp_path / place).mkdir()
        (tmp_path / place / name).write_bytes(path.read_bytes())
        linked = tmp_path / f"linked-{place}"
        linked.mkdir()
        (linked / "model.safetensors").symlink_to(tmp_path / place / name)
        assert digest(linked) == once(expected)

    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "a.pth").write_bytes(b"weights")
    assert digest(pickled) == once(hashlib.sha256(b"weights").hexdigest())


def test_digests_tell_shards_apart(shards: Path) -> None:
    before = digest(shards)
    save_file({"a": torch.zeros(2)}, shards / "model-1.safetensors")
    assert digest(shards) != before


CARD: Callable[[str], str] = (
    "---\nlanguage: en\n{}\ntags:\n- a\n---\n# A model\nlicense: no\n".format
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CARD("license: apache-2.0"), "apache-2.0"),
        (CARD('license: "mit"').replace("\n", "\r\n"), "mit"),
        (CARD("license: other\nlicense_name: own-licence"), "own-licence"),
        (CARD("license: other"), "other"),
        (CARD("license:\n- mit"), ""),
        (CARD("author: me"), ""),
        ("# A model\nlicense: mit\n", ""),
        ("---\nlicense: mit\n", ""),
    ],
)  # fmt: skip
def test_licences(tmp_path: Path, text: str, expected: str) -> None:
    assert licence(tmp_path) == ""
    (tmp_path / "README.md").write_bytes(text.encode())
    assert licence(tmp_path) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 100_000},
        {"vision_config": {"num_hidden_layers": 100_000}},
        {"n_layer": 100_000},
    ],
)
def test_more_layers_than_there_are_tensors(folder: Path, config: dict[str, Any]) -> None:
    """Building such a model would take minutes before anything was found wrong."""
    write(folder / "config.json", {"model_type": "bert", **config})
    assert refused(folder) == (
        "mine: config.json asks for 100000 layers, and the weights hold 1 tensors in all. The two files "
        "should be of one checkpoint; fetch both again."
    )
