"""The only module that imports onnxruntime: sessions on a processor, and what goes wrong in them.

onnxruntime from 1.29 on reports its use to a collector of its maker and keeps an id of the device. Only
``ORT_DISABLE_TELEMETRY`` in the environment before the import stops that; its own
``disable_telemetry_events`` comes too late for the first event.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plait.errors import error_line


class SessionError(Exception):
    """What onnxruntime cannot open or run, in its own words on one line."""


def load_onnxruntime() -> Any:
    """The package, its telemetry switched off.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def quantization() -> Any:
    """``onnxruntime.quantization``; needs the package onnx too."""
    load_onnxruntime()
    from onnxruntime import quantization

    return quantization


def open_session(data: bytes, threads: int) -> Any:
    """A session over a graph that holds all of its weights.

    Args:
        threads: within one operation; operations follow one another.

    Raises:
        ImportError: onnxruntime is not installed.
        SessionError: it does not take the graph.
    """
    package = load_onnxruntime()
    options = package.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    # Threads that spin while they wait take the time of those that decode the next cells.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    with failures():
        return package.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@contextmanager
def failures() -> Iterator[None]:
    """Turn what onnxruntime raises inside into `SessionError`."""
    load_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )
    try:
        yield
    except kinds as error:
        raise SessionError(error_line(error)) from error
