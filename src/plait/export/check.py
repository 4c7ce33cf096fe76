"""Whether an exported model answers as the fitted one does, from raw cells and from random arrays."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations

import numpy as np

from plait.answers.golden import TOLERANCE
from plait.data.features import PreparedTable
from plait.data.store import PreparedColumn
from plait.data.table.quarantine import Quarantine
from plait.errors import ExportError, PlaitWarning
from plait.export.convert import reason
from plait.model.infer import fused_vectors, infer
from plait.onnx_session import SessionError, failures
from plait.predictor.predictor import Predictor
from plait.runtime import Runtime

MAX_EXACT = 4
"""Streams from which on not every pattern of missing ones is tried, but a sample."""

SAMPLED_SUBSETS = 8
"""Patterns tried beyond all, none, each alone and each missing, of more than `MAX_EXACT` streams."""


def patterns(streams: Sequence[str], seed: int = 0) -> list[list[str]]:
    """Which streams are there: every subset of up to `MAX_EXACT`, a sample of the subsets of more."""
    if len(streams) <= MAX_EXACT:
        sizes = range(len(streams) + 1)
        return [list(subset) for size in sizes for subset in combinations(streams, size)]
    subsets = [list(streams), []]
    subsets += [[name] for name in streams]
    subsets += [[other for other in streams if other != name] for name in streams]
    generator = np.random.default_rng(seed)
    for _ in range(SAMPLED_SUBSETS):
        kept = generator.random(len(streams)) < 0.5
        subsets.append([name for name, keep in zip(streams, kept, strict=True) if keep])
    return subsets


def check_golden(model: Predictor, runtime: Runtime) -> float:
    """Both models on the golden rows from their raw cells, under every pattern of missing streams.

    Returns:
        the largest difference between any two scores.

    Raises:
        ExportError: it is over 1e-4; names target, row and pattern.
    """
    columns = model.blueprint.streams
    cases = [
        (number, pattern, _without(row.cells(), columns, pattern))
        for number, row in enumerate(model.golden)
        for pattern in patterns(list(columns))
    ]
    if not cases:
        return 0.0
    rows = [cells for _, _, cells in cases]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)
        want = model.answer(rows).scores
        with onnxruntime_told():
            many = runtime.answer(rows).scores
            # One by one as well: alone a row is not padded to the longest of a batch.
            few = [runtime.answer([cells]).scores for cells in rows]
    scales = {target.name: target.scale for target in model.targets}
    worst = 0.0
    for name, expected in want.items():
        alone = np.concatenate([scores[name] for scores in few])
        for got in (many[name], alone):
            gap = gaps(got, expected) / scales[name]
            worst = max(worst, float(gap.max()))
            if worst > TOLERANCE:
                number, pattern, _ = cases[int(gap.argmax())]
                raise _unlike(name, worst, f"golden row {number}", pattern)
    return worst


def _without(
    cells: Mapping[str, object], columns: Mapping[str, Sequence[str]], pattern: Sequence[str]
) -> dict[str, object]:
    """A row whose cells of other streams than those of the pattern are empty."""
    kept = {name for stream in pattern for name in columns[stream]}
    return {name: cell if name in kept else None for name, cell in cells.items()}


def check_random(
    model: Predictor, runtime: Runtime, columns: Mapping[str, PreparedColumn], rows: int
) -> float:
    """Both models on random prepared arrays, under every pattern of missing streams.

    Returns:
        the largest difference between any two scores.

    Raises:
        ExportError: it is over 1e-4; names target, row and pattern.
    """
    subsets = {", ".join(subset): subset for subset in patterns(list(model.blueprint.streams))}
    encoded = model.frozen.encode(PreparedTable(dict(columns), Quarantine())).columns
    want = infer(model.model, encoded, np.arange(rows), subsets=subsets)
    worst = 0.0
    for pattern, subset in subsets.items():
        with onnxruntime_told():
            got = runtime.graphs.run(columns, rows, subset)
        for name, expected in want[pattern].items():
            gap = gaps(got[name], expected)
            worst = max(worst, float(gap.max()))
            if worst > TOLERANCE:
                raise _unlike(name, worst, f"random row {int(gap.argmax())}", subset)
    _check_vectors(model, runtime, columns, rows)
    return worst


def _check_vectors(
    model: Predictor, runtime: Runtime, columns: Mapping[str, PreparedColumn], rows: int
) -> None:
    """Check that both give the same fused vectors, to 1e-4 of the largest number in them or of 1."""
    encoded = model.frozen.encode(PreparedTable(dict(columns), Quarantine()))
    want = fused_vectors(model.model, encoded.columns, np.arange(rows))
    with onnxruntime_told():
        got = runtime.graphs.vectors(columns, rows)
    gap = float(gaps(got, want).max()) / max(1.0, float(np.abs(want).max()))
    if not gap <= TOLERANCE:
        raise ExportError(
            f"the exported model's fused vectors differ from the fitted model's by {gap:.2g} of their "
            f"largest number, more than {TOLERANCE}. Nothing was exported. Please report it with the "
            "fusion and encoders of the model; another fusion may work."
        )


@contextmanager
def onnxruntime_told() -> Iterator[None]:
    """Turn errors of onnxruntime into an `ExportError`."""
    try:
        with failures():
            yield
    except SessionError as error:
        raise ExportError(
            f"onnxruntime cannot run a graph of the exported model: {reason(error)}. Nothing was "
            "exported. Please report it with the fusion and encoders of the model; others may work."
        ) from None


def gaps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The largest difference of each row; NaN, which would compare as well, counts as infinite."""
    gaps = np.abs(got - want).reshape(len(want), -1).max(axis=1)
    return np.where(np.isnan(gaps), np.inf, gaps)


def _unlike(target: str, gap: float, where: str, pattern: Sequence[str]) -> ExportError:
    there = ", ".join(pattern) or "nothing"
    return ExportError(
        f"the exported model differs from the fitted one: its scores for '{target}' differ by "
        f"{gap:.2g}, more than {TOLERANCE}, in {where} with {there} given. Nothing was exported. Please "
        "report it with the fusion and encoders of the model; another version of torch or onnxruntime, "
        "or another fusion, may work."
    )
