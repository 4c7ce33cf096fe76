"""What `plait export` writes, what it refuses, and that nothing is left behind when it does."""

import errno
import hashlib
import json
import re
import shutil

import onnx
import pytest
import torch

import plait
from plait import sealed
from plait.errors import BundleError, ExportError, MissingExtra
from plait.export import app, check, convert, export
from plait.export.check import check_golden, check_random, patterns
from plait.export.convert import reason, to_onnx
from plait.runtime import Runtime
from plait.runtime.graphs import STAMP


@pytest.fixture
def ready(plain_app, monkeypatch):
    """Export takes the graphs of `plain_app` instead of making them, which takes seconds."""
    graphs = {path.name: path.read_bytes() for path in plain_app[1].glob("*.onnx")}
    monkeypatch.setattr(app, "_graphs", lambda model, reporter: graphs)


def _manifest(folder, **changes):
    path = folder / "app.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _rewrite(folder, name, data):
    """Replace a file and its hash, as one who means harm would."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "app.json").read_text())["files"]
    _manifest(folder, files={**files, name: hashlib.sha256(data).hexdigest()})


def test_the_folder(full_app, fitted):
    found, folder = full_app
    assert max(found.golden, found.random) < 1e-4
    manifest = json.loads((folder / "app.json").read_text())
    assert manifest["format"] == 1
    assert manifest["plait"] == plait.__version__
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "app.json"}
    graphs = [f"encoder_{number}.onnx" for number in range(5)]
    assert set(manifest["files"]) == {
        *graphs,
        "fusion.onnx",
        "graphs.json",
        "config.json",
        "schema.json",
        "preprocessing.json",
        "targets.json",
        "golden.json",
        "README.md",
    }
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    size = sum((folder / name).stat().st_size for name in manifest["files"]) / 1e6
    assert found.megabytes == pytest.approx(size, abs=1e-3)
    streams = json.loads((folder / "graphs.json").read_text())["streams"]
    assert {part["name"]: part["columns"] for part in streams} == fitted[0].blueprint.streams
    assert [part["encoder"] for part in streams] == graphs
    for name in [*graphs, "fusion.onnx"]:
        model = onnx.load(folder / name)
        onnx.checker.check_model(model)
        assert {part.key: part.value for part in model.metadata_props}[STAMP] == manifest["model"]
        assert {part.domain for part in model.opset_import} <= {
            "",
            "pkg.onnxscript.torch_lib.common",
        }
    card = (folder / "README.md").read_text()
    assert 'pip install "plait[runtime]"' in card
    assert "# A plait model for label (multiclass)" in card


def test_streams_that_share_an_encoder_share_a_graph(maker, unwatched_export, tmp_path):
    rows = [{**row, "other": row["note"][::-1]} for row in maker.plain(40)]
    model = maker.fit(
        rows, "label", share=("text",), ignore=("price", "shop"), golden_rows=1, fusion="concat"
    )
    found = unwatched_export(model, tmp_path / "app")
    assert max(found.golden, found.random) < 1e-4
    assert {path.name for path in (tmp_path / "app").glob("*.onnx")} == {
        "encoder_0.onnx",
        "fusion.onnx",
    }
    assert Runtime(tmp_path / "app").predict(rows).tolist() == model.predict(rows).tolist()


def test_an_earlier_export_is_replaced(copy, plain_run, ready):
    (copy / "encoder_7.onnx").write_bytes(b"of an earlier model")
    found = export(plain_run[0], copy)
    assert found.folder == str(copy)
    assert not (copy / "encoder_7.onnx").exists()
    assert Runtime(copy).verify() < 1e-4
    assert [path.name for path in copy.parent.iterdir()] == ["app"]


def test_without_golden_rows_random_ones_must_do(plain_run, tmp_path, ready):
    model = plait.load(plain_run[1])
    model.golden = []
    found = export(model, tmp_path / "app")
    assert found.golden == 0.0
    assert 0 < found.random < 1e-4


def test_places_that_hold_something_else(plain_run, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match=r"file' is a file; name a folder to export to."):
        export(plain_run[0], tmp_path / "file")
    with pytest.raises(
        ExportError,
        match="holds the bundle of a fitted model, some of whose files have the same names. Name another",
    ):
        export(plain_run[0], plain_run[1])
    with pytest.raises(
        ExportError,
        match="is not empty and holds no exported model. Name another folder, or empty it",
    ):
        export(plain_run[0], tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_golden_rows_that_no_longer_match(plain_run, tmp_path):
    model = plait.load(plain_run[1])
    with torch.no_grad():
        for weight in model.model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    with pytest.raises(
        ExportError,
        match=r"golden rows now give answers that differ by [\d.e-]+ from the saved ones, more than 0.0001. "
        "The weights, plait or a library changed. Nothing was exported; fit the model again.",
    ):
        export(model, tmp_path / "app")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_of_a_new_export(plain_run, tmp_path, ready, monkeypatch):
    put, left = sealed.write_whole, iter(range(14))

    def full(path, data):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(path, data)

    monkeypatch.setattr(sealed, "write_whole", full)
    with pytest.raises(
        ExportError,
        match=r"the model could not be exported to .*app: No space left on device. No part of it was kept. "
        "Free some space or name another folder.",
    ):
        export(plain_run[0], tmp_path / "app")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_an_earlier_export_as_it_was(copy, plain_run, ready, monkeypatch):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealed, "write_whole", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(plain_run[0], copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["app"]


def test_a_folder_that_cannot_be_made_is_told_before_the_graphs_are(
    plain_run, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(app, "_graphs", pytest.fail)
    with pytest.raises(
        ExportError, match=r"could not be exported to .*file/app: (Not a directory|File exists)"
    ):
        export(plain_run[0], tmp_path / "file" / "app")


class _Odd(torch.nn.Module):
    """Depends on values."""

    def forward(self, *parts):
        (values,) = parts
        return values if bool(values.sum() > 0) else -values


class _Unknown(torch.nn.Module):
    """Has an operation that ONNX has not."""

    def forward(self, *parts):
        (values,) = parts
        return torch.linalg.eigvals(values).real


class _Wide(torch.nn.Module):
    """Has weights."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, *parts):
        return self.linear(parts[0])


