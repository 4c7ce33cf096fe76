"""The ONNX graphs of an exported model: one an encoder, and one for fusion and heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from plait.data.store import PreparedColumn
from plait.data.targets.scores import Scores
from plait.errors import BundleError, MissingExtra
from plait.onnx_session import SessionError, load_onnxruntime, open_session
from plait.runtime.contained import is_contained
from plait.runtime.memory import Memory

FUSION = "fusion.onnx"
STAMP = "plait.model"
"""The key in a graph's metadata that says which exported model it is a part of."""

BATCH_ROWS = 128
"""Rows a step; memory stays flat however many there are."""


@dataclass(frozen=True)
class Stream:
    """One token stream.

    Attributes:
        name: of the stream.
        encoder: the file of its encoder's graph; streams that share an encoder share it.
        columns: the prepared columns that it reads, in order.
    """

    name: str
    encoder: str
    columns: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {"name": self.name, "encoder": self.encoder, "columns": list(self.columns)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Stream":
        """What `to_json` gave."""
        return cls(str(data["name"]), str(data["encoder"]), tuple(data["columns"]))


def encoder_inputs(columns: int) -> list[str]:
    """The names of an encoder's inputs: values and mask of each column."""
    return [f"{what}_{index}" for index in range(columns) for what in ("values", "mask")]


def fusion_inputs(streams: int) -> list[str]:
    """The names of the fusion's inputs: tokens and mask of each stream."""
    return [f"{what}_{index}" for index in range(streams) for what in ("tokens", "mask")]


def fusion_outputs(targets: int) -> list[str]:
    """The names of the fusion's outputs: the scores of each target."""
    return [f"scores_{index}" for index in range(targets)]


ENCODER_OUTPUTS = ["tokens", "mask"]
VECTOR = "vector"
"""The name of the fusion's output that is the fused vector; graphs of earlier exports lack it."""


class Graphs:
    """Prepared columns in, scores out.

    Only the encoders of streams that a row has are run on it, so a missing modality costs nothing but
    its place in the fusion.

    Args:
        folder: for messages.
        files: the ONNX files by name.
        stamp: what each must bear.
        threads: of each graph.
        kept: cells whose tokens are kept, for when they come again; 0: none.

    Raises:
        BundleError: a file is no ONNX graph, names files outside itself, or belongs to another model.
    """

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, bytes],
        streams: Sequence[Stream],
        targets: Sequence[str],
        *,
        stamp: str,
        threads: int = 1,
        kept: int = 0,
    ) -> None:
        self.memory = Memory(kept) if kept else None
        self.streams = list(streams)
        self.targets = list(targets)
        expected = {
            stream.encoder: (encoder_inputs(len(stream.columns)), ENCODER_OUTPUTS)
            for stream in streams
        }
        expected[FUSION] = (fusion_inputs(len(streams)), fusion_outputs(len(targets)))
        self.sessions: dict[str, Any] = {}
        for name, (inputs, outputs) in expected.items():
            if name not in files:
                raise BundleError(f"the exported model {folder} lacks {name}.")
            self.sessions[name] = _session(
                folder, name, files[name], inputs, outputs, stamp, threads
            )
        self.outputs = expected[FUSION][1]
        self.embeds = VECTOR in [part.name for part in self.sessions[FUSION].get_outputs()]
        self.widths = [
            # A stream that no row has needs tokens of the right width all the same.
            int(part.shape[2])
            for part in self.sessions[FUSION].get_inputs()
            if part.name[0] == "t"
        ]

    def run(
        self,
        columns: Mapping[str, PreparedColumn],
        rows: int,
        streams: Sequence[str] | None = None,
    ) -> dict[str, Scores]:
        """Every target's scores, rows in order.

        Args:
            columns: prepared columns; a stream without any of its columns is missing in every row.
            streams: the only streams to look at; None: all.
        """
        every = np.arange(rows)
        # No sorting for one step: single rows are answered through here.
        if rows <= BATCH_ROWS:
            return dict(zip(self.targets, self._step(columns, every, streams), strict=True))
        size = _steps(columns, rows)
        # Rows of like length share a step: padding costs what real steps cost.
        order = every if size is None else np.argsort(size, kind="stable")
        parts = [
            self._step(columns, order[start : start + BATCH_ROWS], streams)
            for start in range(0, rows, BATCH_ROWS)
        ]
        back = np.argsort(order)
        return {
            target: np.concatenate([part[index] for part in parts])[back]
            for index, target in enumerate(self.targets)
        }

    def vectors(
        self, columns: Mapping[str, PreparedColumn], rows: int, streams: Sequence[str] | None = None
    ) -> Float[np.ndarray, "rows width"]:
        """The fused vector of every row, in order; `embeds` says whether the graph gives one."""
        parts = [
            self.sessions[FUSION].run([VECTOR], self._encoded(columns, part, streams))[0]
            for part in np.split(np.arange(rows), range(BATCH_ROWS, rows, BATCH_ROWS))
        ]
        return np.concatenate(parts)

    def subsets(
        self,
        columns: Mapping[str, PreparedColumn],
        rows: int,
        subsets: Sequence[Sequence[str]],
    ) -> list[dict[str, Scores]]:
        """Every target's scores under each subset of streams; the encoders run once for all of them.

        Args:
            rows: a few; they are taken in one step.
        """
        feed = self._encoded(columns, np.arange(rows), None)
        answers = []
        for subset in subsets:
            seen = dict(feed)
            for index, stream in enumerate(self.streams):
                if stream.name not in subset:
                    tokens, mask = _nothing(rows, self.widths[index])
                    seen |= {f"tokens_{index}": tokens, f"mask_{index}": mask}
            scores = self.sessions[FUSION].run(self.outputs, seen)
            answers.append(dict(zip(self.targets, scores, strict=True)))
        return answers

    def instead(
        self,
        columns: Mapping[str, PreparedColumn],
        name: str,
        cells: PreparedColumn,
        streams: Sequence[str] | None = None,
    ) -> dict[str, Scores]:
        """Every target's scores of one row, with each of some cells in one column's place.

        Args:
            columns: the row's.
            name: the column.
            cells: a few; they are taken in one step, and encoders that do not read them run once.
        """
        same = np.zeros(len(cells), np.int64)
        wide = {other: replace(column, index=same) for other, column in columns.items()}
        reading = [
            stream.name
            for stream in self.streams
            if name in stream.columns and (streams is None or stream.name in streams)
        ]
        feed = self._encoded(columns, same[:1], streams)
        for key, own in self._encoded(wide | {name: cells}, np.arange(len(cells)), reading).items():
            read = self.streams[int(key.rpartition("_")[2])].name in reading
            feed[key] = own if read else np.repeat(feed[key], len(cells), axis=0)
        scores = self.sessions[FUSION].run(self.outputs, feed)
        return dict(zip(self.targets, scores, strict=True))

    def _step(
        self,
        columns: Mapping[str, PreparedColumn],
        rows: Int64[np.ndarray, " batch"],
        streams: Sequence[str] | None,
    ) -> list[Scores]:
        feed = self._encoded(columns, rows, streams)
        scores: list[np.ndarray] = self.sessions[FUSION].run(self.outputs, feed)
        return scores

    def _encoded(
        self,
        columns: Mapping[str, PreparedColumn],
        rows: Int64[np.ndarray, " batch"],
        streams: Sequence[str] | None,
    ) -> dict[str, np.ndarray]:
        """What the fusion reads: tokens and mask of every stream."""
        feed = {}
        for index, stream in enumerate(self.streams):
            width = self.widths[index]
            seen = (streams is None or stream.name in streams) and all(
                name in columns for name in stream.columns
            )
            cells = [columns[name].batch(rows) for name in stream.columns] if seen else []
            tokens, mask = self._encode(stream.encoder, cells, len(rows), width)
            feed[f"tokens_{index}"], feed[f"mask_{index}"] = tokens, mask
        return feed

    def _encode(
        self,
        encoder: str,
        cells: Sequence[tuple[np.ndarray, np.ndarray]],
        rows: int,
        width: int,
    ) -> tuple[Float[np.ndarray, "batch tokens width"], Bool[np.ndarray, "batch tokens"]]:
        """One stream's tokens; its encoder sees only the rows that have the stream."""
        present = np.zeros(rows, bool)
        for _, mask in cells:
            present |= mask if mask.ndim == 1 else mask.any(axis=1)
        filled = np.flatnonzero(present)
        if not len(filled):
            return _nothing(rows, width)
        whole = len(filled) == rows
        feed = {}
        for index, (values, mask) in enumerate(cells):
            feed[f"values_{index}"] = values if whole else values[filled]
            feed[f"mask_{index}"] = mask if whole else mask[filled]
        if self.memory is None:
            encoded, real = self.sessions[encoder].run(ENCODER_OUTPUTS, feed)
        else:
            encoded, real = self.memory.encode(encoder, self.sessions[encoder], feed)
        if not real[:, -1].any():  # padding of a graph whose tokens have a fixed number
            last = int(np.flatnonzero(real.any(axis=0)).max(initial=0)) + 1
            encoded, real = encoded[:, :last], real[:, :last]
        if whole:
            return encoded, real
        # Zeros, not np.empty: the fusion multiplies by the mask, and NaN times 0 is NaN.
        tokens = np.zeros((rows, *encoded.shape[1:]), np.float32)
        mask = np.zeros((rows, encoded.shape[1]), bool)
        tokens[filled], mask[filled] = encoded, real
        return tokens, mask


