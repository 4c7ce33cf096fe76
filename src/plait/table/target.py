"""What a column to predict asks for: classes, several labels at once, or a number."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np

from plait.errors import SchemaError, unknown
from plait.modalities.base import Problem, is_missing

Kind = Literal["binary", "multiclass", "multilabel", "regression"]

SEPARATORS = (";", "|", ",")
"""Between the labels of a multi-label cell, in the order they are tried."""

MAX_NUMBERED_CLASSES = 20
"""Whole numbers with more distinct values than this are regressed."""

_INTEGRAL = re.compile(r"[+-]?\d+\.0*")
_RARE_FROM = 50
_ANSWERS = (bool, int, float, str, Decimal, list, tuple, np.generic, np.ndarray)
_SHOWN = 60


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
    """

    name: str
    kind: Kind
    classes: tuple[str, ...] = ()
    separator: str | None = None
    mean: float = 0.0
    scale: float = 1.0
    reason: str = ""

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
                problems.append(Problem(row, f"{_short(cell)} is no finite number"))
            else:
                values[row], present[row] = (number - self.mean) / self.scale, True
        return values, present, problems

    def _unseen(self, name: str) -> str:
        what = "label" if self.kind == "multilabel" else "class"
        known = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return f"the {what} {_short(name)} was not in the training rows ({known})"


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


def propose_target(
    name: str,
    cells: Iterable[object],
    *,
    kind: str | None = None,
    separator: str | None = None,
) -> Target:
    """Choose the kind of a target and learn its classes or its scale.

    Args:
        name: of the column.
        cells: of the training rows only.
        kind: where the user knows better than the proposal.
        separator: between the labels of a cell; naming one makes the target multi-label.

    Raises:
        SchemaError: when there is nothing to learn, or the cells do not fit ``kind``.
    """
    if kind is not None and kind not in get_args(Kind):
        raise SchemaError(f"target '{name}': {unknown('kind', kind, get_args(Kind))}")
    if separator is not None and kind not in (None, "multilabel"):
        raise SchemaError(
            f"target '{name}': a separator ({separator!r}) makes it multilabel, but its kind is "
            f"{kind}. Leave one of the two out."
        )
    rows = 0
    present = []
    for cell in cells:
        rows += 1
        if not is_missing(cell):
            present.append(cell)
    if not present:
        raise SchemaError(
            f"the target '{name}' is missing in all {rows} rows: nothing to learn. "
            "Name the column that holds the answers."
        )
    _check_types(name, present)
    listed = any(isinstance(cell, list | tuple | np.ndarray) for cell in present)
    if separator is not None or kind == "multilabel" or (kind is None and listed):
        return _multilabel(name, present, separator, listed)
    if listed:
        raise SchemaError(f"the target '{name}' holds lists, which are multilabel, not {kind}.")
    if kind == "regression":
        return _regression(name, present, "as you named it")
    return _chosen(name, present, kind)


def _check_types(name: str, present: list[object]) -> None:
    """Refuse what is no answer at all."""
    odd = next((cell for cell in present if not isinstance(cell, _ANSWERS)), None)
    if odd is not None:
        raise SchemaError(
            f"the target '{name}' holds {type(odd).__name__} cells. A target holds class names, lists "
            "of labels, or numbers; turn dates and files into one of those first."
        )


def _chosen(name: str, present: list[object], kind: str | None) -> Target:
    """Binary, multi-class or regression by content, or as named; multi-label by a separator."""
    counts = Counter(class_name(cell) for cell in present)
    if len(counts) == 1:
        raise SchemaError(
            f"the target '{name}' has a single class {_short(next(iter(counts)))} in all {len(present)} "
            "rows: nothing to learn. Add rows of another class, or name another target."
        )
    if kind is None:
        numbers = [as_number(cell) for cell in present]
        if all(number is not None for number in numbers) and len(counts) > 2:
            why = _why_regression([number for number in numbers if number is not None], len(counts))
            if why:
                return _regression(name, present, why)
        elif len(counts) > 2:
            found = _find_separator(present, counts)
            if found:
                return _multilabel(name, present, found, listed=False)
    if kind == "binary" and len(counts) > 2:
        raise SchemaError(
            f"the target '{name}' is to be binary but has {len(counts)} classes: {_list(counts)}."
        )
    if len(counts) > 2 and len(counts) == len(present):
        raise SchemaError(
            f"the target '{name}' has as many classes as rows ({len(present)}), such as "
            f"{_list(counts)}: no class could be learnt from one row and tested on another. "
            "Name another target, or kind 'regression' if it is a number, or 'multilabel' with a "
            "separator."
        )
    binary = len(counts) == 2
    reason = f"{len(counts)} distinct values: {_list(counts)}"
    rare = sum(count == 1 for count in counts.values())
    if rare:
        reason += f"; {rare} of them in a single row"
    return Target(name, "binary" if binary else "multiclass", _in_order(counts), reason=reason)


