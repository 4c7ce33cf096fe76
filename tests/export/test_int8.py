"""Exported models in 8-bit numbers: small, measured, and refused where they cost too much."""

import json
import shutil

import numpy as np
import onnx
import pytest

from plait.errors import ConfigError, ExportError, TableError
from plait.export import Cost, app, cost, export, int8, quantise
from plait.export.int8 import check_drop, noted
from plait.runtime import Runtime
from plait.runtime.runtime import INT8_TOLERANCE


def size(folder, ending="*.onnx"):
    return sum(path.stat().st_size for path in folder.glob(ending))


def weights(folder):
    """Bytes of the weights of graphs by whether they are whole numbers of 8 bits."""
    found = {True: 0, False: 0}
    for path in folder.glob("*.onnx"):
        for part in onnx.load(path).graph.initializer:
            small = part.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
            found[small] += len(part.raw_data)
    return found


@pytest.fixture(scope="module")
def dynamic(full_app, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "app"
    assert quantise(full_app[1], out) == "dynamic"
    return out


@pytest.fixture(scope="module")
def static(full_app, braid, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "app"
    assert quantise(full_app[1], out, calibrate=braid / "train.csv") == "static"
    return out


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_it_answers_nearly_alike_and_is_smaller(kind, full_app, braid, request):
    folder = request.getfixturevalue(kind)
    assert json.loads((folder / "app.json").read_text())["int8"] == kind
    held = weights(folder)
    assert held[True] > 0.8 * sum(held.values())
    assert held[True] < 0.3 * sum(weights(full_app[1]).values())
    assert size(folder) < 0.5 * size(full_app[1])
    whole, small = Runtime(full_app[1]), Runtime(folder)
    want, got = (model.answer(braid / "test.csv") for model in (whole, small))
    gap = np.abs(want.scores["label"] - got.scores["label"]).max()
    assert 1e-6 < gap < 0.2
    assert got.quarantine.entries == want.quarantine.entries
    assert small.tolerance == INT8_TOLERANCE
    assert small.verify() < 1e-4
    assert whole.tolerance == 1e-4


def test_what_it_costs_is_measured(full_app, dynamic, fitted, braid):
    whole, small = Runtime(full_app[1]), Runtime(dynamic)
    (one,) = cost(whole, small, braid / "test.csv")
    want = fitted[0].evaluate(braid / "test.csv", resamples=0)
    assert (one.target, one.metric, one.rows) == (
        "label",
        "balanced_accuracy",
        want.targets["label"].rows,
    )
    assert one.before == pytest.approx(want["balanced_accuracy"])
    assert one.drop == one.before - one.after
    assert cost(whole, whole, braid / "test.csv")[0].drop == 0
    with pytest.raises(TableError, match="has no labelled row for label"):
        cost(whole, small, [{"note": "x", "label": None}, {"note": "y", "label": "zebra"}])


def test_numbers_and_several_targets(maker, unwatched_export, tmp_path):
    rows = [{**row, "size": len(row["note"]) + row["price"]} for row in maker.plain(40)]
    model = maker.fit(rows, ["label", "size"], golden_rows=1, fusion="concat")
    unwatched_export(model, tmp_path / "app")
    quantise(tmp_path / "app", tmp_path / "small")
    whole, small = Runtime(tmp_path / "app"), Runtime(tmp_path / "small")
    found = cost(whole, small, rows)
    want = model.evaluate(rows, resamples=0).targets
    assert [one.metric for one in found] == ["balanced_accuracy", "r2"]
    assert [one.before for one in found] == pytest.approx(
        [want["label"].metrics["balanced_accuracy"], want["size"].metrics["r2"]], abs=1e-4
    )


def test_a_drop_beyond_what_is_allowed_is_refused():
    good = Cost("a", "r2", 10, 0.9, 0.895)
    check_drop([good], 0.01)
    check_drop([Cost("a", "r2", 10, 0.9, 0.95)], 0.0)
    for after in (0.8, float("nan")):
        with pytest.raises(ExportError) as caught:
            check_drop([good, Cost("b", "map", 7, 0.9, after)], 0.01)
        told = str(caught.value)
        assert (
            f"int8 costs more than --max-drop 0.01: b: map 0.9000 in float32, {after:.4f} in int8"
            in told
        )
        assert "on 7 rows, a drop of " in told
        assert "a: r2" not in told
        assert "Nothing was exported. Give --calibrate a table" in told
    assert noted([good])[0]["drop"] == pytest.approx(0.005)


@pytest.fixture
def ready(plain_app, monkeypatch):
    """Export takes the graphs of `plain_app` instead of making them, which takes seconds."""
    graphs = {path.name: path.read_bytes() for path in plain_app[1].glob("*.onnx")}
    monkeypatch.setattr(app, "_graphs", lambda model, reporter: graphs)


def test_export_in_int8(maker, plain_run, plain_app, ready, tmp_path):
    rows = maker.plain(40)
    found = export(plain_run[0], tmp_path / "app", int8=True, table=rows, max_drop=0.5)
    assert found.int8 == "dynamic"
    assert found.whole == pytest.approx(plain_app[0].megabytes, abs=1e-3)
    assert found.megabytes < 0.7 * found.whole
    manifest = json.loads((tmp_path / "app" / "app.json").read_text())
    assert manifest["cost"] == noted(found.costs)
    assert [path.name for path in tmp_path.iterdir()] == ["app"]
    runtime = Runtime(tmp_path / "app")
    assert runtime.verify() < 1e-4
    again = export(
        plain_run[0], tmp_path / "app", int8=True, table=rows, calibrate=rows, max_drop=0.5
    )
    assert again.int8 == "static"
    with pytest.raises(
        ExportError, match=r"app is already in int8; name a model that was exported"
    ):
        quantise(tmp_path / "app", tmp_path / "more")


def test_too_much_lost_leaves_an_earlier_export(maker, copy, plain_run, ready, monkeypatch):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    monkeypatch.setattr(app, "cost", lambda *given, **named: [Cost("label", "r2", 40, 0.9, 0.85)])
    with pytest.raises(ExportError, match="int8 costs more than --max-drop 0.01: label: r2 0.9000"):
        export(plain_run[0], copy, int8=True, table=maker.plain(8))
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["app"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"int8": True},
            "int8: name a labelled table to measure the cost on: --table",
        ),
        ({"table": []}, "table: only used with int8; add --int8"),
        ({"max_drop": 0.02}, "max_drop: only used with int8; add --int8"),
        ({"calibrate": "t.csv"}, "calibrate: only used with int8; add --int8"),
        (
            {"calibrate": "t.csv", "table": []},
            "calibrate and table: only used with int8; add --int8",
        ),
        (
            {"max_drop": -0.1},
            r"max_drop=-0.1: a number from 0, for example 0.01 for one percentage point",
        ),
        ({"max_drop": float("nan")}, "max_drop=nan: a number from 0"),
    ],
)
def test_options_that_make_no_sense(plain_run, tmp_path, options, why):
    with pytest.raises(ConfigError, match=why):
        export(plain_run[0], tmp_path / "app", **options)
    assert not list(tmp_path.iterdir())