@pytest.mark.parametrize(
    ("part", "why"),
    [(_Odd(), "data-dependent"), (_Unknown(), "No ONNX function found for .*linalg_eig")],
    ids=["values", "operation"],
)
def test_a_part_that_does_not_export_is_named_with_what_can_be_done(part, why, unwatched):
    with pytest.raises(
        ExportError,
        match=f"the fusion 'odd' cannot be exported to ONNX: .*{why}.*Fit with another. Nothing was exp",
    ):
        to_onnx(
            part,
            [torch.eye(3)],
            [0],
            inputs=["values"],
            outputs=["out"],
            what="the fusion 'odd'",
            instead="Fit with another.",
        )


def test_a_fusion_that_does_not_export_leaves_nothing(plain_run, tmp_path, monkeypatch):
    def refuse(module, example, axes, *, inputs, outputs, what, instead):
        if what.startswith("the encoder"):
            return b""
        raise ExportError(f"{what} cannot. {instead}")

    monkeypatch.setattr(app, "to_onnx", refuse)
    with pytest.raises(
        ExportError,
        match=r"the fusion 'hybrid' with its heads cannot. Fit with another fusion \(`plait fusions` lists "
        r"them\), or predict with the bundle.",
    ):
        export(plain_run[0], tmp_path / "app")
    assert not list(tmp_path.iterdir())


def test_too_many_weights_for_one_file(unwatched, monkeypatch):
    monkeypatch.setattr(convert, "MAX_GRAPH_BYTES", 300)
    with pytest.raises(
        ExportError,
        match="it has .* GB of weights, and a single ONNX file holds at most",
    ):
        to_onnx(
            _Wide(),
            [torch.randn(2, 8)],
            [1],
            inputs=["values"],
            outputs=["out"],
            what="it",
            instead="",
        )


