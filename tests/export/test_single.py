"""All of a model in one graph."""

import numpy as np
import onnx
import onnxruntime
import pytest

from plait.errors import ExportError
from plait.export import app, export, single
from plait.export.samples import id_counts, random_columns
from plait.export.single import SINGLE, check_single, single_feed, single_graph
from plait.export.slim import slimmed
from plait.runtime import Runtime


def random(model, seed, missing=0.3):
    ids = id_counts(model.model, model.blueprint, model.frozen)
    return random_columns(model.features, ids, model.config, rows=9, seed=seed, missing=missing)


@pytest.fixture(scope="module")
def joined(full_app):
    runtime = Runtime(full_app[1])
    graphs = {path.name: path.read_bytes() for path in full_app[1].glob("*.onnx")}
    return runtime, single_graph(graphs, runtime.streams)


def test_one_graph_answers_as_many(joined, fitted):
    runtime, data = joined
    assert check_single(data, runtime, random(fitted[0], 3), 9) < 1e-5
    assert check_single(data, runtime, random(fitted[0], 4, 0.0), 9) < 1e-5
    columns = random(fitted[0], 5, 0.0)
    graph = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert {part.shape[0] for part in graph.get_inputs()} == {"batch"}
    feed = single_feed(graph, runtime, columns, 9)
    want = graph.run(["scores_0"], feed)[0]
    alone = [
        graph.run(["scores_0"], {k: v[i : i + 1] for k, v in feed.items()})[0] for i in range(9)
    ]
    np.testing.assert_allclose(np.concatenate(alone), want, atol=1e-5)


def test_an_answer_that_differs_is_refused(joined, fitted, monkeypatch):
    runtime, data = joined
    run = runtime.graphs.run
    monkeypatch.setattr(
        runtime.graphs, "run", lambda *given: {k: v + 0.01 for k, v in run(*given).items()}
    )
    with pytest.raises(ExportError, match=r"model.onnx differs from the separate graphs by 0.01"):
        check_single(data, runtime, random(fitted[0], 3), 9)


def test_export_writes_it_where_asked(plain_run, plain_app, tmp_path, monkeypatch):
    graphs = {path.name: path.read_bytes() for path in plain_app[1].glob("*.onnx")}
    monkeypatch.setattr(app, "_graphs", lambda model, reporter: dict(graphs))
    export(plain_run[0], tmp_path / "app", single=True)
    assert (tmp_path / "app" / SINGLE).is_file()
    assert Runtime(tmp_path / "app").verify() < 1e-4
    export(plain_run[0], tmp_path / "app")
    assert not (tmp_path / "app" / SINGLE).exists()
    assert single.SINGLE == "model.onnx"


def test_graphs_tell_nothing_of_the_machine_they_were_made_on(full_app):
    for path in full_app[1].glob("*.onnx"):
        data = path.read_bytes()
        assert b".py" not in data
        assert b"site-packages" not in data
        assert not any(node.name for node in onnx.load(path).graph.node)


def test_names_used_inside_a_branch_are_kept():
    helper = onnx.helper
    floats = onnx.TensorProto.FLOAT
    value = helper.make_tensor_value_info("y", floats, [1])
    branch = helper.make_graph([helper.make_node("Neg", ["inner"], ["y"])], "b", [], [value])
    nodes = [
        helper.make_node("Abs", ["x"], ["inner"], name="abs"),
        helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch),
    ]
    given = [
        helper.make_tensor_value_info("x", floats, [1]),
        helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("z", floats, [1])])
    model = slimmed(helper.make_model(graph))
    assert model.graph.node[0].output[0] == "inner"
