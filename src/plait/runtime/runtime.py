"""`Runtime`: an exported model, which needs no torch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from plait.answers import golden
from plait.answers.answerer import Answerer, Met, PreparedBatch, batches, check_streams, warn
from plait.answers.answers import Answers
from plait.config import Config, current_names, within_caps
from plait.data.features import Features, PreparedTable
from plait.data.media import Limits, Media
from plait.data.modalities import registry
from plait.data.modalities.base import Settings
from plait.data.store import PreparedColumn
from plait.data.table.quarantine import Quarantine
from plait.data.table.schema import Schema
from plait.data.table.source import open_table
from plait.data.targets.registry import read_target
from plait.devices import compute_threads, cores
from plait.display.progress import Reporter, Silent
from plait.errors import BundleError, ConfigError, PlaitError, UnregisteredError
from plait.runtime.graphs import Graphs, Stream
from plait.runtime.rows import plain_columns
from plait.sealed import EXPORTED, document

INT8_TOLERANCE = 0.02
"""Between golden answers in int8 of two machines: processors add up whole numbers in several ways."""

_MISFITS = (PlaitError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What is raised when an exported model's documents are well-formed and make no sense."""

NO_VECTOR = (
    "this exported model has no fused vector: it was exported by an earlier plait. Export it again "
    "with `plait export`."
)