def test_what_is_not_installed(plain_run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(
        MissingExtra,
        match=re.escape(
            "export needs the package onnxscript, which is not installed.\n"
            'Install it with:  pip install "plait[export]"'
        ),
    ):
        export(plain_run[0], tmp_path / "app")


def test_reasons_are_the_innermost_and_short():
    try:
        try:
            raise ValueError("\n  the cause.\nmore")
        except ValueError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as error:
        assert reason(error) == "the cause"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 999))) == 200


# The numeric check.


def test_every_pattern_of_few_streams_and_a_sample_of_many():
    assert patterns(["a", "b"]) == [[], ["a"], ["b"], ["a", "b"]]
    assert len(patterns(list("abcd"))) == 16
    many = patterns(list("abcde"))
    assert many[:2] == [list("abcde"), []]
    assert all([name] in many for name in "abcde")
    assert all([other for other in "abcde" if other != name] in many for name in "abcde")
    assert len(many) == 2 + 5 + 5 + check.SAMPLED_SUBSETS
    assert many == patterns(list("abcde"))


class _Off(Runtime):
    """Adds to the scores of rows that have one stream only."""

    by = 0.0

    def answer(self, source, **named):
        answers = super().answer(source, **named)
        for row, cells in enumerate(source):
            if cells["note"] is not None and cells["price"] is None and cells["shop"] is None:
                answers.scores["label"][row] += self.by
        return answers


@pytest.mark.parametrize("gap", [1e-3, float("nan")])
def test_answers_that_differ_stop_the_export(plain_app, plain_run, gap):
    runtime = _Off(plain_app[1])
    runtime.by = gap
    with pytest.raises(
        ExportError,
        match=r"the exported model differs from the fitted one: its scores for 'label' differ by "
        r"(0.001|inf), more than 0.0001, in golden row \d with note given. Nothing was exported.",
    ):
        check_golden(plain_run[0], runtime)


def test_random_rows_find_it_too(plain_app, plain_run, monkeypatch):
    runtime = Runtime(plain_app[1])
    run = runtime.graphs.run

    def off(columns, rows, shown=None):
        scores = run(columns, rows, shown)
        if shown == []:
            scores["label"][3] -= 0.5
        return scores

    monkeypatch.setattr(runtime.graphs, "run", off)
    columns = app._random(plain_run[0], seed=1, missing=0.3)
    with pytest.raises(
        ExportError, match="differ by 0.5, more than 0.0001, in random row 3 with nothing given"
    ):
        check_random(plain_run[0], runtime, columns, app.RANDOM_ROWS)


def test_a_graph_that_cannot_be_run_is_told(plain_app, plain_run):
    runtime = Runtime(plain_app[1])
    runtime.graphs.widths = [3, 3]
    columns = app._random(plain_run[0], seed=1, missing=0.3)
    with pytest.raises(
        ExportError,
        match="onnxruntime cannot run a graph of the exported model: .* Please report it",
    ):
        check_random(plain_run[0], runtime, columns, app.RANDOM_ROWS)


# What the runtime refuses to open.


def test_altered_bytes(copy):
    path = copy / "fusion.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        BundleError,
        match="fusion.onnx was changed or damaged after the exported model was exported: its SHA-256 is "
        "not the one in app.json. Copy the exported model again",
    ):
        Runtime(copy)


def test_a_newer_format(copy):
    _manifest(copy, format=2, plait="9.9")
    with pytest.raises(
        BundleError,
        match="the exported model .* has format 2, made by plait 9.9; this plait reads up to format 1. "
        "Upgrade plait: pip install --upgrade plait",
    ):
        Runtime(copy)


def test_weights_of_another_model(copy, full_app):
    _rewrite(copy, "encoder_0.onnx", (full_app[1] / "encoder_0.onnx").read_bytes())
    with pytest.raises(
        BundleError,
        match=r"encoder_0.onnx is a part of another model: its stamp is \w{12}, that of app.js",
    ):
        Runtime(copy)


