"""Signals: time series of one or several leads, from .npy files, lists, CSV files or text."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from io import BytesIO
from math import ceil, prod
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np

from plait.data.media import label
from plait.data.modalities.base import (
    Display,
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    Unit,
    split_steps,
)
from plait.data.modalities.decode import decode_all, named
from plait.data.modalities.evidence import inline_bytes, media_evidence, quantity
from plait.data.modalities.sample import sample
from plait.errors import CellError, counted, printable

MAX_STEPS = {"fast": 1024, "balanced": 2048, "best": 4096}
"""Steps kept of a signal, by preset; longer columns are averaged down by a common stride."""

SAMPLED_SIGNALS = 200
"""Signals that leads, scale and stride are taken from."""

MAX_GAP_SHARE = 0.2
"""Share of a signal's values that may be missing and are drawn as straight lines."""

MAX_DEVIATIONS = 20.0
"""Values are cut at this many deviations from the median, so that a spike cannot drown the rest."""

MAX_LEADS = 256
"""A longer first axis is never taken for leads: the largest EEG caps have 256."""

EXTENSIONS = frozenset({".npy", ".csv", ".txt", ".tsv"})
MIN_INLINE_NUMBERS = 4
"""Numbers in a text from which on it is a signal: dates, ranges and coordinates have up to three."""

_NPY = b"\x93NUMPY"
_NUMBER = r"(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[Nn]a[Nn])"
_INLINE = re.compile(rf"\s*[\[(]?\s*{_NUMBER}(?:(?:\s*[,;]\s*|\s+){_NUMBER})*\s*[\])]?\s*")
_BETWEEN = re.compile(r"\s*[,;\t]\s*|\s+")


