"""The contract every modality keeps: cells in, plain arrays out, nothing lost, nothing invented."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from plait.data.media import Media
from plait.data.shapes import Lengths, Present, Values

_ABSENT = frozenset({"NaTType", "NAType"})
"""The types of pandas' NaT and NA, known by name so that pandas need not be there."""

State = dict[str, Any]
"""What a modality learnt from the training rows: JSON values only, saved in the bundle."""


Unit = Literal["pixels", "spectrum", "signal", "tokens", "field"]
"""What of a cell an explanation marks: a pixel, a band at a step, a lead at a step, a step or word, or
the whole cell. The names are those that explanations saved as JSON hold."""

TIMED: frozenset[Unit] = frozenset({"spectrum", "signal"})
"""Units whose first axis is time."""

Display = Literal["picture", "frames", "player", "curve", "text"]
"""How a page shows a cell."""


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

    tabular: ClassVar[bool] = False
    """True when a cell is a field of a few numbers; all such columns form one stream together."""

    quantitative: ClassVar[bool] = False
    """True when cells are quantities, which have an order and distances."""

    nominal: ClassVar[bool] = False
    """True when cells name one of a few kinds."""

    words: ClassVar[bool] = False
    """True when cells are running text, prepared as subwords of the tokenizer in the state."""

    listed: ClassVar[bool] = False
    """True when a cell may be a list of numbers, or text that lists them, instead of a file."""

    perturbable: ClassVar[bool] = True
    """False when a cell cannot be made worse by degrees, but only be another row's."""

    display: ClassVar[Display] = "text"
    """How a page shows a cell."""

    folder_suffixes: ClassVar[frozenset[str]] = frozenset()
    """How files end that make a tree of folders a table of this modality; lower case, with the dot."""

    file_suffix: ClassVar[str] = ""
    """The ending of the files that restored media are written to; empty when they stand in the table."""

    measure: ClassVar[str | None] = None
    """What the number of `compared` is: ``value``, ``time`` or ``length``; None for no number."""

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

    def adapt(self, state: State, cells: Iterable[object], settings: Settings) -> State:
        """A pretrained checkpoint's state, with what only the training cells can show filled in."""
        return state

    def unit(self, inner: tuple[int, ...], ragged: bool, state: State) -> Unit:
        """What of a prepared cell an explanation marks.

        A ragged column whose steps have another width than the state says holds the tokens of a frozen
        encoder.

        Args:
            inner: the axes of one cell, or of one step of a ragged column.
        """
        return "tokens" if ragged else "field"

    def compared(self, cell: object, state: State, settings: Settings) -> Any:
        """A cell as a value that equals that of every cell of the same content.

        Returns:
            text, a number or a moment; None for a cell that says that there is none.

        Raises:
            CellError: it cannot be read.
        """
        return cell

    def restore(self, prepared: Prepared, state: State) -> list[Any]:
        """The cells that these arrays stand for, in the user's own terms; None where there is none.

        What `prepare` throws away does not come back: an image has the prepared size, a text is in lower
        case, a sound is heard through its log-mel bands.
        """
        cells = self._restore(prepared, state)
        present = prepared.present.tolist()
        return [cell if there else None for cell, there in zip(cells, present, strict=True)]

    @abstractmethod
    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """`restore`, without regard to which cells are present."""

    def spelling(self, cells: Iterable[object]) -> dict[Any, Any]:
        """Restored cell → the same cell as this column writes it, for those that it writes otherwise."""
        return {}

    def rate(self, state: State) -> int | None:
        """Samples or frames per second of restored cells; None where there is no such rate."""
        return None

    def write(self, file: Path, cell: np.ndarray, rate: int) -> None:
        """Write a restored cell into a file that ends in `file_suffix`.

        Raises:
            OSError: the file cannot be written.
            MissingExtra: a library for this modality is not installed.
        """
        np.save(file, cell, allow_pickle=False)


def split_steps(prepared: Prepared) -> list[np.ndarray]:
    """Each ragged cell's own steps."""
    lengths = np.zeros(0, np.int64) if prepared.lengths is None else prepared.lengths
    return np.split(prepared.values, np.cumsum(lengths)[:-1]) if len(lengths) else []


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
