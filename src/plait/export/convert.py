"""A module of plain tensors to the bytes of an ONNX file, weights inside."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from plait.errors import ExportError, MissingExtra, error_line
from plait.export.slim import slimmed
from plait.runtime.graphs import STAMP

OPSET = 20
MAX_GRAPH_BYTES = 2_000_000_000
"""Bytes that one ONNX file can hold; protobuf has no larger messages."""


def to_onnx(
    module: nn.Module,
    example: Sequence[Tensor],
    axes: Sequence[int],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    what: str,
    instead: str,
) -> bytes:
    """One part of a model as an ONNX file.

    Args:
        example: tensors to trace with, every dynamic axis at least 2 long.
        axes: how many leading axes of each are dynamic: 1 is the batch, 2 the tokens or steps too.
        what: the part, for the message: ``the fusion 'mult'``.
        instead: what can be done where it does not export.

    Raises:
        ExportError: the part has an operation that ONNX has not, or depends on values.
        MissingExtra: onnx or onnxscript is not installed.
    """
    check_extra()
    # The exporter would succeed, for the example's length alone.
    _refuse_recurrent(module, what, instead)
    # Without them the exporter would bake the example's batch size into the graph.
    shapes = tuple(dict.fromkeys(range(count), torch.export.Dim.DYNAMIC) for count in axes)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(module, tuple(example), dynamic_shapes=(shapes,))
            onnx = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                optimize=True,
                verbose=False,
            )
    except (
        torch.onnx.OnnxExporterError,
        RuntimeError,  # torch.export's own are such
        ValueError,
        TypeError,
        NotImplementedError,
    ) as error:
        raise ExportError(
            f"{what} cannot be exported to ONNX: {reason(error)}. {instead} Nothing was exported."
        ) from error
    assert onnx is not None
    # Before the size is judged: the exporter's notes can outweigh the weights.
    model = slimmed(onnx.model_proto)
    if model.ByteSize() > MAX_GRAPH_BYTES:
        raise ExportError(
            f"{what} has {model.ByteSize() / 1e9:.1f} GB of weights, and a single ONNX file holds at "
            f"most {MAX_GRAPH_BYTES / 1e9:.0f} GB. Fit with a smaller encoder. Nothing was exported."
        )
    data: bytes = model.SerializeToString()
    return data


def _refuse_recurrent(module: nn.Module, what: str, instead: str) -> None:
    if any(isinstance(part, nn.RNNBase) for part in module.modules()):
        raise ExportError(
            f"{what} cannot be exported to ONNX: the exporter unrolls a recurrent layer for a fixed "
            f"number of steps, and cells differ in length. {instead} Nothing was exported."
        )


def stamped(data: bytes, stamp: str) -> bytes:
    """The file with the name of the exported model that it is a part of."""
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, {STAMP: stamp})
    marked: bytes = model.SerializeToString()
    return marked


def check_extra() -> None:
    """Check that what export needs is installed.

    Raises:
        MissingExtra: naming what is not.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise MissingExtra("export", "export", name)


def reason(error: BaseException) -> str:
    """What torch says in its last and innermost error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error_line(error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to ourselves what the exporter says of operations of packages that are not installed."""
    loggers: list[Any] = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
