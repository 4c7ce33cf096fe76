"""Columns that hold the answer in other words: a text that names the class, a number that orders it."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from plait.data.modalities.base import is_missing
from plait.data.table.base import Table
from plait.data.targets.cells import as_number

SAMPLED_ROWS = 2_000
"""Rows compared, evenly spread; more change nothing about such a clear finding."""

MIN_ROWS = 20
OWN_SHARE, OTHER_SHARE = 0.9, 0.5
"""Share of rows whose text names their own class, and at most another, from which on it is no chance."""

MAX_CLASSES = 1_000

_WORDS = re.compile(r"[^\W\d_]+|\d+")


def giveaways(table: Table, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
    """A warning per column and target whose cells give the answer away."""
    rows = np.unique(np.linspace(0, table.rows - 1, min(table.rows, SAMPLED_ROWS)).astype(np.int64))
    answers = {name: table.cells(name, rows) for name in targets}
    warnings = []
    for column in inputs:
        cells = table.cells(column, rows)
        for target, goals in answers.items():
            pairs = [
                (cell, goal)
                for cell, goal in zip(cells, goals, strict=True)
                if not is_missing(cell) and not is_missing(goal)
            ]
            if len(pairs) >= MIN_ROWS and (why := _why(pairs)):
                warnings.append(
                    f"{column}: {why.format(target=target)}; if it is not known at prediction time, "
                    f"leave it out (--ignore {column})"
                )
    return warnings


def _why(pairs: Sequence[tuple[object, object]]) -> str | None:
    goals = [str(goal).strip().lower() for _, goal in pairs]
    classes = set(goals)
    if not 2 <= len(classes) <= MAX_CLASSES or 2 * len(classes) > len(goals):
        return None
    cells = [cell for cell, _ in pairs]
    numbers = [as_number(cell) for cell in cells]  # a CSV spells its numbers
    if all(number is not None and math.isfinite(number) for number in numbers):
        return _ordered(np.array(numbers, dtype=np.float64), np.array(goals))
    if all(isinstance(cell, str) for cell in cells):
        return _named([str(cell) for cell in cells], goals, classes)
    return None


def _named(texts: Sequence[str], goals: Sequence[str], classes: set[str]) -> str | None:
    """Whether nearly every text has the name of its own class in it, and few that of another."""
    names = {name: f" {' '.join(_WORDS.findall(name))} " for name in classes}
    if any(not name.strip() or name.strip().isdigit() for name in names.values()):
        return None  # digits occur in texts for other reasons
    own = others = 0
    for text, goal in zip(texts, goals, strict=True):
        words = f" {' '.join(_WORDS.findall(text.lower()))} "
        held = {name for name, word in names.items() if word in words}
        own += goal in held
        others += bool(held - {goal})
    if own < OWN_SHARE * len(texts) or others > OTHER_SHARE * len(texts):
        return None
    return f"{own / len(texts):.0%} of its texts name the value of '{{target}}'"


def _ordered(values: np.ndarray, goals: np.ndarray) -> str | None:
    """Whether thresholds on the number alone separate the classes.

    With 10 rows per class or more that does not happen by chance.
    """
    order = np.argsort(values, kind="stable")
    values, goals = values[order], goals[order]
    changes = np.flatnonzero(goals[1:] != goals[:-1])
    tied = (values[changes + 1] == values[changes]).any()
    counts: Mapping[str, int] = dict(zip(*np.unique(goals, return_counts=True), strict=True))
    if tied or len(changes) + 1 > len(counts) or min(counts.values()) < 10:
        return None
    return "this number alone separates the values of '{target}' perfectly"
