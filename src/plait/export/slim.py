"""ONNX graphs without what no runtime reads: where each operation came from, and long names."""

from typing import Any


def slimmed(model: Any) -> Any:
    """The same graph without notes and with short names for all but its inputs and outputs.

    The exporter notes for every operation the lines of source that made it, with the paths of the
    machine it ran on. In small graphs those notes outweigh the weights, and they are nobody's business.

    Args:
        model: an ``onnx.ModelProto``; changed in place.
    """
    graph = model.graph
    graph.ClearField("value_info")
    graph.doc_string = model.doc_string = ""
    noted = [model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
    for part in noted:
        if part is not model:
            part.ClearField("metadata_props")
            part.doc_string = ""
    if any(held.HasField("g") or held.graphs for node in graph.node for held in node.attribute):
        return model  # names may be used inside
    kept = {part.name for part in (*graph.input, *graph.output)} | {""}
    names: dict[str, str] = {}

    def short(name: str) -> str:
        if name in kept:
            return name
        return names.setdefault(name, f"v{len(names)}")

    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    for weight in graph.initializer:
        weight.name = short(weight.name)
    return model
