"""Whether an ONNX file names other files, told from its bytes alone."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from plait.runtime.contained import _DATA_LOCATION, _EXTERNAL_DATA, _PARTS, is_contained

MESSAGES = {
    "model": onnx.ModelProto,
    "graph": onnx.GraphProto,
    "node": onnx.NodeProto,
    "attribute": onnx.AttributeProto,
    "sparse": onnx.SparseTensorProto,
    "training": onnx.TrainingInfoProto,
    "function": onnx.FunctionProto,
    "tensor": onnx.TensorProto,
}


def test_every_way_to_a_tensor_is_walked():
    names = {message.DESCRIPTOR.name: kind for kind, message in MESSAGES.items()}
    for kind, message in MESSAGES.items():
        inside = {
            field.number: names[field.message_type.name]
            for field in message.DESCRIPTOR.fields
            if field.message_type is not None and field.message_type.name in names
        }
        assert inside == _PARTS[kind], kind
    fields = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert fields["external_data"].number == _EXTERNAL_DATA
    assert fields["data_location"].number == _DATA_LOCATION


def tensor(external):
    made = numpy_helper.from_array(np.arange(300, dtype=np.float32), "weights")
    if external:
        onnx.external_data_helper.set_external_data(made, "/etc/passwd")
    return made


def model(place, external):
    """A model with a tensor in one of the places that can hold one."""
    held = tensor(external)
    node = helper.make_node("Constant", [], ["weights"])
    nodes, initializers, sparse = [node], [], []
    if place == "initializer":
        initializers = [held]
    elif place == "constant":
        node.attribute.append(helper.make_attribute("value", held))
    elif place == "list":
        node.attribute.append(helper.make_attribute("values", [held]))
    elif place == "sparse":
        sparse = [onnx.SparseTensorProto(values=held, dims=[300])]
    elif place == "branch":
        inner = helper.make_graph([], "inner", [], [], initializer=[held])
        node.attribute.append(helper.make_attribute("then_branch", inner))
    graph = helper.make_graph(nodes, "graph", [], [], initializers, sparse_initializer=sparse)
    made = helper.make_model(graph)
    if place == "function":
        inner = helper.make_node("Constant", [], ["weights"], value=held)
        made.functions.append(helper.make_function("own", "f", [], [], [inner], []))
    return made.SerializeToString()


@pytest.mark.parametrize(
    "place", ["initializer", "constant", "list", "sparse", "branch", "function"]
)
def test_a_tensor_in_another_file_is_found_wherever_it_is(place):
    assert is_contained(model(place, external=False))
    assert not is_contained(model(place, external=True))


def test_a_location_alone_is_enough():
    held = tensor(external=False)
    held.data_location = onnx.TensorProto.EXTERNAL
    graph = helper.make_graph([], "graph", [], [], [held])
    assert not is_contained(helper.make_model(graph).SerializeToString())
    held.data_location = onnx.TensorProto.DEFAULT
    graph = helper.make_graph([], "graph", [], [], [held])
    assert is_contained(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff" * 30, "a number that does not end"),
        (b"\x08", "a number that does not end"),
        (b"\x3a\x7f", "a field that goes beyond its end"),
        (b"\x0d\x00", "a field that goes beyond its end"),
        (b"\x0b", "a field of a kind that protobuf does not have"),
    ],
)
def test_bytes_that_are_no_protobuf(data, why):
    with pytest.raises(ValueError, match=why):
        is_contained(data)


def test_numbers_of_fixed_length_are_stepped_over():
    assert is_contained(b"\x09" + bytes(8) + b"\x0d" + bytes(4))
