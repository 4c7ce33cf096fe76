"""An exported model made by hand, in a moment and without torch: every stream says its mean."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from plait.answers import golden
from plait.config import configure
from plait.data.features import Features
from plait.data.media import Limits, Media
from plait.data.modalities.base import Settings
from plait.data.table.schema import ColumnPlan, Schema
from plait.data.table.source import open_table
from plait.data.targets.classes import Classes
from plait.data.targets.numbers import Numbers
from plait.runtime import Runtime
from plait.runtime.graphs import STAMP, VECTOR
from plait.sealed import EXPORTED

WIDTH = 4
KINDS = {
    "image": (TensorProto.UINT8, 4, False),
    "audio": (TensorProto.FLOAT16, 3, True),
    "text": (TensorProto.INT32, 2, True),
    "signal": (TensorProto.FLOAT, 3, True),
    "numeric": (TensorProto.FLOAT, 2, False),
}
INPUTS = {
    "photo": "image",
    "note": "text",
    "voice": "audio",
    "price": "numeric",
    "pulse": "signal",
}
"""The columns that `maker.rows` has, for a model of five modalities."""

SCALES = {"image": 0.01, "audio": 0.003, "text": 0.001, "signal": 0.02, "numeric": 1.0}


def make(folder, csv, inputs, *, classes=("a", "b", "c"), seed=0, vector=True, rows=2):
    """Write an app of a table's columns to a folder; returns the golden rows' cells.

    Args:
        inputs: column → modality.
    """
    table = open_table(csv)
    config = configure(preset="fast")
    media = Media(table.root, Limits.from_config(config), named=True)
    features = Features.fit(table, inputs, np.arange(table.rows), Settings(media, "fast", 1))
    kinds = dict.fromkeys(inputs.values())
    streams = [
        {"name": name, "encoder": f"encoder_{list(kinds).index(kind)}.onnx", "columns": [name]}
        for name, kind in inputs.items()
    ]
    target = Classes("label", classes) if classes else Numbers("score", mean=2.0)
    plans = [ColumnPlan(name, "input", kind, "said so") for name, kind in inputs.items()]
    stamp = f"{seed:064x}"
    graphs = {f"encoder_{index}.onnx": encoder(kind) for index, kind in enumerate(kinds)}
    graphs["fusion.onnx"] = fusion(len(inputs), len(classes) or 1, seed, vector, bool(classes))
    files = {name: stamped(model, stamp) for name, model in graphs.items()}
    names = [name for name, kind in inputs.items() if kind in ("image", "audio", "video", "signal")]
    chosen = golden.choose(table, range(rows), names, list(inputs), media)
    documents = {
        "config.json": config.model_dump(mode="json"),
        "schema.json": Schema(tuple(plans)).to_json(),
        "preprocessing.json": features.to_json(),
        "targets.json": [target.to_json()],
        "graphs.json": {"streams": streams},
        "golden.json": [],
    }
    write(folder, files, documents, stamp)
    scored = []
    runtime = Runtime(folder, threads=1)
    for _, cells in chosen:
        row = golden.Row(cells, {})
        scores = runtime.graphs.run(prepared(runtime, row.cells()), 1)
        scored.append(golden.Row(cells, {name: one[0].tolist() for name, one in scores.items()}))
    documents["golden.json"] = golden.to_json(scored)
    write(folder, files, documents, stamp)
    return [row.cells() for row in scored]


def prepared(runtime, row):
    return runtime.prepare({name: [cell] for name, cell in row.items()}, 1).columns


def write(folder, files, documents, stamp):
    import json

    data = {name: json.dumps(value).encode() for name, value in documents.items()}
    EXPORTED.write(folder, {**files, **data}, model=stamp)


def stamped(model, stamp):
    helper.set_model_props(model, {STAMP: stamp})
    return model.SerializeToString()


def constant(name, value):
    return numpy_helper.from_array(np.array(value), name)


def encoder(kind):
    """``values [batch, ...]`` to the mean or sum of each sample, times 1, 2, 3, 4, as one token."""
    element, axes, ragged = KINDS[kind]
    shape = ["batch", *[f"d{axis}" for axis in range(1, axes)]]
    nodes = [
        helper.make_node("Cast", ["values_0"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        # A sum where cells are ragged, so that padding changes nothing.
        helper.make_node(
            "ReduceSum" if ragged else "ReduceMean", ["flat", "one"], ["mean"], keepdims=1
        ),
        helper.make_node("Mul", ["mean", "steps"], ["wide"]),
        helper.make_node("Unsqueeze", ["wide", "one"], ["tokens"]),
        helper.make_node("Cast", ["mask_0"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["number", "rows"], ["two"]),
        helper.make_node("ReduceMax", ["two", "one"], ["most"], keepdims=1),
        helper.make_node("Cast", ["most"], ["mask"], to=TensorProto.BOOL),
    ]
    weights = [
        constant("one", np.array([1], np.int64)),
        constant("rows", np.array([0, -1], np.int64)),
        constant("steps", (SCALES[kind] * np.arange(1, WIDTH + 1)).astype(np.float32)),
    ]
    inputs = [
        helper.make_tensor_value_info("values_0", element, shape),
        helper.make_tensor_value_info(
            "mask_0", TensorProto.BOOL, ["batch", "d1"] if ragged else ["batch"]
        ),
    ]
    outputs = [
        helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["batch", 1, WIDTH]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, ["batch", 1]),
    ]
    return model(nodes, inputs, outputs, weights)


def fusion(streams, outputs, seed, vector, softmax):
    """The sum of what is there, through one random layer."""
    nodes, inputs = [], []
    for index in range(streams):
        inputs += [
            helper.make_tensor_value_info(
                f"tokens_{index}", TensorProto.FLOAT, ["batch", f"t{index}", WIDTH]
            ),
            helper.make_tensor_value_info(
                f"mask_{index}", TensorProto.BOOL, ["batch", f"t{index}"]
            ),
        ]
        nodes += [
            helper.make_node("Cast", [f"mask_{index}"], [f"m{index}"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", [f"m{index}", "last"], [f"u{index}"]),
            helper.make_node("Mul", [f"tokens_{index}", f"u{index}"], [f"s{index}"]),
            helper.make_node("ReduceSum", [f"s{index}", "one"], [f"p{index}"], keepdims=0),
            helper.make_node("Tanh", [f"p{index}"], [f"v{index}"]),
        ]
    nodes.append(helper.make_node("Sum", [f"v{index}" for index in range(streams)], [VECTOR]))
    nodes.append(
        helper.make_node("MatMul", [VECTOR, "layer"], ["logits" if softmax else "scores_0"])
    )
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores_0"], axis=-1))
    layer = np.random.default_rng(seed).normal(size=(WIDTH, outputs)).astype(np.float32)
    weights = [
        constant("one", np.array([1], np.int64)),
        constant("last", np.array([-1], np.int64)),
        constant("layer", layer),
    ]
    told = [helper.make_tensor_value_info("scores_0", TensorProto.FLOAT, ["batch", outputs])]
    if vector:
        told.append(helper.make_tensor_value_info(VECTOR, TensorProto.FLOAT, ["batch", WIDTH]))
    return model(nodes, inputs, told, weights)


def model(nodes, inputs, outputs, weights):
    graph = helper.make_graph(nodes, "made", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made