def test_a_graph_without_a_stamp_or_with_other_inputs(copy):
    model = onnx.load(copy / "fusion.onnx")
    del model.metadata_props[:]
    _rewrite(copy, "fusion.onnx", model.SerializeToString())
    with pytest.raises(
        BundleError, match="a part of another model: its stamp is none, that of app.json"
    ):
        Runtime(copy)


def test_external_data(copy):
    model = onnx.load(copy / "fusion.onnx")
    onnx.external_data_helper.convert_model_to_external_data(model, location="../../secret")
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../secret")
    _rewrite(copy, "fusion.onnx", model.SerializeToString())
    with pytest.raises(
        BundleError,
        match="fusion.onnx names a file outside itself for its weights. plait exports no such graph and "
        "opens none; export the model again.",
    ):
        Runtime(copy)


def test_what_is_no_onnx(copy):
    _rewrite(copy, "fusion.onnx", b"\xff" * 30)
    with pytest.raises(
        BundleError, match="fusion.onnx is not a valid ONNX file: it holds a number that does"
    ):
        Runtime(copy)
    _rewrite(copy, "fusion.onnx", b"")
    with pytest.raises(BundleError, match=r"fusion.onnx cannot be opened by onnxruntime [\d.]+: "):
        Runtime(copy)


def test_a_missing_graph(copy):
    files = json.loads((copy / "app.json").read_text())["files"]
    _manifest(copy, files={name: digest for name, digest in files.items() if name != "fusion.onnx"})
    with pytest.raises(BundleError, match=r"the exported model .*app lacks fusion.onnx."):
        Runtime(copy)


@pytest.mark.parametrize("name", ["extra.pkl", "model.pt", "weights.BIN"])
def test_a_pickle_beside_it(copy, name):
    (copy / name).write_bytes(b"")
    with pytest.raises(
        BundleError, match=f"holds '{name}'. An exported model is JSON and ONNX; files of"
    ):
        Runtime(copy)


def test_a_listed_file_that_may_not_be_there(copy):
    _rewrite(copy, "code.py", b"")
    with pytest.raises(BundleError, match="lists 'code.py', which no exported model may hold"):
        Runtime(copy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets.json", []),
        ("targets.json", [{"name": "label"}]),
        ("graphs.json", {}),
        ("graphs.json", {"streams": []}),
        ("preprocessing.json", {"modalities": {"other": "text"}, "states": {}}),
        ("config.json", {"width": -1}),
        ("golden.json", [{}]),
    ],
)
def test_documents_that_make_no_sense(copy, name, value):
    _rewrite(copy, name, json.dumps(value).encode())
    with pytest.raises(BundleError, match="the exported model .* is inconsistent: "):
        Runtime(copy)


def test_golden_rows_of_a_changed_model_are_noticed(copy):
    rows = json.loads((copy / "golden.json").read_text())
    rows[0]["scores"]["label"][0] += 0.01
    _rewrite(copy, "golden.json", json.dumps(rows).encode())
    with pytest.raises(
        BundleError, match="the model's golden rows now give answers that differ by 0.01"
    ):
        Runtime(copy).verify()


def test_the_command(run, plain_run, tmp_path, ready):
    code, out, _ = run("export", plain_run[1], "--out", tmp_path / "app", "-q")
    assert code == 0
    assert re.search(r"Exported to .*app, \d\.\d MB", out)
    assert re.search(
        r"differ from the fitted model's by at most \S+ on golden rows and by at most \S+ on", out
    )
    assert re.search(r"Served over HTTP, its answers to golden rows agree to \d\.\de-0[5-9]", out)
    code, out, _ = run("export", plain_run[1], "--out", tmp_path / "app", "-q", "--json")
    assert set(json.loads(out)) == {
        "folder",
        "megabytes",
        "golden",
        "random",
        "http",
        "int8",
        "whole",
        "costs",
    }
    code, out, _ = run("checks", tmp_path / "app")
    assert "answers agree to" in out
    shutil.rmtree(tmp_path / "app")
    code, _, err = run("export", plain_run[1], "--out", plain_run[1])
    assert code == 1
    assert "holds the bundle of a fitted model" in err
