"""Exported models in 8-bit whole numbers: a quarter of the size, at a cost that is measured.

``dynamic``: weights are stored as int8, one scale an output channel, and what meets matrices is rounded
batch by batch as it comes, ``q = round(x / s) + z`` with ``s = (max - min) / 255``. ``static``: those
scales are fixed beforehand by rows of a table (Jacob et al. 2018, sec. 2 and 3; Krishnamoorthi 2018,
sec. 3). Convolutions, products of matrices and tables of vectors are stored so; normalisations and
softmax stay in float32.
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from plait.answers import golden
from plait.answers.answerer import Answerer
from plait.data.table.source import open_table
from plait.data.targets.scores import to_json
from plait.errors import ExportError, TableError, counted, error_line
from plait.export.convert import check_extra, stamped
from plait.export.single import SINGLE, single_graph
from plait.export.slim import slimmed
from plait.onnx_session import quantization
from plait.runtime import Runtime
from plait.runtime.graphs import Stream
from plait.sealed import EXPORTED

OPERATIONS = ["Conv", "Gather", "Gemm", "MatMul"]
CALIBRATION_ROWS = 256
"""Rows of the table that static scales are taken from, at most."""

CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class Cost:
    """What 8-bit numbers cost one target on one table.

    Attributes:
        target: its name.
        metric: the one that fits are judged by; more is better.
        rows: with a known answer.
        before: its value in float32.
        after: its value in int8.
    """

    target: str
    metric: str
    rows: int
    before: float
    after: float

    @property
    def drop(self) -> float:
        """Drop of the metric; negative if it rose."""
        return self.before - self.after

    def summary(self) -> str:
        """In words."""
        return (
            f"{self.target}: {self.metric} {self.before:.4f} in float32, {self.after:.4f} in int8, on "
            f"{counted(self.rows)}"
        )


def quantise(
    app: Path | str, out: Path | str, *, calibrate: Any = None, root: Path | str | None = None
) -> str:
    """Write an exported model in int8 beside the one in float32.

    Needs no torch. Costs a few passes over the graphs and, with a table, one over `CALIBRATION_ROWS` of
    it.

    Args:
        app: a folder that `plait.export.export` wrote.
        out: another folder; an exported model in it is replaced.
        calibrate: a table, whose rows fix the scales of activations; None: they are dynamic.
        root: the folder its media paths are relative to.

    Returns:
        ``dynamic`` or ``static``.

    Raises:
        ExportError: the model is in int8 already, or ``out`` cannot be written.
        BundleError: ``app`` holds no exported model, or a damaged one.
    """
    check_extra()
    about, files = EXPORTED.read(Path(app))
    if "int8" in about:
        raise ExportError(f"{app} is already in int8; name a model that was exported in float32.")
    graphs = {name: data for name, data in files.items() if name.endswith(".onnx")}
    feeds = None if calibrate is None else _feeds(Path(app), calibrate, root)
    kind = "dynamic" if feeds is None else "static"
    with _quiet(), tempfile.TemporaryDirectory() as held:
        small = {
            name: _graph(data, Path(held) / name, None if feeds is None else feeds.get(name, []))
            for name, data in graphs.items()
            if name != SINGLE
        }
        # Joined from the small parts: quantised apart, the two forms could differ.
        if SINGLE in graphs:
            listed = json.loads(files["graphs.json"])["streams"]
            small[SINGLE] = single_graph(small, [Stream.from_json(part) for part in listed])
        files |= small
        _seal(Path(held) / "app", files, kind)
        # Golden rows prove a folder undamaged, so they hold the answers of int8, not of float32.
        files["golden.json"] = _golden(Runtime(Path(held) / "app"))
    try:
        _seal(Path(out), files, kind)
    except OSError as error:
        raise ExportError(
            f"the model could not be written to {out}: {error_line(error)}. Free some space or "
            "name another folder."
        ) from error
    return kind


def cost(
    before: Answerer, after: Answerer, table: Any, *, root: Path | str | None = None
) -> list[Cost]:
    """What one model answers worse than another, target by target.

    Raises:
        TableError: the table lacks a target, or no row has a known answer.
    """
    opened = open_table(table, root=root)
    opened.require([target.name for target in before.targets])
    scores = [model.answer(opened).scores for model in (before, after)]
    costs = []
    for target in before.targets:
        values, present, _ = target.encode(opened.cells(target.name))
        if present.any():
            truth, metric = target.in_units(values[present]), target.primary
            metrics = [target.metrics(truth, part[target.name][present]) for part in scores]
            rows = int(present.sum())
            costs.append(Cost(target.name, metric, rows, metrics[0][metric], metrics[1][metric]))
    if not costs:
        names = ", ".join(target.name for target in before.targets)
        raise TableError(f"{opened.name} has no labelled row for {names}.")
    return costs


def check_drop(costs: Sequence[Cost], most: float) -> None:
    """Refuse a model that lost too much.

    Raises:
        ExportError: naming each target that did, and what can be done.
    """
    worse = [cost for cost in costs if not cost.drop <= most]
    if worse:
        drops = "; ".join(f"{cost.summary()}, a drop of {cost.drop:.4f}" for cost in worse)
        raise ExportError(
            f"int8 costs more than --max-drop {most:g}: {drops}. Nothing was exported. Give --calibrate "
            "a table to calibrate on (or leave it out if it was given), raise --max-drop, or export "
            "without --int8."
        )


def noted(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """The costs as JSON values."""
    return [{**asdict(cost), "drop": cost.drop} for cost in costs]


def _graph(data: bytes, place: Path, feeds: list[Mapping[str, np.ndarray]] | None) -> bytes:
    """One graph with int8 weights."""
    import onnx

    ort = quantization()
    model = onnx.load_from_string(data)
    if feeds is None:
        _store_convolutions(model)
        ort.quantize_dynamic(
            model,
            place,
            # Stored as int8 already; see `_store_convolutions`.
            op_types_to_quantize=[name for name in OPERATIONS if name != "Conv"],
            per_channel=True,
            weight_type=ort.QuantType.QInt8,
        )
    elif feeds:
        ort.quantize_static(
            model,
            place,
            _Reader(feeds),
            op_types_to_quantize=OPERATIONS,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
        )
    else:
        return data  # a stream that no row of the table has
    small: bytes = slimmed(onnx.load(place)).SerializeToString()
    return small


def _store_convolutions(model: Any) -> None:
    """Convolutions' weights as int8 that are turned to float32 when the graph is opened.

    onnxruntime's convolution of whole numbers with scales that change is several times slower than the
    one in float32, so here the size is what is won.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    users = [node for node in graph.node if node.op_type == "Conv" and node.input[1] in weights]
    for weight in {node.input[1]: weights[node.input[1]] for node in users}.values():
        values = numpy_helper.to_array(weight)
        # Symmetric, without a zero point: -128 stays unused.
        scale = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
        # A channel of zeros would divide by zero.
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        spread = scale.reshape(-1, *[1] * (values.ndim - 1))
        name = weight.name
        graph.initializer.remove(weight)
        graph.initializer.append(
            numpy_helper.from_array(np.round(values / spread).astype(np.int8), f"{name}_int8")
        )
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        back = [f"{name}_int8", f"{name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", back, [name], axis=0))


