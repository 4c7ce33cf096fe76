"""Checkpoints: what goes in comes out, and a kill leaves something whole."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from plait.errors import BundleError
from plait.training import checkpoint
from plait.training.checkpoint import load_state, save_state

STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor(3)},
    "numbers": {0: {"step": torch.tensor(2.0)}, 1: {}},
    "list": [1, 2.5, None, "x", True, [torch.ones(1, dtype=torch.bfloat16)]],
    "pair": (0.9, 0.999),
    "tensor": "a word that is also a mark",
    "items": {"tensor": {"items": []}},
    "nan": float("nan"),
    "tiny": 0.1 + 0.2,
    "empty": {},
}


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def test_nested_state_comes_back(tmp_path):
    save_state(tmp_path / "deep" / "folder", STATE)
    assert same(STATE, load_state(tmp_path / "deep" / "folder"))


def test_state_without_a_tensor_comes_back(tmp_path):
    save_state(tmp_path, {"epoch": 3})
    assert load_state(tmp_path) == {"epoch": 3}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_an_optimizer_goes_on_as_if_nothing_happened(tmp_path, kind):
    def step(model, optimizer):
        torch.manual_seed(1)
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    options = {"momentum": 0.9} if kind is not torch.optim.AdamW else {}
    optimizer = kind(model.parameters(), lr=0.01, **options)
    step(model, optimizer)
    save_state(tmp_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    twin = nn.Linear(3, 2)
    other = kind(twin.parameters(), lr=0.5, **options)
    state = load_state(tmp_path)
    twin.load_state_dict(state["model"])
    other.load_state_dict(state["optimizer"])
    step(model, optimizer)
    step(twin, other)
    assert torch.equal(model.weight, twin.weight)


def test_tensors_that_share_memory_are_saved_each(tmp_path):
    base = torch.arange(4.0)
    save_state(tmp_path, {"whole": base, "part": base[1:3], "turned": base.reshape(2, 2).t()})
    found = load_state(tmp_path)
    assert found["part"].tolist() == [1, 2]
    assert found["turned"].tolist() == [[0, 2], [1, 3]]


def test_nothing_saved_is_none(tmp_path):
    assert load_state(tmp_path) is None
    assert load_state(tmp_path / "none") is None


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path):
    for epoch in range(3):
        save_state(tmp_path, {"epoch": epoch, "weight": torch.tensor(epoch)})
    assert load_state(tmp_path)["epoch"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "state.json",
        "tensors-3.safetensors",
    ]


@pytest.mark.parametrize("moment", ["tensors", "draft", "replace", "unlink"])
def test_a_kill_between_writes_leaves_a_whole_state(tmp_path, monkeypatch, moment):
    save_state(tmp_path, {"epoch": 1, "weight": torch.ones(2)})

    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    where = {
        "tensors": (checkpoint, "save_file"),
        "draft": (checkpoint, "write_whole"),
        "replace": (Path, "replace"),
        "unlink": (Path, "unlink"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*where[moment], kill)
        with pytest.raises(Killed):
            save_state(tmp_path, {"epoch": 2, "weight": torch.zeros(2)})
    after = 2 if moment == "unlink" else 1
    found = load_state(tmp_path)
    assert (found["epoch"], found["weight"].tolist()) == (after, [2.0 - after] * 2)
    save_state(tmp_path, {"epoch": 3})
    assert load_state(tmp_path) == {"epoch": 3}
    assert len(list(tmp_path.glob("tensors-*"))) == 1


def damage_cut_tensors(folder):
    path = next(folder.glob("tensors-*"))
    path.write_bytes(path.read_bytes()[:-3])


def damage_cut_json(folder):
    path = folder / "state.json"
    path.write_text(path.read_text()[:-3])


def damage_no_tensors(folder):
    next(folder.glob("tensors-*")).unlink()


def damage_no_tree(folder):
    (folder / "state.json").write_text('{"number": 1}')


def damage_other_json(folder):
    (folder / "state.json").write_text("[]")


def damage_wrong_name(folder):
    path = folder / "state.json"
    path.write_text(path.read_text().replace('{"tensor": "0"}', '{"tensor": "99"}'))


def damage_bytes(folder):
    (folder / "state.json").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "damage",
    [
        damage_cut_tensors,
        damage_cut_json,
        damage_no_tensors,
        damage_no_tree,
        damage_other_json,
        damage_wrong_name,
        damage_bytes,
    ],
)
def test_a_damaged_checkpoint_is_said_in_words(tmp_path, damage):
    save_state(tmp_path, STATE)
    damage(tmp_path)
    with pytest.raises(BundleError) as caught:
        load_state(tmp_path)
    assert str(caught.value).startswith(f"the checkpoint in {tmp_path} is damaged (")
    assert str(caught.value).endswith("). Delete that folder to start again.")
    save_state(tmp_path, {"epoch": 1})  # starting anew over it works all the same
    assert load_state(tmp_path) == {"epoch": 1}


def test_a_full_disk_is_said_in_words_and_keeps_the_old_state(tmp_path, monkeypatch):
    save_state(tmp_path, {"epoch": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(BundleError) as caught:
            save_state(tmp_path, {"epoch": 2})
    assert str(caught.value) == (
        f"the checkpoint could not be saved to {tmp_path}: No space left on device. The previous one "
        "is intact. Free some space, then continue with --resume."
    )
    assert load_state(tmp_path) == {"epoch": 1}


def test_there_is_no_pickle(tmp_path):
    save_state(tmp_path, STATE)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    json.loads((tmp_path / "state.json").read_text())