class SignalModality(Modality):
    """Signals to ``float32 [steps, leads]``, ragged, each lead scaled by the training cells.

    State: ``leads``; ``leads_first``, whether the cells are ``[leads, steps]`` and are turned;
    ``mean`` and ``std`` of each lead, as median and quartiles tell them; ``stride``, how many steps
    are averaged into one, the same for every cell so that time runs alike; ``max_steps``, after which
    a longer signal is cut.
    """

    name: ClassVar[str] = "signal"
    media: ClassVar[bool] = True
    listed: ClassVar[bool] = True
    display: ClassVar[Display] = "curve"
    folder_suffixes: ClassVar[frozenset[str]] = frozenset(
        {".npy"}
    )  # text files are tables as often
    file_suffix: ClassVar[str] = ".npy"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Lists of numbers, text of numbers, or files that hold them."""
        if not cells:
            return None
        everything = quantity(len(cells), len(cells))
        if all(isinstance(cell, list | tuple | np.ndarray) for cell in cells):
            try:
                shapes = {read(cell, settings).ndim for cell in cells[:20]}
            except CellError:
                return None
            return Evidence(0.95, f"{everything} are lists of numbers ({max(shapes)}-dimensional)")
        inline = sum(is_inline(cell) for cell in cells)
        if inline >= 0.9 * len(cells):
            return Evidence(
                0.92 * inline / len(cells), f"{quantity(inline, len(cells))} list numbers"
            )
        look = partial(read, settings=settings)
        return media_evidence("signal", cells, settings, EXTENSIONS, _has_magic, look)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Leads, their order and scale, and the stride, from sampled cells."""
        seconds = settings.media.limits.decode_seconds
        chosen = sample((cell for cell in cells if not _is_nothing(cell)), SAMPLED_SIGNALS)
        signals = decode_all(partial(read, settings=settings), chosen, settings.threads, seconds)
        arrays = [entry for entry in signals if isinstance(entry, np.ndarray)]
        leads_first = _leads_first([array.shape for array in arrays if array.ndim == 2])
        turned = [_turn(array, leads_first) for array in arrays]
        counts = [array.shape[1] for array in turned]
        leads = max(set(counts), key=lambda count: (counts.count(count), -count)) if counts else 1
        fitting = [array for array in turned if array.shape[1] == leads]
        means, stds = _scale(fitting, leads)
        cap = MAX_STEPS[settings.preset]
        longest = np.percentile([len(array) for array in fitting], 99) if fitting else cap
        stride = max(ceil(longest / cap), 1)
        return {
            "leads": leads,
            "leads_first": leads_first,
            "mean": means,
            "std": stds,
            "stride": stride,
            "max_steps": cap,
        }

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Read, turn, mend gaps, average by the stride, cut and scale every signal."""

        def decode(cell: object) -> np.ndarray | None:
            return None if _is_nothing(cell) else _prepare_one(read(cell, settings), state)

        decoded = decode_all(decode, cells, settings.threads, settings.media.limits.decode_seconds)
        lengths = np.zeros(len(cells), np.int64)
        problems: list[Problem] = []
        parts = [np.zeros((0, int(state["leads"])), np.float32)]
        for row, entry in enumerate(decoded):
            if isinstance(entry, CellError):
                problems.append(Problem(row, str(entry)))
            elif entry is not None:
                parts.append(entry)
                lengths[row] = len(entry)
        return Prepared(np.concatenate(parts), lengths, lengths > 0, problems)

    def describe(self, state: State) -> str:
        """For instance ``2 leads, at most 2048 steps``."""
        turned = ", turned from leads by steps" if state["leads_first"] else ""
        stride = f", {state['stride']} steps averaged into one" if state["stride"] > 1 else ""
        return f"{counted(state['leads'], 'lead')}{turned}{stride}, the first {state['max_steps']} steps"

    def unit(self, inner: tuple[int, ...], ragged: bool, state: State) -> Unit:
        """A lead at a step."""
        raw = ragged and inner == (state.get("leads"),)
        return "signal" if raw else super().unit(inner, ragged, state)

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """``float32``, its axes as in the column's own cells: ``[steps]``, or two in either order.

        Scaled back, each step repeated by the stride, so that time runs as in the column's cells.
        """
        signals = []
        for steps in split_steps(prepared):
            signal = steps * np.array(state["std"]) + np.array(state["mean"])
            signal = signal.repeat(int(state["stride"]), axis=0).astype(np.float32)
            if signal.shape[1] == 1 and not state["leads_first"]:
                signal = signal[:, 0]
            signals.append(signal.T if state["leads_first"] else signal)
        return signals


def read(cell: object, settings: Settings) -> np.ndarray:
    """A cell's signal as it is stored, ``float64 [steps]`` or two axes; gaps are NaN.

    Raises:
        CellError: when it is no signal, or too large.
    """
    limits = settings.media.limits
    if isinstance(cell, list | tuple | np.ndarray):
        return _numbers(_from_lists(cell, limits.signal_bytes))
    if isinstance(cell, str) and is_inline(cell):
        return _numbers(_from_inline(cell, limits.signal_bytes))
    data = settings.media.read(cell, limits.signal_bytes, "max_signal_mb")
    if data.startswith(_NPY):
        return _numbers(_from_npy(data, limits.signal_bytes))
    suffix = PurePath(label(cell).strip("'")).suffix.lower()
    if suffix == ".npy" or (inline_bytes(cell) is not None and not suffix):
        raise CellError(named(cell, "is not a NumPy array file"))
    return _numbers(_from_csv(data, limits.signal_bytes))


def _numbers(array: np.ndarray) -> np.ndarray:
    """Checked to be one or two axes of real numbers, as float64."""
    if array.dtype.kind not in "biuf":
        raise CellError(f"holds values of type {array.dtype}, expected real numbers")
    if array.ndim not in (1, 2):
        raise CellError(f"has {array.ndim} axes, expected steps, or steps by leads")
    if array.size == 0:
        raise CellError("holds no values")
    return array.astype(np.float64)


def _from_npy(data: bytes, cap: int) -> np.ndarray:
    stream = BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(stream)
    except (ValueError, EOFError, SyntaxError, TypeError):
        raise CellError("is a damaged NumPy array file") from None
    if dtype.hasobject:
        raise CellError("holds Python objects, which plait does not load")
    if prod(shape) * dtype.itemsize > cap:
        size = prod(shape) * dtype.itemsize / 1e6
        raise CellError(
            f"claims {size:.4g} MB, more than the cap of {cap / 1e6:g} MB (max_signal_mb)"
        )
    if prod(shape) * dtype.itemsize > len(data) - stream.tell():
        raise CellError("is truncated: its header claims more values than it holds")
    stream.seek(0)
    array: np.ndarray = np.load(stream, allow_pickle=False)
    return array


def _from_lists(cell: list[object] | tuple[object, ...] | np.ndarray, cap: int) -> np.ndarray:
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        array = cell
    else:
        rows = list(cell)
        nested = [row for row in rows if isinstance(row, list | tuple | np.ndarray)]
        if nested and (len(nested) < len(rows) or len({len(row) for row in nested}) > 1):
            raise CellError("its rows differ in length")
        try:
            array = np.array([list(row) for row in nested] if nested else rows, dtype=np.float64)
        except (TypeError, ValueError):
            raise CellError("holds something other than numbers") from None
    if array.nbytes > cap:
        size = array.nbytes / 1e6
        raise CellError(
            f"holds {size:.4g} MB, more than the cap of {cap / 1e6:g} MB (max_signal_mb)"
        )
    return array


def _from_inline(text: str, cap: int) -> np.ndarray:
    if len(text) > cap:
        size = len(text) / 1e6
        raise CellError(
            f"holds {size:.4g} MB, more than the cap of {cap / 1e6:g} MB (max_signal_mb)"
        )
    try:
        return np.array([float(word) for word in _BETWEEN.split(text.strip(" \t\r\n[]()")) if word])
    except ValueError as error:
        word = str(error).rpartition(": ")[2].strip("'")
        raise CellError(f"holds '{printable(word)}' among its numbers") from None


def _from_csv(data: bytes, cap: int) -> np.ndarray:
    """A matrix of numbers, one step a line; a first line of names is skipped."""
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise CellError("is neither a NumPy array file nor text of numbers") from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines):
        words = _BETWEEN.split(line.strip())
        try:
            rows.append([float(word) if word else np.nan for word in words])
        except ValueError:
            if number:
                text = f"line {number + 1} is '{printable(line)}', expected numbers"
                raise CellError(text) from None
    if len({len(row) for row in rows}) > 1:
        raise CellError("its lines differ in how many numbers they hold")
    if sum(map(len, rows)) * 8 > cap:
        raise CellError(f"holds more than the cap of {cap / 1e6:g} MB (max_signal_mb)")
    array = np.array(rows)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _prepare_one(array: np.ndarray, state: State) -> np.ndarray:
    """``float32 [steps, leads]`` of one signal."""
    leads, stride = int(state["leads"]), int(state["stride"])
    turned = _turn(array, bool(state["leads_first"]))
    if turned.shape[1] != leads:
        shape = " x ".join(map(str, array.shape))
        raise CellError(f"has the shape {shape}, expected {counted(leads, 'lead')}")
    mended = _mend(turned[: int(state["max_steps"]) * stride])
    if stride > 1:
        mended = np.add.reduceat(mended, np.arange(0, len(mended), stride)) / np.minimum(
            stride, len(mended) - np.arange(0, len(mended), stride)
        ).reshape(-1, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (mended - np.array(state["mean"])) / np.array(state["std"])
    return np.clip(scaled, -MAX_DEVIATIONS, MAX_DEVIATIONS).astype(np.float32)


def _turn(array: np.ndarray, leads_first: bool) -> np.ndarray:
    """``[steps, leads]``."""
    if array.ndim == 1:
        return array[:, None]
    return array.T if leads_first else array


def _mend(signal: np.ndarray) -> np.ndarray:
    """Draw a straight line across gaps, lead by lead."""
    gaps = ~np.isfinite(signal)
    if not gaps.any():
        return signal
    if np.isinf(signal).any():
        raise CellError("holds infinite values")
    share = gaps.mean(axis=0).max()
    if share >= MAX_GAP_SHARE:
        raise CellError(f"{share:.0%} of a lead are missing (NaN), more than {MAX_GAP_SHARE:.0%}")
    mended = signal.copy()
    steps = np.arange(len(signal))
    for lead in np.flatnonzero(gaps.any(axis=0)):
        known = ~gaps[:, lead]
        mended[~known, lead] = np.interp(steps[~known], steps[known], signal[known, lead])
    return mended


def _leads_first(shapes: list[tuple[int, ...]]) -> bool:
    """Whether the first axis is the leads: as long in every cell, and clearly the shorter one."""
    if not shapes:
        return False
    first = {shape[0] for shape in shapes}
    second = {shape[1] for shape in shapes}
    if len(first) == 1 and len(second) > 1:
        return max(first) <= MAX_LEADS
    return len(first) == 1 and max(first) * 4 <= min(second) and max(first) <= MAX_LEADS


def _scale(arrays: list[np.ndarray], leads: int) -> tuple[list[float], list[float]]:
    """Median and deviation of each lead; a lead that never changes has deviation 1."""
    if not arrays:
        return [0.0] * leads, [1.0] * leads
    values = np.concatenate([array[:: max(len(array) // 4096, 1)] for array in arrays])
    values = np.where(np.isfinite(values), values, np.nan)
    means, stds = [], []
    for lead in values.T:
        known = lead[~np.isnan(lead)]
        low, middle, high = np.percentile(known, (25, 50, 75)) if len(known) else (0.0, 0.0, 0.0)
        spread = float(known.std()) if len(known) else 0.0
        # Spiky signals rest most of the time, so the quartiles alone would blow them up.
        deviation = max((high - low) / 1.349, spread / 2)
        means.append(float(middle))
        stds.append(float(deviation) if 1e-12 < deviation < np.inf else 1.0)
    return means, stds


def is_inline(cell: object) -> bool:
    """Whether a cell is text that lists numbers."""
    if not isinstance(cell, str) or len(cell) < 2 * MIN_INLINE_NUMBERS - 1:
        return False
    head = cell[:2000].rsplit(maxsplit=1)[0] if len(cell) > 2000 else cell
    head = head.rstrip(",; ")
    return len(_BETWEEN.split(head.strip())) >= MIN_INLINE_NUMBERS and bool(_INLINE.fullmatch(head))


def _is_nothing(cell: object) -> bool:
    return isinstance(cell, list | tuple | np.ndarray) and len(cell) == 0


def _has_magic(data: bytes) -> bool:
    return data.startswith(_NPY)
