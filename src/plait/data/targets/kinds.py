"""Choosing what kind of target a column is: classes, several labels at once, or a number."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, get_args

import numpy as np

from plait.data.modalities.base import is_missing
from plait.data.targets.target import Kind, Target, as_number, class_name, label_parts, short
from plait.errors import SchemaError, unknown

SEPARATORS = (";", "|", ",")
"""Between the labels of a multi-label cell, in the order they are tried."""

MAX_NUMBERED_CLASSES = 20
"""Whole numbers with more distinct values than this are regressed."""

_RARE_FROM = 50
_ANSWERS = (bool, int, float, str, Decimal, list, tuple, np.generic, np.ndarray)


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
            f"the target '{name}' has a single class {short(next(iter(counts)))} in all {len(present)} "
            "rows: nothing to learn. Add rows of another class, or name another target."
        )
    if kind is None:
        numbers = [as_number(cell) for cell in present]
        if all(number is not None for number in numbers) and len(counts) > 2:
            why = _why_regression([number for number in numbers if number is not None], len(counts))
            if why:
                return _regression(name, present, why)
        elif len(counts) > 2:
            _refuse_stray_text(name, present, numbers)
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
    return Target(
        name,
        "binary" if binary else "multiclass",
        _in_order(counts),
        reason=reason,
        cells=_cell_type(present, counts),
    )


def _refuse_stray_text(name: str, present: list[object], numbers: list[float | None]) -> None:
    """Numbers with a few cells of other text among them are a mistake, not that many classes."""
    real = [number for number in numbers if number is not None]
    stray = next(cell for cell, number in zip(present, numbers, strict=True) if number is None)
    if len(real) >= 0.9 * len(present) and _why_regression(real, len(set(real))):
        raise SchemaError(
            f"the target '{name}' holds numbers in {len(real)} of {len(present)} cells, but "
            f"{short(stray)} is none. Mend or empty those cells, or say that they are "
            "classes with kind 'multiclass'."
        )


def _cell_type(
    present: list[object], names: Iterable[str]
) -> Literal["text", "int", "float", "bool"]:
    """What all the cells of a class target are."""
    if all(isinstance(cell, bool | np.bool_) for cell in present):
        return "bool"
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", name) for name in names):
        floats = all(isinstance(cell, float | np.floating) for cell in present)
        return "float" if floats else "int"
    if all(isinstance(cell, float | int | np.number) for cell in present):
        return "float"
    return "text"


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
    elif separator is not None and not any(separator in str(cell) for cell in present):
        raise SchemaError(
            f"the target '{name}': no cell holds the separator {separator!r}, such as "
            f"{short(present[0])}. Name the one that stands between labels."
        )
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
            f"number, such as {short(bad)}. Mend or empty those cells, or name another kind."
        )
    numbers = np.array([n for n in parsed if n is not None and math.isfinite(n)], dtype=np.float64)
    if len(numbers) and not 1e-100 < np.abs(numbers).max() < 1e100:
        raise SchemaError(
            f"the target '{name}' has numbers of the size {np.abs(numbers).max():g}, beyond what can be "
            "computed with. Scale them first, for instance by taking logarithms."
        )
    if len(numbers) == 0 or numbers.min() == numbers.max():
        shown = f"the single value {numbers[0]:g}" if len(numbers) else "no finite number"
        if len({str(cell) for cell in present}) > 1 and len(numbers):
            shown = f"values that differ too little for a 64-bit float, about {numbers[0]:g},"
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
    shown = [short(name) for name, _ in counts.most_common(4)]
    return ", ".join(shown) + (", ..." if len(counts) > 4 else "")
