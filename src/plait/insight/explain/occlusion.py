"""What mattered inside a cell, told by hiding its parts: exported models have no gradients.

Occlusion sensitivity (Zeiler & Fergus 2014, section 4.2) for pictures, sounds and signals; for texts,
one word left out at a time (Li, Monroe & Jurafsky 2016, "Understanding neural networks through
representation erasure"). A part's mark is what the score of the answer loses without it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from plait.data.modalities import registry
from plait.data.modalities.base import Unit
from plait.data.store import PreparedColumn
from plait.data.targets.scores import Scores, is_ragged
from plait.data.targets.target import Target
from plait.runtime import Runtime

GRIDS: dict[Unit, tuple[int, ...]] = {"pixels": (8, 8), "spectrum": (12, 6), "signal": (24,)}
"""Unit → parts along each axis: of a picture's height and width, of a sound's time and pitch, of a
signal's time. Units that are not here have no parts to hide.
"""

MAX_PARTS = 48
"""Parts of a text; of a longer one several words make a part."""

STEP = 16
"""Changed cells that travel together."""

_LETTERS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"\s*(?:[{_LETTERS}]|[^\s{_LETTERS}]+)")
"""A word with the blanks before it; scripts that set none between words are taken by the letter."""

Kind = Unit | Literal["words"]


@dataclass(frozen=True)
class Marked:
    """One cell.

    Attributes:
        column: where it stands.
        kind: what its parts are.
        cell: as the model reads it, ``[height, width, channels]``, ``[steps, mels]`` or
            ``[steps, leads]``; of a text its parts.
        marks: target → ``[rows of parts, columns of parts]``, of a text ``[parts]``; above 0 speaks for
            the answer.
    """

    column: str
    kind: Kind
    cell: Shaped[np.ndarray, "..."] | list[str]
    marks: dict[str, Float[np.ndarray, "..."]]


def occluded(
    runtime: Runtime, cells: Mapping[str, object], streams: Sequence[str] | None = None
) -> list[Marked]:
    """Marks for every picture, sound, signal and text of one row.

    Args:
        cells: column → the cell, from a stranger: no path in it is opened.
        streams: the only ones to look at; None: all.

    Cost: up to as many runs of a column's encoder as `GRIDS` has parts, `MAX_PARTS` of a text's. Videos
    and frozen features have no marks.
    """
    columns = runtime.prepare({name: [cell] for name, cell in cells.items()}, 1).columns
    read = {
        name
        for stream in runtime.streams
        if streams is None or stream.name in streams
        for name in stream.columns
    }
    maps = []
    for name, column in columns.items():
        if name in read and column.rows_present[0]:
            parts = _parts(runtime, name, column, cells[name])
            if parts is not None:
                marks = _marks(runtime, columns, name, parts, streams)
                maps.append(Marked(name, parts.kind, parts.cell, marks))
    return maps


@dataclass(frozen=True)
class _Parts:
    """A cell, and versions of it that each lack a part; the first lacks nothing."""

    kind: Kind
    cell: Shaped[np.ndarray, "..."] | list[str]
    shape: tuple[int, ...]
    versions: Iterator[PreparedColumn]


def _parts(runtime: Runtime, name: str, column: PreparedColumn, raw: object) -> _Parts | None:
    kind = _kind(runtime, name, column)
    if kind is None:
        return None
    if kind == "words":
        words = pieces(str(raw))
        texts = ["".join(words[:at] + words[at + 1 :]) for at in range(len(words))]
        # The whole cell in every run: padding to the longest changes scores by rounding.
        runs = ([raw, *texts[start : start + STEP]] for start in range(0, len(texts), STEP))
        versions = (runtime.prepare({name: cells}, len(cells)).columns[name] for cells in runs)
        return _Parts(kind, words, (len(words),), versions)
    cell = column.batch(np.zeros(1, np.int64))[0][0]
    edges = _edges(GRIDS[kind], cell.shape)
    areas = [tuple(slice(*part) for part in corner) for corner in product(*edges)]
    blank = cell.mean(axis=(0, 1) if kind == "pixels" else 0)
    versions = (
        _hidden(column, cell, blank.astype(cell.dtype), areas[start : start + STEP])
        for start in range(0, len(areas), STEP)
    )
    return _Parts(kind, cell, tuple(map(len, edges)), versions)


def _kind(runtime: Runtime, name: str, column: PreparedColumn) -> Kind | None:
    """What the parts of a column's cells are; None for those that have none."""
    modality = registry.get(runtime.features.modalities[name])
    if modality.words:
        return "words"
    ragged = column.offsets is not None
    unit = modality.unit(column.values.shape[1:], ragged, runtime.features.states[name])
    return unit if unit in GRIDS else None


def pieces(text: str) -> list[str]:
    """The parts of a text: words, or runs of words where there are more than `MAX_PARTS`."""
    words = _WORD.findall(text)
    each = -(-len(words) // MAX_PARTS)
    return ["".join(words[at : at + each]) for at in range(0, len(words), max(each, 1))]


def _edges(counts: tuple[int, ...], shape: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """Where the parts begin and end, along each axis that is divided."""
    return [
        list(pairwise(np.linspace(0, size, min(count, size) + 1).round().astype(int).tolist()))
        for size, count in zip(shape, counts, strict=False)
    ]


def _hidden(
    column: PreparedColumn,
    cell: Shaped[np.ndarray, "..."],
    blank: Shaped[np.ndarray, "..."],
    areas: Sequence[tuple[slice, ...]],
) -> PreparedColumn:
    """The cell, then one version for each area, which holds the cell's own mean there."""
    versions = np.repeat(cell[None], 1 + len(areas), axis=0)
    for version, area in zip(versions[1:], areas, strict=True):
        # A spectrogram's mean is one number a band, and an area has some of the bands only.
        version[area] = blank[area[1:]] if cell.ndim == 2 else blank
    present = np.ones(len(versions), bool)
    if column.offsets is None:
        return PreparedColumn(versions, None, present)
    offsets = np.arange(len(versions) + 1, dtype=np.int64) * len(cell)
    return PreparedColumn(versions.reshape(-1, *cell.shape[1:]), offsets, present)


def _marks(
    runtime: Runtime,
    columns: Mapping[str, PreparedColumn],
    name: str,
    parts: _Parts,
    streams: Sequence[str] | None,
) -> dict[str, Float[np.ndarray, "..."]]:
    """What each target's answer loses without each part."""
    lost: dict[str, list[np.ndarray]] = {target.name: [] for target in runtime.targets}
    for version in parts.versions:
        scores = runtime.graphs.instead(columns, name, version, streams)
        for target in runtime.targets:
            own = _score(target, scores[target.name])
            # The first version lacks nothing; it is the answer to compare with.
            lost[target.name].append(own[0] - own[1:])
    return {target: np.concatenate(drops).reshape(parts.shape) for target, drops in lost.items()}


def _score(target: Target, scores: Scores) -> Float[np.ndarray, " cells"]:
    """The score of the first cell's answer, in all cells; of several labels, of the likeliest."""
    if is_ragged(scores):
        return target.row_scores(scores)
    # The answer of the whole cell, though another may lead once a part is hidden.
    likeliest = scores[:, int(scores[0].argmax())].astype(np.float64)
    return likeliest * target.scale + target.mean
