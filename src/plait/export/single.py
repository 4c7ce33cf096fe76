"""Encoders, fusion and heads as one ONNX graph, for programs that would rather open one file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.answers.golden import TOLERANCE
from plait.data.store import PreparedColumn
from plait.errors import ExportError
from plait.export.check import gaps, onnxruntime_told
from plait.onnx_session import open_session
from plait.runtime import Runtime
from plait.runtime.graphs import FUSION, Stream

SINGLE = "model.onnx"
"""Inputs ``s0_values_0``, ``s0_mask_0``, ...: stream, then column, as graphs.json lists them. Outputs
``scores_0`` and so on, a target each, and ``vector``, the fused one. Every stream has to be given; a
sample without one has no True in its mask."""


def single_graph(graphs: Mapping[str, bytes], streams: Sequence[Stream]) -> bytes:
    """The graphs joined. An encoder that streams share is in it once for each.

    Args:
        graphs: the ONNX files by name.
        streams: in the order of the fusion's inputs.
    """
    import onnx
    from onnx import compose

    whole = onnx.load_from_string(graphs[FUSION])
    del whole.metadata_props[:]
    taken = {part.name for part in whole.graph.input}
    for index, stream in enumerate(streams):
        part = onnx.load_from_string(graphs[stream.encoder])
        # The stamp of a part is not that of the whole, and merging refuses two values for a key.
        del part.metadata_props[:]
        # Parts name their weights alike: v0, v1 and so on.
        part = compose.add_prefix(part, f"s{index}_")
        pairs = [(f"s{index}_{what}", f"{what}_{index}") for what in ("tokens", "mask")]
        whole.graph.ClearField("value_info")
        whole = compose.merge_models(part, whole, io_map=[p for p in pairs if p[1] in taken])
    for given in whole.graph.input:
        for axis, size in enumerate(given.type.tensor_type.shape.dim):
            if not size.HasField("dim_value"):  # two parts may call different sizes by one name
                size.dim_param = "batch" if axis == 0 else f"{given.name}_{axis}"
    whole.graph.name = "plait"
    data: bytes = whole.SerializeToString()
    return data


def check_single(
    data: bytes, runtime: Runtime, columns: Mapping[str, PreparedColumn], rows: int
) -> float:
    """The one graph against the many, on prepared rows some of whose cells are missing.

    Returns:
        the largest difference between any two scores.

    Raises:
        ExportError: it is over 1e-4.
    """
    want = runtime.graphs.run(columns, rows)
    with onnxruntime_told():
        session = open_session(data, threads=1)
        got = session.run(runtime.graphs.outputs, single_feed(session, runtime, columns, rows))
    worst = max(
        float(gaps(scores, want[name]).max())
        for name, scores in zip(runtime.graphs.targets, got, strict=True)
    )
    if worst > TOLERANCE:
        raise ExportError(
            f"{SINGLE} differs from the separate graphs by {worst:.2g}, more than "
            f"{TOLERANCE}. Nothing was exported. Export without --single."
        )
    return worst


def single_feed(
    session: Any, runtime: Runtime, columns: Mapping[str, PreparedColumn], rows: int
) -> dict[str, np.ndarray]:
    """What the one graph takes for some prepared rows."""
    feed = {}
    for index, stream in enumerate(runtime.streams):
        for number, name in enumerate(stream.columns):
            values, mask = columns[name].batch(np.arange(rows))
            feed[f"s{index}_values_{number}"] = values
            feed[f"s{index}_mask_{number}"] = mask
    known = {part.name for part in session.get_inputs()}
    return {name: value for name, value in feed.items() if name in known}