def test_a_keyword_that_export_does_not_have(plain_run, tmp_path):
    with pytest.raises(
        TypeError,
        match="unknown keyword 'max_drob'. Did you mean 'max_drop'. Choose from: calibrate, ",
    ):
        export(plain_run[0], tmp_path / "app", int8=True, max_drob=0.1)
    assert not list(tmp_path.iterdir())


def test_a_stream_that_no_calibrating_row_has_stays_as_it_is(plain_app, maker, tmp_path):
    rows = [{**row, "note": None} for row in maker.plain(8)]
    quantise(plain_app[1], tmp_path / "app", calibrate=rows)
    streams = json.loads((tmp_path / "app" / "graphs.json").read_text())["streams"]
    (name,) = [part["encoder"] for part in streams if part["columns"] == ["note"]]
    kinds = {part.data_type for part in onnx.load(tmp_path / "app" / name).graph.initializer}
    assert onnx.TensorProto.INT8 not in kinds
    assert Runtime(tmp_path / "app").verify() < 1e-4


def test_a_full_disk(plain_app, tmp_path, monkeypatch):
    seal = int8._seal

    def full(folder, files, kind):
        if folder == tmp_path / "out":
            raise OSError(28, "No space left on device")
        seal(folder, files, kind)

    monkeypatch.setattr(int8, "_seal", full)
    with pytest.raises(
        ExportError, match="could not be written to .*out: No space left on device. Free"
    ):
        quantise(plain_app[1], tmp_path / "out")


def test_the_command(run, maker, plain_run, ready, tmp_path):
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, maker.plain(20))))
    folder = tmp_path / "app"
    code, out, err = run(
        "export",
        plain_run[1],
        "--out",
        folder,
        "--int8",
        "--single",
        "--table",
        table,
        "--max-drop",
        1,
    )
    assert code == 0, err
    assert "These figures are before int8 (dynamic), at " in out
    assert "label: balanced_accuracy " in out
    assert "in int8, on 20 rows" in out
    assert (folder / "model.onnx").is_file()
    shutil.rmtree(folder)
    code, out, err = run("export", plain_run[1], "--out", folder, "--int8")
    assert code != 0
    assert "name a labelled table" in err
    assert not folder.exists()
