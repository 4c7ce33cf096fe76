"""The contract every modality keeps: cells in, plain arrays out, nothing lost, nothing invented."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from plait.data.media import Media
from plait.data.shapes import Lengths, Present, Values

_ABSENT = frozenset({"NaTType", "NAType"})
"""The types of pandas' NaT and NA, known by name so that pandas need not be there."""

State = dict[str, Any]
"""What a modality learnt from the training rows: JSON values only, saved in the bundle."""


@dataclass(frozen=True)
class Problem:
    """An unreadable cell: its row, counted from 0 within the cells passed, and the reason in words."""

    row: int
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Why a column looks like a modality: ``strength`` from 0 to 1, and a reason to show the user."""

    strength: float
    reason: str


@dataclass(frozen=True)
class Prepared:
    """Cells of one column as plain arrays.

    ``values`` is ``[rows, ...]`` when every cell has one shape (``lengths`` is None), else all cells'
    steps one after the other, ``[lengths.sum(), ...]``. A missing or unreadable cell is zeros (or has
    length 0) and False in ``present``; an unreadable one also has an entry in ``problems``. So many as
    ``shortened`` were longer than the state allows, and were cut.
    """

    values: Values
    lengths: Lengths | None
    present: Present
    problems: list[Problem] = field(default_factory=list)
    shortened: int = 0


def joined(parts: Sequence[Prepared]) -> Prepared:
    """Prepared runs of rows as one, their problems renumbered."""
    if len(parts) == 1:
        return parts[0]
    problems: list[Problem] = []
    start = 0
    for part in parts:
        problems += [Problem(start + problem.row, problem.reason) for problem in part.problems]
        start += len(part.present)
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return Prepared(
        np.concatenate([part.values for part in parts]),
        np.concatenate(lengths) if lengths else None,
        np.concatenate([part.present for part in parts]),
        problems,
        sum(part.shortened for part in parts),
    )


@dataclass(frozen=True)
class Settings:
    """What a modality is told from outside: how large to make things, and what to open media with.

    Attributes:
        media: opens paths and bytes within the caps and inside the table's root.
        preset: ``fast``, ``balanced`` or ``best``; sizes images, mel bands, vocabularies.
        threads: how many cells to decode at once.
    """

    media: Media
    preset: str = "balanced"
    threads: int = 2


class Modality(ABC):
    """A kind of data. Subclasses hold no state of their own: what is fitted travels as ``State``."""

    name: ClassVar[str]
    """The word users write: ``--column photo=image``."""

    version: ClassVar[int] = 1
    """Raised whenever ``prepare`` gives other arrays for the same cells; part of the store's key."""

    media: ClassVar[bool] = False
    """True when cells are files or bytes, decoded in threads."""

    stored: ClassVar[bool] = False
    """True when preparing is slow enough, or the arrays large enough, to be kept in the store."""

    @abstractmethod
    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Whether a sample of a column's cells looks like this modality, and why.

        Args:
            name: the column's name; content outweighs it.
            cells: up to some hundred cells, without the missing ones.
            settings: opens the first few media cells to look inside.
        """

    @abstractmethod
    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Learn the preprocessing from training cells only. Unreadable and missing cells are skipped.

        Returns:
            A JSON-serialisable state.
        """

    @abstractmethod
    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Turn cells into arrays, one row a cell, in order. Never raises for a bad cell."""

    def is_light(self, cell: object) -> bool:
        """Whether preparing a cell is sure to take no time worth watching, whatever it holds."""
        return not self.media

    @abstractmethod
    def describe(self, state: State) -> str:
        """The state in a few words for people: ``28x28 grey``, ``log-mel, 64 bands at 8000 Hz``."""


def is_missing(cell: object) -> bool:
    """None, NaN, NaT, a media dictionary that holds nothing, and text that is empty or blank."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return not cell or cell.isspace()
    if isinstance(cell, float):
        return cell != cell
    if isinstance(cell, dict):
        if not cell.keys() <= {"bytes", "path"}:
            return False
        return cell.get("bytes") is None and is_missing(cell.get("path"))
    if isinstance(cell, np.generic):
        return bool(cell != cell)
    return type(cell).__name__ in _ABSENT