def _why_regression(numbers: list[float], distinct: int) -> str:
    """Why numbers are regressed, or an empty string when they number classes."""
    if any(not number.is_integer() for number in numbers if math.isfinite(number)):
        return f"numbers with fractions, {distinct} distinct"
    if distinct > MAX_NUMBERED_CLASSES:
        return f"{distinct} distinct whole numbers, more than {MAX_NUMBERED_CLASSES}"
    if 2 * distinct > len(numbers):
        return f"{distinct} distinct whole numbers in {len(numbers)} rows"
    return ""


def _find_separator(present: list[object], counts: Counter[str]) -> str | None:
    """The mark that splits texts into a smaller vocabulary of short labels that come back."""
    for mark in SEPARATORS:
        share = sum(count for text, count in counts.items() if mark in text) / len(present)
        if share < 0.1:
            continue
        labels: Counter[str] = Counter()
        texts: Counter[str] = Counter()
        for text, count in counts.items():
            for label in label_parts(text, mark):
                labels[label] += count
                texts[label] += 1
        short = sum(c for x, c in labels.items() if len(x) <= 40 and len(x.split()) <= 4)
        total = labels.total()
        shared = sum(count for label, count in labels.items() if texts[label] > 1)
        # Sentences split at commas give labels that are long or never come back; class names that
        # happen to hold the mark give labels that stay in one text.
        if 2 * shared >= total and short >= 0.95 * total >= 2.85 * len(labels):
            return mark
    return None


def _multilabel(name: str, present: list[object], separator: str | None, listed: bool) -> Target:
    """Learn the labels; those seen once are left out when there are many."""
    if separator is None and not listed:
        texts = Counter(class_name(cell) for cell in present)
        marks = Counter({mark: sum(mark in text for text in texts) for mark in SEPARATORS})
        separator = next((mark for mark in SEPARATORS if marks[mark]), None)
    labels = Counter(label for cell in present for label in label_parts(cell, separator))
    if len(labels) < 2:
        raise SchemaError(
            f"the multilabel target '{name}' has {len(labels)} label in all {len(present)} rows: "
            "nothing to learn. Name its separator, or another target."
        )
    how = "lists of labels" if listed else f"labels separated by {separator!r}"
    reason = f"{how}, {len(labels)} distinct: {_list(labels)}"
    if len(labels) > _RARE_FROM:
        often = Counter({label: count for label, count in labels.items() if count > 1})
        if len(often) >= 2 and len(often) < len(labels):
            reason += f"; {len(labels) - len(often)} seen in a single row are left out"
            labels = often
    return Target(
        name, "multilabel", _in_order(labels), None if listed else separator, reason=reason
    )


def _regression(name: str, present: list[object], why: str) -> Target:
    """Learn mean and standard deviation between the outer hundredths, which may be far out."""
    parsed = [as_number(cell) for cell in present]
    bad = next((cell for cell, number in zip(present, parsed, strict=True) if number is None), None)
    if bad is not None:
        count = sum(number is None for number in parsed)
        raise SchemaError(
            f"the target '{name}' is to be regressed, but {count} of {len(present)} cells are no "
            f"number, such as {_short(bad)}. Mend or empty those cells, or name another kind."
        )
    numbers = np.array([n for n in parsed if n is not None and math.isfinite(n)], dtype=np.float64)
    if len(numbers) == 0 or numbers.min() == numbers.max():
        shown = f"the single value {numbers[0]:g}" if len(numbers) else "no finite number"
        raise SchemaError(
            f"the target '{name}' has {shown} in all {len(present)} rows: nothing to learn. "
            "Name another target."
        )
    low, high = np.quantile(numbers, [0.01, 0.99])
    inner = np.clip(numbers, low, high)
    if inner.std() == 0:
        inner = numbers
    mean, scale = float(inner.mean()), float(inner.std())
    reason = f"{why}, from {numbers.min():g} to {numbers.max():g}"
    return Target(name, "regression", mean=mean, scale=scale, reason=reason)


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted, those that are numbers by size and before the others."""

    def place(name: str) -> tuple[bool, float, str]:
        number = as_number(name)
        return (number is None, 0.0 if number is None else number, name)

    return tuple(sorted(names, key=place))


def _list(counts: Counter[str]) -> str:
    """The commonest names, for a message."""
    shown = [_short(name) for name, _ in counts.most_common(4)]
    return ", ".join(shown) + (", ..." if len(counts) > 4 else "")


def _short(cell: object) -> str:
    text = str(cell)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
