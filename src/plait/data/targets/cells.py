"""The cells of a target column as text, numbers and labels."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np

from plait.data.modalities.base import is_missing
from plait.errors import shortened

_INTEGRAL = re.compile(r"[+-]?\d+\.0*")


@dataclass(frozen=True)
class Cells:
    """The cells of a target that are there, of the training rows, and what they look like.

    Attributes:
        name: of the column.
        present: the cells, none of them missing.
    """

    name: str
    present: Sequence[object]

    def __len__(self) -> int:
        return len(self.present)

    @cached_property
    def listed(self) -> bool:
        """Whether some cell is a list."""
        return any(isinstance(cell, list | tuple | np.ndarray) for cell in self.present)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each `class_name` occurs."""
        return Counter(class_name(cell) for cell in self.present)

    @cached_property
    def numbers(self) -> list[float | None]:
        """Each cell `as_number`."""
        return [as_number(cell) for cell in self.present]


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


def commonest(counts: Counter[str]) -> str:
    """The commonest names, for a message."""
    shown = [short(name) for name, _ in counts.most_common(4)]
    return ", ".join(shown) + (", ..." if len(counts) > 4 else "")


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names sorted, those that are numbers by size and before the others."""

    def place(name: str) -> tuple[bool, float, str]:
        number = as_number(name)
        return (number is None, 0.0 if number is None else number, name)

    return tuple(sorted(names, key=place))
