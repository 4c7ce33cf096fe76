"""What a column to predict asks for: classes, several labels at once, or a number."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from plait.data.modalities.base import Problem, is_missing
from plait.errors import shortened

Kind = Literal["binary", "multiclass", "multilabel", "regression"]

_INTEGRAL = re.compile(r"[+-]?\d+\.0*")

LARGEST = 1e18
"""Standard deviations that a number may lie off the mean: its square still fits 32 bits."""


@dataclass(frozen=True)
class Target:
    """A column to predict.

    Attributes:
        name: of the column.
        kind: what is predicted.
        classes: their names in order, numbers by size; empty for regression.
        separator: between the labels of a multi-label text cell; None when cells are lists.
        mean: of a regression target, in its own units, without the outer hundredth at either end.
        scale: its standard deviation, likewise.
        reason: why this kind was chosen, to show the user.
        cells: what the classes were in the table; answers come back as that. Text that spells whole
            numbers counts as those, since readers of CSV make numbers of it.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...] = ()
    separator: str | None = None
    mean: float = 0.0
    scale: float = 1.0
    reason: str = ""
    cells: Literal["text", "int", "float", "bool"] = "text"

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Target":
        """What `to_json` gave."""
        return cls(**{**data, "classes": tuple(data["classes"])})

    def encode(self, cells: Sequence[object]) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
        """Cells as numbers to learn from.

        Returns:
            The values: class numbers int64 ``[rows]``; 0 and 1 float32 ``[rows, classes]``; or
            standardised numbers float32 ``[rows]``. A mask ``[rows]``, False where the cell is missing
            or has a problem, and the values are 0. The problems: classes never seen in training,
            text where a number belongs.
        """
        if self.kind == "regression":
            return self._encode_numbers(cells)
        index = {name: number for number, name in enumerate(self.classes)}
        return (
            self._encode_sets(cells, index)
            if self.kind == "multilabel"
            else self._encode_classes(cells, index)
        )

    def labels(self, indices: Iterable[int] | np.ndarray) -> list[str]:
        """The names of class numbers."""
        return [self.classes[int(index)] for index in indices]

    def natural(self, indices: Iterable[int]) -> list[Any]:
        """The classes of class numbers as they were in the table: text, whole numbers, ..."""
        names = self.labels(indices)
        if self.cells == "bool":
            return [name == "True" for name in names]
        kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "text": str}
        return [kinds[self.cells](name) for name in names]

    def label_sets(self, chosen: np.ndarray) -> list[list[str]]:
        """The names chosen in each row of a boolean ``[rows, classes]``."""
        return [self.labels(np.flatnonzero(row)) for row in chosen]

    def join(self, labels: Sequence[str]) -> str:
        """Labels of one row as text, as they stand in the table."""
        return (self.separator or ";").join(labels)

    def original(self, values: np.ndarray) -> np.ndarray:
        """Standardised numbers in the target's own units, float64."""
        return np.asarray(values, dtype=np.float64) * self.scale + self.mean

    def _encode_classes(
        self, cells: Sequence[object], index: Mapping[str, int]
    ) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
        numbers = np.zeros(len(cells), dtype=np.int64)
        present = np.zeros(len(cells), dtype=bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            number = index.get(class_name(cell))
            if number is None:
                problems.append(Problem(row, self._unseen(class_name(cell))))
            else:
                numbers[row], present[row] = number, True
        return numbers, present, problems

    def _encode_sets(
        self, cells: Sequence[object], index: Mapping[str, int]
    ) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
        values = np.zeros((len(cells), len(self.classes)), dtype=np.float32)
        present = np.zeros(len(cells), dtype=bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            labels = label_parts(cell, self.separator)
            known = [index[label] for label in labels if label in index]
            # A row whose every label is unknown says nothing; an empty list says "none of them".
            if labels and not known:
                problems.append(Problem(row, self._unseen(labels[0])))
                continue
            values[row, known] = 1.0
            present[row] = True
        return values, present, problems

    def _encode_numbers(
        self, cells: Sequence[object]
    ) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
        values = np.zeros(len(cells), dtype=np.float32)
        present = np.zeros(len(cells), dtype=bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            number = as_number(cell)
            if number is None or not math.isfinite(number):
                problems.append(Problem(row, f"{short(cell)} is no finite number"))
                continue
            scaled = (number - self.mean) / self.scale
            if abs(scaled) > LARGEST:
                problems.append(Problem(row, f"{short(cell)} is too large a number"))
            else:
                values[row], present[row] = scaled, True
        return values, present, problems

    def _unseen(self, name: str) -> str:
        what = "label" if self.kind == "multilabel" else "class"
        known = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return f"the {what} {short(name)} was not in the training rows ({known})"


def class_name(cell: object) -> str:
    """The text a class goes by: 1, 1.0 and "1.0" are all ``1``; True is ``True``."""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    if isinstance(cell, int | np.integer):
        return str(int(cell))
    if isinstance(cell, float | np.floating | Decimal):
        number = float(cell)
        return str(int(number)) if math.isfinite(number) and number.is_integer() else str(number)
    text = str(cell).strip()
    return text.split(".")[0] if _INTEGRAL.fullmatch(text) else text


def as_number(cell: object) -> float | None:
    """The number a cell holds or spells, else None. Infinity is a number, NaN is not."""
    if isinstance(cell, bool | np.bool_ | int | float | np.number | Decimal | str):
        if isinstance(cell, str) and "_" in cell:
            return None
        try:
            number = float(cell)
        except (ValueError, OverflowError):
            return None
        return None if math.isnan(number) else number
    return None


def label_parts(cell: object, separator: str | None) -> list[str]:
    """The labels of a multi-label cell, each once, in order."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, list | tuple | set | frozenset):
        parts = [class_name(part) for part in cell if not is_missing(part)]
    elif isinstance(cell, str) and separator:
        parts = [class_name(part) for part in cell.split(separator) if part.strip()]
    else:
        parts = [class_name(cell)]
    return list(dict.fromkeys(parts))


def short(cell: object) -> str:
    """A cell quoted for a message, cut when it is long."""
    return repr(shortened(str(cell), 60))
