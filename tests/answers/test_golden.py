"""Golden rows: a bundle carries cells and answers with it, and notices when they no longer agree."""

import base64
import datetime
import json

import numpy as np
import pytest
import torch

import plait
from plait.answers import golden
from plait.data.media import Media
from plait.errors import BundleError


def test_they_hold_the_media_themselves(fitted, braid):
    model, out = fitted
    rows = json.loads((out / "golden.json").read_text())
    assert len(rows) == len(model.golden) == 3
    for row in rows:
        assert set(row["cells"]) == set(model.schema.inputs)
        assert sum(row["scores"]["label"]) == pytest.approx(1, abs=1e-5)
    photos = [row["cells"]["photo"] for row in rows if row["cells"]["photo"]]
    assert photos
    for photo in photos:
        (file,) = (braid / "media").glob(photo["path"])
        assert base64.b64decode(photo["base64"]) == file.read_bytes()


def test_other_weights_give_other_answers(fitted):
    model = plait.load(fitted[1])
    with torch.no_grad():
        for weight in model.model.parameters():
            weight += 0.01 * torch.randn_like(weight)
    with pytest.raises(
        BundleError,
        match=r"golden rows now give answers that differ by [\d.e-]+ from the saved ones, more than 0.0001. "
        "The weights, plait or a library changed",
    ):
        model.verify()


def test_answers_that_are_no_number_are_noticed(fitted):
    model = plait.load(fitted[1])
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.fill_(float("nan"))
    with pytest.raises(BundleError, match="differ by inf from the saved ones"):
        model.verify()


def test_cells_come_back_as_they_were():
    table = plait.open_table(
        {
            "signal": [np.arange(4.0), np.ones(4)],
            "leads": [[[1.0, 2.0], [3.0, 4.0]], None],
            "when": [datetime.datetime(2024, 5, 6, 7, 8), None],
            "time": [datetime.time(7, 8), None],
            "blob": [b"\x00\x01", b""],
            "number": [1.5, None],
            "flag": [True, False],
            "tags": [["a", "b"], None],
        }
    )
    media = ["signal", "leads", "blob"]
    chosen = golden.choose(table, [0, 1], media, table.columns, Media(None))
    assert [row for row, _ in chosen] == [0]  # the empty file of row 1 cannot be kept
    stored = json.loads(json.dumps(golden.to_json([golden.Row(chosen[0][1], {"y": [0.5]})])))
    (row,) = golden.from_json(stored)
    assert row.cells() == {
        "signal": [0.0, 1.0, 2.0, 3.0],
        "leads": [[1.0, 2.0], [3.0, 4.0]],
        "when": "2024-05-06T07:08:00",
        "time": "07:08:00",
        "blob": b"\x00\x01",
        "number": 1.5,
        "flag": True,
        "tags": ["a", "b"],
    }
    assert row.scores == {"y": [0.5]}


def test_large_cells_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "MAX_CELL_BYTES", 200)
    (tmp_path / "small.bin").write_bytes(b"x" * 100)
    (tmp_path / "large.bin").write_bytes(b"x" * 300)
    rows = [
        {"file": "small.bin", "wave": np.ones(10)},
        {"file": "large.bin", "wave": np.ones(10)},
        {"file": "small.bin", "wave": np.ones(200)},
        {"file": "small.bin", "wave": None},
    ]
    table = plait.open_table(rows, root=tmp_path)
    chosen = golden.choose(table, [3, 2, 1, 0], ["file", "wave"], ["file", "wave"], Media(tmp_path))
    assert [row for row, _ in chosen] == [3, 0]
    assert golden.Row(chosen[1][1], {}).cells() == {
        "file": {"bytes": b"x" * 100, "path": "small.bin"},
        "wave": [1.0] * 10,
    }
