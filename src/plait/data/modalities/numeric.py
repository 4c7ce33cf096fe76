"""Numbers, from numbers, booleans or text, centred on the median and scaled by the quartiles."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from plait.data.modalities.base import (
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    is_missing,
)
from plait.data.modalities.evidence import be, quantity
from plait.errors import CellError, printable

MISSING_WORDS = frozenset(
    {"na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", "<na>", "nat"}
)
"""Text, in lower case, that says there is no number."""

MAX_DEVIATIONS = 10.0
"""Scaled values are cut at this many deviations from the median."""

_QUARTILES_TO_DEVIATION = 1.349
_QUANTILES = np.linspace(0, 1, 33)
_THOUSANDS_COMMA = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}")
_THOUSANDS_POINT = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class NumericModality(Modality):
    """Numbers to ``float32 [rows, 1]``: ``(x - center) / scale``, cut at ``clip``.

    State: ``center``, the median; ``scale``, the distance of the quartiles as a standard deviation of
    a normal distribution, or the standard deviation itself where the quartiles coincide, or 1 where
    all values are equal; ``clip``; ``constant``; ``minimum``, ``maximum``; ``quantiles``, 33 of them
    from the lowest to the highest, scaled alike, for encoders that work with bins.
    """

    name: ClassVar[str] = "numeric"
    tabular: ClassVar[bool] = True
    quantitative: ClassVar[bool] = True
    measure: ClassVar[str | None] = "value"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Cells that are numbers, or text that reads as numbers."""
        if not cells:
            return None
        if all(isinstance(cell, bool | np.bool_) for cell in cells):
            return Evidence(0.5, f"{quantity(len(cells), len(cells))} are true or false")
        read = sum(_reads(cell) for cell in cells)
        if read < 0.8 * len(cells) or all(is_missing_number(cell) for cell in cells):
            return None
        what = f"{quantity(read, len(cells))} {be(read, len(cells))} numbers"
        return Evidence(0.9 * read / len(cells), what)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Median, quartiles and the like over every training cell."""
        numbers = np.array([value for value in map(_number_or_none, cells) if value is not None])
        if not len(numbers):
            numbers = np.zeros(1)
        # Far beyond 1e150 squares overflow; such a column counts as constant, and its state says so.
        with np.errstate(over="ignore", invalid="ignore"):
            return _state(numbers)

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Read, scale and cut every number."""
        numbers = np.zeros(len(cells))
        present = np.zeros(len(cells), bool)
        problems: list[Problem] = []
        for row, cell in enumerate(cells):
            try:
                value = to_number(cell)
            except CellError as error:
                problems.append(Problem(row, str(error)))
                continue
            if value is not None:
                numbers[row] = value
                present[row] = True
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (numbers - state["center"]) / state["scale"]
        scaled = np.clip(scaled, -state["clip"], state["clip"])
        scaled[~present] = 0
        return Prepared(scaled.astype(np.float32)[:, None], None, present, problems)

    def describe(self, state: State) -> str:
        """For instance ``-3.1 to 12.4, median 2.5``."""
        if state["constant"]:
            return f"always {state['center']:.4g}"
        low, high = state["minimum"], state["maximum"]
        return f"{low:.4g} to {high:.4g}, median {state['center']:.4g}"

    def compared(self, cell: object, state: State, settings: Settings) -> Any:
        """The number itself."""
        return to_number(cell)

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """``x * scale + center`` as float, within what the training cells held, six digits of it."""
        values = prepared.values[:, 0].astype(np.float64) * state["scale"] + state["center"]
        values = np.clip(values, state["minimum"], state["maximum"])
        return [float(f"{value:.6g}") for value in values.tolist()]


def to_number(cell: object) -> float | None:
    """A cell as a finite number, or None where it says that there is none.

    Raises:
        CellError: when it is infinite, or no number.
    """
    if isinstance(cell, float):
        value = cell
    elif cell is None or is_missing(cell):
        return None
    elif isinstance(cell, str):
        if cell.strip().lower() in MISSING_WORDS:
            return None
        value = _parse(cell)
    else:
        value = _convert(cell)
    if value != value:
        return None
    if value in (float("inf"), float("-inf")):
        raise CellError(f"'{printable(str(cell))}' is infinite, expected a finite number")
    return value


def is_missing_number(cell: object) -> bool:
    """Whether a cell is missing, or a word for that such as ``NA``."""
    return is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in MISSING_WORDS)


def _convert(cell: object) -> float:
    if isinstance(cell, np.ndarray):
        if cell.size != 1:
            raise CellError(f"is an array of {cell.size} values, expected one number")
        cell = cell.item()
    if isinstance(cell, bytes | bytearray | complex | np.complexfloating | np.datetime64):
        raise CellError(f"is a {type(cell).__name__}, expected a number")
    try:
        return float(cell)  # type: ignore[arg-type]
    except OverflowError:
        raise CellError(f"'{printable(str(cell))}' is too large for a number") from None
    except (TypeError, ValueError):
        raise CellError(f"is a {type(cell).__name__}, expected a number") from None


def _parse(text: str) -> float:
    text = text.strip().replace("\u2212", "-")
    if "_" not in text and len(text) <= 400:
        try:
            return float(text)
        except ValueError:
            pass
        if _THOUSANDS_COMMA.fullmatch(text):
            return float(text.replace(",", ""))
        if _THOUSANDS_POINT.fullmatch(text):
            return float(text.replace(".", "").replace(",", "."))
        if _AMBIGUOUS.fullmatch(text):
            either = f"{text.replace(',', '.')} or {text.replace(',', '')}"
            raise CellError(f"'{text}' could be {either}: write it without the comma")
        if _DECIMAL_COMMA.fullmatch(text):
            return float(text.replace(",", "."))
    raise CellError(f"'{printable(text)}' is not a number")


def _number_or_none(cell: object) -> float | None:
    try:
        return to_number(cell)
    except CellError:
        return None


def _reads(cell: object) -> bool:
    """Whether a cell is a number, or a word for a missing one."""
    return _number_or_none(cell) is not None or is_missing_number(cell)


def _deviation(numbers: np.ndarray) -> float:
    """Standard deviation that does not overflow where the numbers themselves do not."""
    largest = float(np.abs(numbers).max())
    return float((numbers / largest).std() * largest) if largest > 0 else 0.0


def _state(numbers: np.ndarray) -> State:
    """The state of a column with these training values."""
    center = float(np.median(numbers))
    low, high = np.percentile(numbers, (25, 75))
    scale = float(high - low) / _QUARTILES_TO_DEVIATION
    spread = _deviation(numbers)
    if not np.isfinite(scale) or scale <= 1e-12 * max(abs(low), abs(high)):
        scale = spread
    constant = not (np.isfinite(scale) and scale > 0)
    scale = 1.0 if constant else scale
    cut = np.clip(
        (np.quantile(numbers, _QUANTILES) - center) / scale, -MAX_DEVIATIONS, MAX_DEVIATIONS
    )
    return {
        "center": center,
        "scale": scale,
        "clip": MAX_DEVIATIONS,
        "constant": constant,
        "minimum": float(numbers.min()),
        "maximum": float(numbers.max()),
        "quantiles": [round(float(value), 7) for value in cut],
    }
