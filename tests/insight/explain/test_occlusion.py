"""Marks by hiding parts, on models made by hand whose scores are sums: what a part is worth is known."""

import io
from dataclasses import replace

import made_app
import numpy as np
import pytest
from PIL import Image

from plait.insight.explain.occlusion import GRIDS, MAX_PARTS, occluded, pieces
from plait.runtime import Runtime


@pytest.fixture(scope="module")
def made(maker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("occlusion")
    maker.csv(folder, "train.csv", maker.rows(folder, 6))
    cells = made_app.make(folder / "app", folder / "train.csv", made_app.INPUTS)
    return Runtime(folder / "app", threads=1), cells[0]


def by_column(found):
    return {one.column: one for one in found}


def test_every_kind_of_part(made):
    runtime, cells = made
    found = by_column(occluded(runtime, cells))
    assert {name: one.kind for name, one in found.items()} == {
        "photo": "pixels",
        "note": "words",
        "voice": "spectrum",
        "pulse": "signal",
    }  # a number has no parts
    assert found["photo"].marks["label"].shape == GRIDS["pixels"]
    assert "".join(found["note"].cell) == cells["note"]
    assert all(np.isfinite(one.marks["label"]).all() for one in found.values())


def test_a_part_is_worth_what_the_score_loses_without_it(made):
    """Against the whole row answered again, each version on its own."""
    runtime, cells = made
    ramp = np.zeros((32, 32, 3), np.uint8)
    ramp[:, 16:] = 200
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    row = {**cells, "photo": {"bytes": file.getvalue(), "path": "x.png"}}
    found = by_column(occluded(runtime, row))

    def score(given):
        answer = runtime.graphs.run(
            runtime.prepare({name: [cell] for name, cell in given.items()}, 1).columns, 1
        )["label"][0]
        return answer

    whole = score(row)
    place = int(whole.argmax())
    words = found["note"].cell
    for at in range(len(words)):
        left = "".join(words[:at] + words[at + 1 :])
        lost = whole[place] - score({**row, "note": left})[place]
        assert found["note"].marks["label"][at] == pytest.approx(lost, abs=1e-4)
    prepared = runtime.prepare({name: [cell] for name, cell in row.items()}, 1).columns
    pixels = prepared["photo"].values
    marks = found["photo"].marks["label"]
    for high, wide in ((0, 0), (3, 7), (7, 4)):
        side = pixels.shape[1] // GRIDS["pixels"][0]
        changed = pixels.copy()
        area = (0, slice(high * side, (high + 1) * side), slice(wide * side, (wide + 1) * side))
        changed[area] = pixels[0].mean(axis=(0, 1)).astype(np.uint8)
        columns = {**prepared, "photo": replace(prepared["photo"], values=changed)}
        lost = whole[place] - runtime.graphs.run(columns, 1)["label"][0][place]
        assert marks[high, wide] == pytest.approx(lost, abs=1e-4)
    assert (np.sign(marks[:, 0]) == -np.sign(marks[:, 7])).all()  # dark and bright halves


def test_only_streams_that_are_looked_at(made):
    runtime, cells = made
    assert by_column(occluded(runtime, cells, ["note", "price"])).keys() == {"note"}
    alone = {"note": "word"}
    (one,) = occluded(runtime, alone)
    none, all_ = (
        runtime.graphs.run(runtime.prepare({"note": [text]}, 1).columns, 1)["label"][0]
        for text in (None, "word")
    )
    assert one.marks["label"][0] == pytest.approx((all_ - none)[all_.argmax()], abs=1e-4)
    assert occluded(runtime, {"price": 3.0}) == []
    assert occluded(runtime, {"photo": {"bytes": b"broken", "path": "x.png"}}) == []


def test_a_number_is_told_in_its_own_units(maker, tmp_path):
    maker.csv(tmp_path, "train.csv", maker.rows(tmp_path, 6))
    cells = made_app.make(tmp_path / "app", tmp_path / "train.csv", {"note": "text"}, classes=())
    runtime = Runtime(tmp_path / "app", threads=1)
    (one,) = occluded(runtime, cells[0])
    (whole,) = runtime.answer([cells[0]]).values["score"]
    rest = "".join(one.cell[1:])
    (without,) = runtime.answer([{"note": rest}]).values["score"]
    assert one.marks["score"][0] == pytest.approx(whole - without, abs=1e-4)


def test_pieces():
    assert pieces("a  good 好天 day, x") == ["a", "  good", " 好", "天", " day,", " x"]
    many = pieces(" ".join(map(str, range(500))))
    assert len(many) <= MAX_PARTS
    assert "".join(many) == " ".join(map(str, range(500)))
    assert pieces("") == []