class Runtime(Answerer):
    """An exported model. Its answers equal those of the fitted model, to 1e-4.

    Args:
        folder: written by ``plait export``. Nothing in it is executed but the ONNX graphs, which
            hold all of their weights and cannot name code.
        threads: of onnxruntime; None: half the cores.
        kept: size of the cache of encoder outputs, in cells, least recently used evicted first; useful
            if the same image or text comes often. 0: no cache.
        caps: ``max_image_megapixels`` and similar options, if the defaults do not suit. The folder's own
            caps apply only if they are lower.

    Raises:
        BundleError: the folder holds no exported model, or one that is damaged, of a newer format, or
            has files that are not allowed.
        UnregisteredError: a BundleError; it was made with a part that is not registered here.
        MissingExtra: onnxruntime is not installed.

    Attributes:
        schema: columns, roles and reasons.
        targets: what is predicted.
        stamp: the model's own name, told by all that is in it.
    """

    def __init__(
        self, folder: Path | str, *, threads: int | None = None, kept: int = 0, **caps: float
    ) -> None:
        path = Path(folder)
        about, files = EXPORTED.read(path)
        documents: Mapping[str, Any] = {
            name: document(path, name, data)
            for name, data in files.items()
            if name.endswith(".json")
        }
        try:
            self.config = within_caps(Config(**current_names(documents["config.json"])), caps)
            self.schema = Schema.from_json(documents["schema.json"])
            self.features = Features.from_json(documents["preprocessing.json"])
            self.targets = [read_target(part) for part in documents["targets.json"]]
            self.golden = golden.from_json(documents["golden.json"])
            self.streams = [Stream.from_json(part) for part in documents["graphs.json"]["streams"]]
            self.stamp = str(about["model"])
            if "int8" in about:
                self.tolerance = INT8_TOLERANCE
            read = {name for stream in self.streams for name in stream.columns}
            if not self.targets or not self.streams or read != set(self.features.modalities):
                raise ValueError("its streams do not match the columns that it prepares")
        except UnregisteredError as error:
            raise UnregisteredError(f"the exported model {path} was {error}") from error
        except _MISFITS as error:
            # The caller's own caps are wrong then, not the folder.
            if isinstance(error, ConfigError) and caps:
                raise
            raise BundleError(f"the exported model {path} is inconsistent: {error}") from error
        self.graphs = Graphs(
            path,
            files,
            self.streams,
            [target.name for target in self.targets],
            stamp=self.stamp,
            threads=threads or compute_threads(),
            kept=kept,
        )
        self._limits = Limits.from_config(self.config)
        self._cores = cores()
        self._alone = {stream.columns[0] for stream in self.streams if len(stream.columns) == 1}

    def answer(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        streams: Sequence[str] | None = None,
        reporter: Reporter | None = None,
    ) -> Answers:
        """Answers with scores and with what went wrong on the way.

        A list of a few dicts of plain cells goes the short way: no table, no pool, a millisecond or two
        besides decoding.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder media paths are relative to; default: the table's own.
            streams: the only streams to look at; None: all.

        Raises:
            ConfigError: streams is no list of names, or the model has no such stream.
        """
        streams = check_streams(streams, [stream.name for stream in self.streams])
        met, parts = Met(), []
        for batch in self._batches(source, root, reporter or Silent()):
            parts.append(self.graphs.run(batch.prepared.columns, batch.rows, streams))
            met.note(batch)
        scores = {
            name: parts[0][name]
            if len(parts) == 1
            else np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }
        return Answers.of(self.targets, scores, met.quarantine, met.absent)

    def embed(
        self,
        source: Any,
        *,
        root: Path | str | None = None,
        streams: Sequence[str] | None = None,
    ) -> Float[np.ndarray, "rows width"]:
        """The fused vector of every row.

        Args:
            source: anything `plait.fit` takes; the target may be absent.
            root: the folder media paths are relative to; default: the table's own.
            streams: the only streams to look at; None: all.

        Warns:
            UnreadableCellsWarning: cells were unreadable and counted as missing.

        Raises:
            BundleError: the model was exported before exports gave vectors.
            ConfigError: streams is no list of names, or the model has no such stream.
        """
        if not self.graphs.embeds:
            raise BundleError(NO_VECTOR)
        streams = check_streams(streams, [stream.name for stream in self.streams])
        met, parts = Met(), []
        for batch in self._batches(source, root, Silent()):
            parts.append(self.graphs.vectors(batch.prepared.columns, batch.rows, streams))
            met.note(batch)
        warn(met.quarantine, met.absent)
        return np.concatenate(parts)

    def _batches(
        self, source: Any, root: Path | str | None, reporter: Reporter
    ) -> Iterator[PreparedBatch]:
        """The table as the graphs read it, a run of rows at a time."""
        cells = None
        if root is None or Path(root).is_dir():
            cells = plain_columns(source, self.features.modalities)
        if cells is not None:
            folder = None if root is None else Path(root)
            yield PreparedBatch(0, len(source), self._few(cells, len(source), folder))
            return
        table = open_table(source, root=root, empty=True)
        yield from batches(table, self.features, self.config, reporter)

    def _few(
        self, columns: Mapping[str, list[object]], rows: int, root: Path | None
    ) -> PreparedTable:
        """A few rows' columns."""
        media = Media(root, self._limits, named=root is not None)
        return self._cells(columns, rows, media, self._cores)

    def prepare(
        self, columns: Mapping[str, list[object]], rows: int, *, threads: int = 1
    ) -> PreparedTable:
        """The columns of a few rows whose cells come from strangers: no path in them is ever opened.

        Args:
            columns: cells by column, ``rows`` of them each; a column that is not named is missing.
            threads: how many cells to decode at once.
        """
        return self._cells(columns, rows, Media(None, self._limits, paths=False), threads)

    def _cells(
        self, columns: Mapping[str, list[object]], rows: int, media: Media, threads: int
    ) -> PreparedTable:
        """Cells as columns; one that is missing throughout is left out where it is a stream alone."""
        settings = Settings(media=media, preset=self.config.preset, threads=threads)
        prepared = PreparedTable({}, Quarantine())
        for name, kind in self.features.modalities.items():
            cells = columns.get(name)
            if cells is None:
                prepared.absent.append(name)
                cells = [None] * rows
            if name in self._alone and all(cell is None for cell in cells):
                continue
            column = registry.get(kind).prepare(cells, self.features.states[name], settings)
            prepared.columns[name] = PreparedColumn.from_prepared(column)
            if column.problems:
                prepared.quarantine.add(name, column.problems)
            prepared.quarantine.shorten(name, column.shortened)
        return prepared
