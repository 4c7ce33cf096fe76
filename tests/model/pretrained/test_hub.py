"""The Hugging Face hub: its cache, offline and half filled, and the hub itself with every way to miss."""

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from httpx2 import ProxyError
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, XetDownloadError
from loopback_hub import COMMIT, NEXT, Hub, Repository, lay, serve
from safetensors.torch import save

from plait.errors import CheckpointError
from plait.model.pretrained.source import Checkpoint, find_checkpoint

CONFIG = b'{"model_type": "bert"}'
WEIGHTS = save({"weight": torch.ones(3)})
FILES = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
}
NAME = "someone/model"


def refused(reference: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(reference)
    return str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b/c", "-a/b", "a b", "a/b.git", "a//b"])
def test_names_the_hub_does_not_have(name: str) -> None:
    assert refused(f"hf:{name}") == (
        f"'hf:{name}' is not the name of a repository: write hf:owner/name or hf:owner/name@revision, as "
        "hf:google/siglip2-base-patch16-224."
    )


@pytest.mark.parametrize("revision", ["../../config", "/etc/passwd", "a b", "-x", "a@b"])
def test_revisions_that_are_none(revision: str) -> None:
    assert refused(f"hf:a/b@{revision}") == (
        f"'hf:a/b@{revision}': '{revision}' is not a revision; write a branch, a tag or a commit after @."
    )


# The hub's cache, offline


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and HF_HUB_OFFLINE=1."""
    folder = tmp_path / "home" / "hub"
    folder.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def elsewhere(cache: Path, revision: str = "") -> str:
    return (
        f"Fetch it on a machine with a network (`hf download {NAME}{revision}`), copy the folder "
        f"models--someone--model of its cache into {cache} here, or copy the files into any folder and "
        "name that folder as the encoder."
    )


def test_offline_from_the_cache(cache: Path) -> None:
    snapshot = lay(cache, NAME, FILES)
    lay(cache, NAME, {**FILES, "model.safetensors": save({"weight": torch.zeros(3)})}, commit=NEXT)
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    (snapshot.parents[1] / "refs" / "next").write_text(NEXT)
    found = find_checkpoint(f"hf:{NAME}")
    assert found == Checkpoint(
        f"hf:{NAME}", snapshot, {"model_type": "bert"}, found.digest, COMMIT, "apache-2.0"
    )
    assert found.summary == f"hf:{NAME} (revision {COMMIT[:12]}, apache-2.0)"
    for revision, commit in [
        ("main", COMMIT), (COMMIT, COMMIT), (COMMIT[:12], COMMIT),
        ("next", NEXT), (NEXT, NEXT), (NEXT[:7], NEXT),
    ]:  # fmt: skip
        assert find_checkpoint(f"hf:{NAME}@{revision}").revision == commit
    assert find_checkpoint(f"hf:{NAME}@next").digest != found.digest


def test_offline_and_not_there(cache: Path) -> None:
    told = f"is not in {cache}, and HF_HUB_OFFLINE forbids to fetch it. "
    assert refused(f"hf:{NAME}") == f"'hf:{NAME}' {told}{elsewhere(cache)}"
    lay(cache, NAME, FILES)
    for revision in ("other", NEXT, NEXT[:12]):
        assert refused(f"hf:{NAME}@{revision}") == (
            f"'hf:{NAME}@{revision}' {told}{elsewhere(cache, f' --revision {revision}')}"
        )


def test_offline_and_half_there(cache: Path) -> None:
    """By what the snapshot lacks when nothing else is known, and by the list of files where it was kept."""
    snapshot = lay(cache, NAME, {"config.json": CONFIG})
    assert refused(f"hf:{NAME}") == (
        f"hf:{NAME} in {snapshot} has no weights: there is no model.safetensors."
    )
    (snapshot / "model.safetensors").symlink_to("../../blobs/gone")
    assert "has no weights" in refused(f"hf:{NAME}")
    trees = snapshot.parents[1] / "trees"
    trees.mkdir()
    listed = {
        path: {"size": 3, "blob_id": "0" * 40}
        for path in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "pytorch_model.bin",
            "on/x.json",
        )
    }
    (trees / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": listed}))
    assert refused(f"hf:{NAME}") == (
        f"'hf:{NAME}' is in {cache} only in part: model.safetensors, tokenizer.json is missing, and "
        f"HF_HUB_OFFLINE forbids to fetch it. {elsewhere(cache)}"
    )


# The hub online


class Online:
    """A hub, an empty cache, and what was told."""

    def __init__(self, hub: Hub, cache: Path, server: Any) -> None:
        self.hub, self.cache, self.server = hub, cache, server
        self.told: list[str] = []

    def find(self, reference: str = f"hf:{NAME}") -> Checkpoint:
        return find_checkpoint(reference, note=self.told.append)

    def refused(self, reference: str = f"hf:{NAME}") -> str:
        with pytest.raises(CheckpointError) as caught:
            self.find(reference)
        return str(caught.value)


@pytest.fixture
def online(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Online]:
    hub = Hub({NAME: Repository(dict(FILES))})
    server = serve(hub)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    huggingface_hub.close_session()
    yield Online(hub, cache, server)
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


EXTRA = {
    "pytorch_model.bin": b"\x80\x04.",
    "modeling.py": b"raise SystemExit",
    "onnx/model.safetensors": b"1",
    "onnx/config.json": b"{}",
    "vocab.txt": b"a\nb",
}


def test_fetching(online: Online, capfd: pytest.CaptureFixture[str]) -> None:
    online.hub.repositories[NAME].files |= EXTRA
    found = online.find()
    assert found.revision == COMMIT and found.licence == "apache-2.0"
    assert found.reference == f"hf:{NAME}" and found.config == {"model_type": "bert"}
    assert found.folder == online.cache / "models--someone--model" / "snapshots" / COMMIT
    expected = {*FILES, "vocab.txt"}
    assert {path.name for path in found.folder.iterdir()} == expected == online.hub.fetched
    assert online.told == [f"fetching hf:{NAME}: 0.0 MB in 5 files, to {online.cache}"]
    assert capfd.readouterr() == ("", "")

    online.hub.asked.clear()
    assert online.find() == found
    assert len(online.told) == 1 and online.hub.fetched == set()


def test_the_size_is_told_before_anything_is_fetched(online: Online) -> None:
    files = online.hub.repositories[NAME].files
    files["model.safetensors"] = save({"weight": torch.zeros(600_000)})

    def note(text: str) -> None:
        assert online.hub.fetched == set()
        online.told.append(text)

    find_checkpoint(f"hf:{NAME}", note=note)
    assert online.told == [f"fetching hf:{NAME}: 2.4 MB in 4 files, to {online.cache}"]
    files["vocab.txt"] = b"new"
    online.hub.repositories[NAME].commit = NEXT
    assert online.find().revision == NEXT
    assert online.told[1] == f"fetching hf:{NAME}: 0.0 MB in 1 file, to {online.cache}"


def test_what_was_fetched_serves_offline(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the repository has a pickle that was left there."""
    online.hub.repositories[NAME].files |= EXTRA
    found = online.find()
    asked = len(online.hub.asked)
    assert online.find(f"hf:{NAME}@{COMMIT}") == online.find(f"hf:{NAME}@{COMMIT[:8]}") == found
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert online.find() == found
    assert len(online.hub.asked) == asked and len(online.told) == 1


def test_by_branch_and_by_commit(online: Online) -> None:
    online.hub.repositories[NAME].branches = ("main", "refs/pr/3", "v1.0")
    for revision in (COMMIT, "v1.0", "refs/pr/3"):
        assert online.find(f"hf:{NAME}@{revision}").revision == COMMIT
    assert len(online.told) == 1


def test_no_safetensors_on_the_hub(online: Online) -> None:
    online.hub.repositories[NAME].files = {"config.json": CONFIG, "pytorch_model.bin": b"\x80\x04."}
    assert online.refused() == (
        f"'hf:{NAME}' has no model.safetensors on the hub. Weights of another kind can run code when "
        "opened, and are not fetched. Convert it on a machine you can lose: "
        "AutoModel.from_pretrained(...).save_pretrained(...) writes model.safetensors."
    )
    assert online.hub.fetched == set() and online.told == []


@pytest.mark.parametrize("gate", ["files", "all"])
def test_gated(online: Online, gate: str) -> None:
    online.hub.repositories[NAME].gate = gate
    assert online.refused() == (
        f"'hf:{NAME}' is gated: accept its terms at https://huggingface.co/{NAME}, then log in with "
        "`hf auth login`."
    )


def test_gated_later(online: Online) -> None:
    found = online.find()
    online.hub.repositories[NAME].gate = "all"
    assert online.find() == found
    assert online.told[1].startswith("the hub refused (403 Client Error")
    assert online.told[1].endswith(f"; hf:{NAME} is taken from {online.cache}")


def test_no_such_repository(online: Online) -> None:
    assert online.refused("hf:nobody/nothing") == (
        "the hub has no repository 'nobody/nothing', or it is private. Check the name at "
        "https://huggingface.co/models, or log in with `hf auth login`."
    )


def test_no_such_revision(online: Online) -> None:
    online.find()
    assert online.refused(f"hf:{NAME}@v9") == f"{NAME} has no revision 'v9' on the hub."
    assert online.refused(f"hf:{NAME}@{NEXT}") == f"{NAME} has no revision '{NEXT}' on the hub."


def test_a_hub_out_of_order(online: Online) -> None:
    online.hub.failing = True
    told = online.refused()
    assert told.startswith(
        f"'hf:{NAME}' is not in {online.cache}, and the hub refused (Server error '500 Internal Server"
    )
    assert told.endswith(elsewhere(online.cache))
    online.hub.failing = False
    found = online.find()
    online.hub.failing = True
    assert online.find() == found and online.told[1].startswith(
        "the hub refused (Server error '500"
    )


def test_no_hub(online: Online) -> None:
    found = online.find()
    online.server.shutdown()
    online.server.server_close()
    assert online.find() == found
    reason = "the hub could not be reached ([Errno 111] Connection refused)"
    assert online.told[1:] == [f"{reason}; hf:{NAME} is taken from {online.cache}"]
    shutil.rmtree(found.folder.parents[1])
    assert (
        online.refused()
        == f"'hf:{NAME}' is not in {online.cache}, and {reason}. {elsewhere(online.cache)}"
    )


def test_broken_off_and_taken_up(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        time, "sleep", lambda seconds: None
    )  # the library tries again after a while
    online.hub.repositories[NAME].files["model.safetensors"] = save({"weight": torch.zeros(99_999)})
    online.hub.repositories[NAME].broken = "model.safetensors"
    told = online.refused()
    assert told.startswith(
        f"'hf:{NAME}' is in {online.cache} only in part: model.safetensors is missing, and the hub could "
        "not be reached ("
    )
    online.hub.repositories[NAME].broken = ""
    online.hub.asked.clear()
    assert online.find().revision == COMMIT
    assert online.hub.fetched == {"model.safetensors"}


@pytest.mark.parametrize("reason", [ProxyError("no way out"), XetDownloadError("no way out")])
def test_other_failures(online: Online, monkeypatch: pytest.MonkeyPatch, reason: Exception) -> None:
    """Of a proxy, and of the other protocol, neither of which this hub has."""

    def fails(*args: object, local_files_only: bool = False, **named: object) -> object:
        raise LocalEntryNotFoundError("") if local_files_only else reason

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    assert online.refused() == (
        f"'hf:{NAME}' is not in {online.cache}, and the hub could not be reached (no way out). "
        f"{elsewhere(online.cache)}"
    )


def test_a_full_disk(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = huggingface_hub.snapshot_download

    def fails(*args: Any, dry_run: bool = False, **named: Any) -> Any:
        if dry_run:
            return whole(*args, dry_run=True, **named)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    assert online.refused() == (
        f"'hf:{NAME}' cannot be written to {online.cache}: No space left on device. Make room there, or "
        "set HF_HOME to a folder elsewhere, and run again; files that came whole are kept."
    )


def test_bars_and_log_lines(
    online: Online, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bars for a person while something is fetched, no words of the library, and all as before."""
    from huggingface_hub.utils import are_progress_bars_disabled, logging

    before = logging.get_verbosity(), are_progress_bars_disabled()
    online.find()
    online.refused("hf:nobody/nothing")
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    online.hub.repositories[NAME].commit = NEXT
    online.hub.repositories[NAME].files["vocab.txt"] = b"new"
    online.find()
    assert "Fetching 5 files" in capfd.readouterr().err
    assert (logging.get_verbosity(), are_progress_bars_disabled()) == before