class _Reader:
    """What onnxruntime takes rows for calibration from."""

    def __init__(self, feeds: list[Mapping[str, np.ndarray]]) -> None:
        self._left: Iterator[Mapping[str, np.ndarray]] = iter(feeds)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        """The next batch, or None."""
        return next(self._left, None)

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Mapping[str, np.ndarray]:
        return next(self._left)


class _Listener:
    """A session that keeps what it is fed."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.feeds: list[Mapping[str, np.ndarray]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, outputs: list[str], feed: Mapping[str, np.ndarray]) -> Any:
        """As the session does."""
        self.feeds.append(dict(feed))
        return self.session.run(outputs, feed)


def _feeds(
    app: Path, table: Any, root: Path | str | None
) -> dict[str, list[Mapping[str, np.ndarray]]]:
    """What every graph is fed on rows of a table, evenly spread."""
    runtime = Runtime(app)
    listeners = {name: _Listener(session) for name, session in runtime.graphs.sessions.items()}
    runtime.graphs.sessions = dict(listeners)
    opened = open_table(table, root=root)
    # Spread, since tables are often sorted by class.
    rows = (
        np.linspace(0, opened.rows - 1, min(CALIBRATION_ROWS, opened.rows)).round().astype(np.int64)
    )
    for start in range(0, len(rows), CALIBRATION_BATCH):
        runtime.answer(opened.take(rows[start : start + CALIBRATION_BATCH]))
    return {name: listener.feeds for name, listener in listeners.items()}


def _golden(runtime: Runtime) -> bytes:
    """The golden rows with the answers that the int8 model gives."""
    rows = []
    for row in runtime.golden:
        scores = runtime.answer([row.cells()]).scores
        rows.append(
            golden.Row(
                row.stored, {name: to_json(row_scores[0]) for name, row_scores in scores.items()}
            )
        )
    return json.dumps(golden.to_json(rows), ensure_ascii=False, separators=(",", ":")).encode()


def _seal(folder: Path, files: Mapping[str, bytes], kind: str) -> None:
    """Write the folder, every graph with the stamp of the whole."""
    stamp = stamp_of(files)
    EXPORTED.write(
        folder,
        {
            name: stamped(data, stamp) if name.endswith(".onnx") else data
            for name, data in files.items()
        },
        model=stamp,
        int8=kind,
    )


def stamp_of(files: Mapping[str, bytes]) -> str:
    """A name for this very model, told by everything in it."""
    whole = sha256()
    for name in sorted(files):
        # Digests have one length, so no two sets of files give the same bytes.
        whole.update(name.encode() + b"\0" + sha256(files[name]).digest())
    return whole.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice to run a preprocessing that changes nothing here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
