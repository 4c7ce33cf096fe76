"""Categories: text, numbers or booleans that name one of a few kinds."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np

from plait.data.media import Limits
from plait.data.modalities.base import (
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    is_missing,
)
from plait.data.modalities.evidence import looks_like_file, quantity
from plait.data.modalities.numeric import is_missing_number, to_number
from plait.data.modalities.text import count_words, to_text
from plait.errors import CellError, counted, shortened

MAX_CATEGORIES = 10_000
"""Categories kept; the rarest beyond count as unseen."""

_INTEGRAL = re.compile(r"[+-]?\d+\.0+")


class CategoricalModality(Modality):
    """Categories to ``int64 [rows]``: 1 to ``len(values)``, the commonest first.

    A missing cell is 0 and not present; a category that training did not see is 0 and present, for it
    is no mistake.

    State: ``values``, the categories in the order of their index; ``dropped``, how many beyond the
    10,000 commonest.
    """

    name: ClassVar[str] = "categorical"
    tabular: ClassVar[bool] = True
    nominal: ClassVar[bool] = True
    perturbable: ClassVar[bool] = False

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Few values that repeat. Numbers are left to ``numeric`` unless text."""
        if not cells:
            return None
        try:
            texts = [to_category(cell, settings.media.limits) for cell in cells]
        except CellError:
            return None
        distinct, share = len(set(texts)), len(set(texts)) / len(texts)
        what = f"{distinct} different values in {quantity(len(texts), len(texts))}"
        if all(isinstance(cell, bool | np.bool_) for cell in cells):
            return Evidence(0.95, f"{quantity(len(cells), len(cells))} are true or false")
        if _mostly_numbers(cells):
            return Evidence(0.5, what) if distinct <= 20 and share <= 0.5 else None
        if not all(isinstance(cell, str | int | float | np.number) for cell in cells):
            return None
        if sum(map(looks_like_file, texts)) * 2 > len(texts):
            return Evidence(0.2, f"{what}, though they look like file names")
        words = float(np.mean([count_words(text) for text in texts]))
        if distinct <= 20 and share < 0.5:
            return Evidence(0.9, what)
        if share <= 0.5:
            return Evidence(0.75 if words < 4 else 0.4, what)
        return Evidence(0.5 if len(cells) < 10 and words < 3 else 0.3, what)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Count every category of the training cells."""
        counts: Counter[str] = Counter()
        for cell in cells:
            try:
                if not is_missing(cell):
                    counts[to_category(cell, settings.media.limits)] += 1
            except CellError:
                continue
        ordered = sorted(counts, key=lambda value: (-counts[value], value))
        return {
            "values": ordered[:MAX_CATEGORIES],
            "dropped": max(len(ordered) - MAX_CATEGORIES, 0),
        }

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Look every category up."""
        index = {value: position for position, value in enumerate(state["values"], 1)}
        values = np.zeros(len(cells), np.int64)
        present = np.zeros(len(cells), bool)
        problems: list[Problem] = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            try:
                values[row] = index.get(to_category(cell, settings.media.limits), 0)
                present[row] = True
            except CellError as error:
                problems.append(Problem(row, str(error)))
        return Prepared(values, None, present, problems)

    def describe(self, state: State) -> str:
        """For instance ``3 categories: red, green, blue``."""
        values = [shortened(value, 20) for value in state["values"]]
        names = ", ".join(values[:5]) + (", …" if len(values) > 5 else "")
        more = f" ({state['dropped']} rarer ones count as unseen)" if state["dropped"] else ""
        return (
            f"{counted(len(values), 'category', 'categories')}{': ' if names else ''}{names}{more}"
        )

    def compared(self, cell: object, state: State, settings: Settings) -> Any:
        """The text of the category."""
        return to_category(cell, settings.media.limits)

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """The category's text; None for an index that training did not see."""
        values = [None, *state["values"]]
        return [values[index] for index in prepared.values.tolist()]

    def spelling(self, cells: Iterable[object]) -> dict[Any, Any]:
        """Category → the first cell of it: 1 where the table has numbers, not ``"1"``."""
        spellings: dict[Any, Any] = {}
        for cell in cells:
            if cell is not None:
                with suppress(CellError):
                    spellings.setdefault(to_category(cell, Limits()), cell)
        return spellings


def to_category(cell: object, limits: Limits) -> str:
    """A cell as the text of its category: 1, 1.0 and "1.0" are all ``1``.

    Raises:
        CellError: when it is no single value, too long, or no Unicode text.
    """
    if isinstance(cell, list | tuple | dict | set | np.ndarray):
        raise CellError(f"is a {type(cell).__name__}, expected one category")
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    text = to_text(cell, limits).strip()
    return text.split(".")[0] if _INTEGRAL.fullmatch(text) else text


def _mostly_numbers(cells: Sequence[object]) -> bool:
    count = 0
    for cell in cells:
        try:
            count += is_missing_number(cell) or to_number(cell) is not None
        except CellError:
            continue
    return count > 0.8 * len(cells)
