"""A bundle is read without running anything in it, and a damaged one is refused in words."""

import errno
import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import plait
from plait import sealed
from plait.errors import BundleError, UnregisteredError


@pytest.fixture
def copy(plain_run, tmp_path):
    """A copy of a saved model, to be damaged."""
    folder = tmp_path / "run"
    shutil.copytree(plain_run[1], folder)
    return folder


def _manifest(folder, **changes):
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _rewrite(folder, name, data):
    """Replace a file and its hash, as one who means harm would."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "bundle.json").read_text())["files"]
    _manifest(folder, files={**files, name: hashlib.sha256(data).hexdigest()})


class _Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_manifest_names_every_file_by_its_hash(copy):
    manifest = json.loads((copy / "bundle.json").read_text())
    assert manifest["format"] == 1
    assert manifest["plait"] == plait.__version__
    there = {path.name for path in copy.iterdir() if path.is_file()} - {"bundle.json"}
    assert set(manifest["files"]) == there
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((copy / name).read_bytes()).hexdigest() == digest
    assert plait.load(copy).verify() == 0.0


def test_a_bundle_moves_and_needs_no_training_folder(copy, plain_run, maker):
    shutil.rmtree(copy / "training")
    moved = copy.rename(copy.parent / "elsewhere")
    rows = maker.plain(6)
    np.testing.assert_array_equal(
        plait.load(moved).predict_proba(rows), plain_run[0].predict_proba(rows)
    )
    assert plait.load(str(moved)).history == plain_run[0].history


@pytest.mark.parametrize("name", ["model.safetensors", "targets.json", "README.md", "golden.json"])
def test_a_flipped_byte(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(
        BundleError, match=rf"{name} was changed or damaged after the bundle was saved: its SHA-256"
    ):
        plait.load(copy)


def test_a_newer_format(copy):
    _manifest(copy, format=2, plait="9.9")
    with pytest.raises(
        BundleError,
        match=r"has format 2, made by plait 9.9; this plait reads up to format 1. Upgrade plait: "
        r"pip install --upgrade plait",
    ):
        plait.load(copy)


@pytest.mark.parametrize("name", ["extra.pkl", "model.pt", "weights.BIN", "array.npy"])
def test_a_pickle_beside_it(copy, name):
    (copy / name).write_bytes(pickle.dumps(_Harm(copy / "harmed")))
    with pytest.raises(
        BundleError, match=rf"holds '{name}'. A bundle is JSON and safetensors; .* run code"
    ):
        plait.load(copy)
    assert not (copy / "harmed").exists()


def test_weights_that_are_a_pickle_by_another_name(copy):
    _rewrite(copy, "model.safetensors", pickle.dumps(_Harm(copy / "harmed")))
    with pytest.raises(
        BundleError, match="is not a safetensors file .*; plait opens no other format"
    ):
        plait.load(copy)
    assert not (copy / "harmed").exists()


def test_a_missing_file(copy):
    (copy / "schema.json").unlink()
    with pytest.raises(BundleError, match="lacks the file schema.json, or it is a link"):
        plait.load(copy)


def test_a_file_that_is_not_listed_is_asked_for(copy):
    files = json.loads((copy / "bundle.json").read_text())["files"]
    del files["targets.json"], files["model.safetensors"]
    _manifest(copy, files=files)
    with pytest.raises(BundleError, match="lacks targets.json, model.safetensors"):
        plait.load(copy)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd.json", "a/b.json", "..", "run.py", "x.pkl", ""]
)
def test_a_path_out_of_the_folder_or_a_foreign_kind(copy, name):
    (copy.parent / "secret.json").write_text("{}")
    files = json.loads((copy / "bundle.json").read_text())["files"]
    _manifest(copy, files={**files, name: hashlib.sha256(b"{}").hexdigest()})
    with pytest.raises(BundleError, match=rf"lists '{name}', which no bundle may hold"):
        plait.load(copy)


def test_a_link(copy):
    (copy / "schema.json").rename(copy.parent / "schema.json")
    (copy / "schema.json").symlink_to(copy.parent / "schema.json")
    with pytest.raises(BundleError, match="lacks the file schema.json, or it is a link"):
        plait.load(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "bundle.json is not valid JSON: "),
        ("[" * 100_000, "bundle.json is not valid JSON: "),
        ("[]", "is damaged: it names no format version"),
        ('{"format": "1"}', "is damaged: it names no format version"),
        ('{"format": 1}', "is damaged: it lists no files"),
        ('{"format": 1, "files": ["config.json"]}', "is damaged: it lists no files"),
        (
            "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
            "bundle.json is not valid JSON: ",
        ),
    ],
)
def test_a_damaged_manifest(copy, text, message):
    (copy / "bundle.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=message):
        plait.load(copy)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("config.json", b'{"presett": "fast"}'),
        ("config.json", b'{"preset": "huge"}'),
        ("config.json", b"[]"),
        ("schema.json", b"{}"),
        ("schema.json", b"null"),
        ("preprocessing.json", b'{"modalities": {"note": "text"}, "states": {"note": {}}}'),
        ("preprocessing.json", b"[]"),
        ("architecture.json", b"{}"),
        ("targets.json", b"[]"),
        ("targets.json", b'["label"]'),
        ("targets.json", b'[{"name": "label", "kind": "multiclass", "classes": ["a"]}]'),
        ("golden.json", b"[1]"),
        ("quarantine.json", b"[[1]]"),
    ],
)
def test_documents_that_are_json_and_no_model(copy, name, data):
    _rewrite(copy, name, data)
    with pytest.raises(BundleError, match=rf"the bundle {copy} is inconsistent: "):
        plait.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"encoders": {"tabular": "tokens"}},
        {"streams": {"note": []}},
        {"streams": {"note": ["nothing"], "tabular": ["price", "shop"]}},
        {"width": 128},
        {"width": "64"},
    ],
)
def test_an_architecture_that_does_not_fit(copy, change):
    plan = json.loads((copy / "architecture.json").read_text())
    _rewrite(copy, "architecture.json", json.dumps({**plan, **change}).encode())
    with pytest.raises(BundleError, match="is inconsistent: "):
        plait.load(copy)


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("architecture.json", {"fusion": "telepathy"}, "fusion 'telepathy'"),
        ("architecture.json", {"encoders": {"note": "os.system"}}, "text encoder 'os.system'"),
        ("preprocessing.json", {"modalities": {"note": "hologram"}}, "modality 'hologram'"),
    ],
)
def test_a_part_that_nobody_registered_is_named(copy, name, change, part):
    document = json.loads((copy / name).read_text())
    _rewrite(copy, name, json.dumps({**document, **change}).encode())
    with pytest.raises(UnregisteredError) as caught:
        plait.load(copy)
    assert str(caught.value) == (
        f"the bundle {copy} was made with {part}, which is not registered here: "
        "plait.register it, or install the package that brings it."
    )


def test_no_bundle_there(tmp_path, copy):
    with pytest.raises(
        BundleError, match=r"nowhere is not a plait bundle: .* There is no such folder"
    ):
        plait.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is not a plait bundle: it has no bundle.json"):
        plait.load(tmp_path)
    with pytest.raises(BundleError, match="is not a plait bundle: it has no bundle.json"):
        plait.load(copy / "README.md")
    (copy / "bundle.json").unlink()
    with pytest.raises(BundleError, match="has not finished; continue it with --resume"):
        plait.load(copy)


def test_a_full_disk_leaves_the_earlier_bundle_as_it_was(copy, plain_run, maker, monkeypatch):
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    put, left = sealed.write_whole, iter(range(4))

    def full(path, data):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        put(path, data)

    monkeypatch.setattr(sealed, "write_whole", full)
    with pytest.raises(
        BundleError,
        match=r"the bundle could not be saved to .*run: No space left on device. No part of it was kept. "
        "Free some space or name another folder; a fit continues from its last checkpoint with --resume",
    ):
        plain_run[0].save(copy)
    after = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    assert after == before
    assert not list(copy.glob(".new-*"))
    monkeypatch.undo()
    assert plait.load(copy).verify() == 0.0


def test_a_real_limit_on_file_size_is_a_message_too(copy, tmp_path):
    """The kernel refuses the weights; a fresh process, for the limit cannot be taken back."""
    code = (
        "import sys, plait\n"
        "from plait.errors import BundleError\n"
        "model = plait.load(sys.argv[1])\n"
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: model.save(sys.argv[2])\n"
        "except BundleError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(copy), str(tmp_path / "new")],
        capture_output=True,
        text=True,
        timeout=120,
        # Coverage could not write its own file either.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )
    assert done.returncode == 0, done.stderr
    assert "could not be saved to" in done.stdout
    assert "File too large. No part of it was kept" in done.stdout
    assert not (tmp_path / "new").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000


def test_a_folder_that_is_a_file(plain_run, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BundleError, match="could not be saved: '.*file' is a file; name a folder"):
        plain_run[0].save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_loading_imports_and_runs_nothing_from_the_bundle(copy, monkeypatch):
    (copy / "torch.py").write_text("raise SystemExit('ran')")
    (copy / "sitecustomize.py").write_text("raise SystemExit('ran')")
    monkeypatch.setattr(pickle, "load", pytest.fail)
    monkeypatch.setattr(pickle, "loads", pytest.fail)
    monkeypatch.setattr(torch, "load", pytest.fail)
    assert plait.load(copy).verify() == 0.0


def test_saving_again_elsewhere(copy, tmp_path):
    model = plait.load(copy)
    assert model.save(tmp_path / "deep" / "er") == tmp_path / "deep" / "er"
    assert plait.load(tmp_path / "deep" / "er").verify() == 0.0
    weights = (copy / "model.safetensors").read_bytes()
    assert (tmp_path / "deep" / "er" / "model.safetensors").read_bytes() == weights
