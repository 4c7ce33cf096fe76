"""Whether an ONNX file holds all of its weights itself, told without the onnx package.

An ONNX file may name other files, anywhere on the machine, for its weights. plait exports none that
does, so one that does is a stranger's and is refused before onnxruntime sees it. Only the messages of
``onnx.proto`` that can hold a tensor are walked, by protobuf's wire format; weights are stepped over, so
the cost is a few microseconds a node whatever their size.
"""

_NODE = {5: "attribute"}
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": _NODE,
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
"""Message → field number → the message inside it, of those that can hold a tensor."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _LONG, _BYTES, _INT = 0, 1, 2, 5


def is_contained(data: bytes) -> bool:
    """Whether no tensor of an ONNX model lies in another file.

    Raises:
        ValueError: these bytes are no ONNX model.
    """
    waiting = [("model", memoryview(data))]
    while waiting:
        kind, message = waiting.pop()
        parts = _PARTS[kind]
        place = 0
        while place < len(message):
            key, place = _varint(message, place)
            field, wire = key >> 3, key & 7
            value, start = 0, place
            if wire == _VARINT:
                value, place = _varint(message, place)
            elif wire == _BYTES:
                size, start = _varint(message, place)
                place = start + size
            elif wire in (_LONG, _INT):
                place += 8 if wire == _LONG else 4
            else:
                raise ValueError("a field of a kind that protobuf does not have")
            if place > len(message):
                raise ValueError("a field that goes beyond its end")
            if kind == "tensor" and (
                field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value)
            ):
                return False
            if wire == _BYTES and field in parts:
                waiting.append((parts[field], message[start:place]))
    return True


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number that does not end")