def _nothing(
    rows: int, width: int
) -> tuple[Float[np.ndarray, "batch 1 width"], Bool[np.ndarray, "batch 1"]]:
    """Tokens and mask of a stream that no row has."""
    return np.zeros((rows, 1, width), np.float32), np.zeros((rows, 1), bool)


def _steps(columns: Mapping[str, PreparedColumn], rows: int) -> np.ndarray | None:
    """Steps of each row in ragged columns, so that rows of like length travel together."""
    lengths = [column.lengths for column in columns.values() if column.lengths is not None]
    total: np.ndarray = sum(lengths, start=np.zeros(rows, np.int64))
    return total if lengths else None


def _session(
    folder: Path,
    name: str,
    data: bytes,
    inputs: Sequence[str],
    outputs: Sequence[str],
    stamp: str,
    threads: int,
) -> Any:
    """One graph, loaded from bytes that hold all of it."""
    try:
        # Before onnxruntime sees it: a graph could name any file of this machine as its weights.
        contained = is_contained(data)
    except ValueError as error:
        raise BundleError(f"{folder}/{name} is not a valid ONNX file: it holds {error}.") from None
    if not contained:
        raise BundleError(
            f"{folder}/{name} names a file outside itself for its weights. plait exports no such graph "
            "and opens none; export the model again."
        )
    try:
        session = open_session(data, threads)
    except ImportError:
        raise MissingExtra("an exported model", "runtime", "onnxruntime") from None
    except SessionError as error:
        raise BundleError(
            f"{folder}/{name} cannot be opened by onnxruntime {load_onnxruntime().__version__}: "
            f"{error}. Upgrade onnxruntime, or export the model again."
        ) from None
    names = [part.name for part in session.get_inputs()]
    given = [part.name for part in session.get_outputs()]
    borne = session.get_modelmeta().custom_metadata_map.get(STAMP, "none")
    if borne != stamp or not set(names) <= set(inputs) or not set(outputs) <= set(given):
        raise BundleError(
            f"{folder}/{name} is a part of another model: its stamp is {borne[:12]}, that of app.json "
            f"{stamp[:12]}. Copy the whole folder from where it came from, and do not mix two."
        )
    return session
