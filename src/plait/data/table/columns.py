"""What a column holds, counted: missing cells, distinct values, whether they identify or give away."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from plait.data.modalities import registry
from plait.data.modalities.base import Modality, is_missing
from plait.data.table.source import Table
from plait.data.targets.cells import as_number

MAX_COUNTED_ROWS = 100_000
"""Rows whose values are counted; a longer table is looked at in evenly spread runs of rows."""

SAMPLED_CELLS = 300
"""Cells shown to the modalities."""

_RUN_ROWS = 2000  # read in one piece, since single rows from all over a file are slow
_KEY_CHARACTERS = 200  # of a text kept as its key; a digest tells longer ones apart

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_ID_WORDS = frozenset(
    [
        "id",
        "ids",
        "uuid",
        "guid",
        "idx",
        "index",
        "key",
        "pk",
        "hash",
        "md5",
        "sha1",
        "sha256",
        "rowid",
    ]
)
_FILE_WORDS = frozenset(["file", "filename", "filepath", "path"])
_SOURCE_WORDS = frozenset(
    [
        "record",
        "patient",
        "subject",
        "participant",
        "session",
        "user",
        "customer",
        "client",
        "respondent",
        "household",
    ]
)
_MAKER_WORDS = frozenset(
    [
        *("speaker", "author", "artist", "actor", "actress", "singer", "photographer", "owner"),
        *("student", "teacher", "rater", "annotator", "album", "track", "movie", "film", "video"),
        *("clip", "scene", "level", "site", "hospital", "clinic", "store", "station"),
        *("device", "camera", "sensor", "scanner"),
    ]
)
"""Names of what several rows come from and a model may be asked about anew; inputs all the same."""
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?")
_HASH = re.compile(r"(?=[^\d]*\d)(?=[^a-zA-Z]*[a-zA-Z])[0-9a-zA-Z_-]{16,}")


@dataclass(frozen=True, eq=False)
class Facts:
    """What was counted in one column.

    Attributes:
        rows: of the table.
        present: ``[rows]``, True where the cell is not missing.
        codes: of the rows looked at, the number of each one's value, -1 where missing; None for values
            that are not counted (bytes, lists of numbers, structs).
        keys: the values in the order they first appear; long text is cut and ends in a digest.
        sample: up to `SAMPLED_CELLS` cells, evenly spread, none of them missing.
    """

    rows: int
    present: np.ndarray
    codes: np.ndarray | None
    keys: list[Hashable]
    sample: list[object]

    @property
    def missing(self) -> int:
        """How many cells are missing."""
        return self.rows - int(self.present.sum())

    @property
    def distinct(self) -> int | None:
        """How many different values the rows looked at have."""
        return None if self.codes is None else len(self.keys)

    @cached_property
    def looked(self) -> int:
        """How many cells were counted."""
        return 0 if self.codes is None else int((self.codes >= 0).sum())

    @cached_property
    def commonest(self) -> tuple[Hashable, float] | None:
        """The value that occurs most often and its share of the cells counted."""
        if self.codes is None or not self.looked:
            return None
        counts = np.bincount(self.codes[self.codes >= 0])
        best = int(counts.argmax())
        return self.keys[best], float(counts[best] / self.looked)

    @property
    def unique(self) -> bool:
        """Whether every cell counted has another value."""
        return self.codes is not None and 2 <= self.looked == len(self.keys)

    def quality(self) -> dict[str, Any]:
        """The figures for people and for JSON."""
        common = self.commonest
        return {
            "missing": round(self.missing / self.rows, 6),
            "distinct": self.distinct,
            "counted": self.looked,
            "duplicates": round(1 - len(self.keys) / self.looked, 6) if self.looked else None,
            "commonest": None if common is None else [example(common[0]), round(common[1], 6)],
            "examples": list(dict.fromkeys(example(cell) for cell in self.sample))[:3],
        }


def example(cell: object) -> str:
    """A cell in a few characters."""
    if isinstance(cell, bytes):
        return f"{len(cell)} bytes"
    if isinstance(cell, dict):
        return "{" + ", ".join(f"{key}: {example(value)}" for key, value in cell.items()) + "}"
    if isinstance(cell, np.ndarray | list | tuple):
        parts = ", ".join(example(part) for part in cell[:3])
        return f"[{parts}, ... {len(cell)}]" if len(cell) > 3 else f"[{parts}]"
    text = " ".join(str(cell).split())
    return text if len(text) <= 40 else text[:37] + "..."


def rows_to_look_at(rows: int) -> np.ndarray:
    """All rows, or runs of them spread evenly over a long table."""
    if rows <= MAX_COUNTED_ROWS:
        return np.arange(rows)
    starts = np.linspace(0, rows - _RUN_ROWS, MAX_COUNTED_ROWS // _RUN_ROWS).astype(np.int64)
    return np.unique(starts[:, None] + np.arange(_RUN_ROWS))


def count(table: Table, column: str, seed: int = 0) -> Facts:
    """Look at a column: exactly for missing cells, at up to `MAX_COUNTED_ROWS` rows for the values."""
    from plait.data.table.arrow import countable, there  # where there is Arrow

    data = table.arrow()
    present = there(data.column(column))
    where = np.flatnonzero(present)
    if len(where) > SAMPLED_CELLS:
        jitter = np.random.default_rng(seed).random(SAMPLED_CELLS)
        where = where[
            ((np.arange(SAMPLED_CELLS) + jitter) * len(where) / SAMPLED_CELLS).astype(np.int64)
        ]
    sample = [cell for cell in table.cells(column, where) if not is_missing(cell)]
    codes: np.ndarray | None = None
    keys: list[Hashable] = []
    if countable(data.schema.field(column).type):
        codes, keys = _codes(table, column)
    return Facts(table.rows, present, codes, keys, sample)


def _codes(table: Table, column: str) -> tuple[np.ndarray, list[Hashable]]:
    """Each value numbered in the order of first appearance."""
    numbers: dict[Hashable, int] = {}
    codes = []
    for cells in table.chunks(column, rows_to_look_at(table.rows)):
        for cell in cells:
            key = _key(cell)
            codes.append(-1 if key is None else numbers.setdefault(key, len(numbers)))
    return np.array(codes, dtype=np.int64), list(numbers)


def _key(cell: object) -> Hashable | None:
    if is_missing(cell):
        return None
    if isinstance(cell, str):
        if len(cell) <= _KEY_CHARACTERS:
            return cell
        digest = blake2b(cell.encode("utf-8", "replace"), digest_size=16).hexdigest()
        return f"{cell[:_KEY_CHARACTERS]}... {digest}"
    if isinstance(cell, list):
        return tuple(map(str, cell))
    key: Hashable = cell  # numbers, booleans, dates and times
    return key


def repeated_rows(facts: Sequence[Facts], seed: int = 0) -> int | None:
    """How many of the rows looked at repeat an earlier one in every column; None if not countable."""
    generator = np.random.default_rng(seed)
    total: np.ndarray | None = None
    for fact in facts:
        if fact.codes is None:
            return None
        # One random 64-bit number a value, the last one for missing; a row is the sum of its own.
        marks = generator.integers(0, 2**63, size=len(fact.keys) + 1, dtype=np.uint64)
        marked = marks[fact.codes]
        total = marked if total is None else total + marked
    return None if total is None else len(total) - len(np.unique(total))


def name_words(name: str) -> set[str]:
    """The words in a column's name: ``userId`` and ``user_id`` are both user, id."""
    return {word.lower() for word in _WORDS.findall(name)}


def leading_zeros(sample: Sequence[object]) -> bool:
    """Whether cells are digits of one length, some with a leading zero: codes, not numbers."""
    texts = [cell.strip() for cell in sample if isinstance(cell, str)]
    if not texts or len(texts) < len(sample):
        return False
    digits = [text for text in texts if text.isdecimal() and len(text) > 1]
    zeros = [text for text in digits if text[0] == "0"]
    lengths = {len(text) for text in digits}
    return bool(zeros) and len(lengths) == 1 and len(digits) >= 0.95 * len(texts)


def identifier(name: str, modality: str, facts: Facts) -> str | None:
    """Why a column names its rows, or what they come from, and cannot help on new rows; or None.

    Args:
        name: of the column.
        modality: what it would be read as; files, signals and dates are never identifiers.
        facts: what was counted.
    """
    kind = registry.get(modality)
    readable = kind.quantitative or kind.nominal or kind.words
    if not readable or facts.looked < 3 or facts.distinct is None:
        return None
    texts = [str(cell).strip() for cell in facts.sample]
    spaced = sum(" " in text for text in texts) / len(texts)
    if spaced > 0.3 or sum(map(len, texts)) > 80 * len(texts) or _fractions(facts.sample):
        return None
    words = name_words(name)
    hashes = sum(bool(_UUID.fullmatch(t) or _HASH.fullmatch(t)) for t in texts) >= 0.95 * len(texts)
    if facts.unique:
        how = _why_unique(words, kind, facts, hashes)
        return how and f"every value is different and {how}: it cannot help on new rows"
    each = facts.looked / facts.distinct
    named = bool(words & _ID_WORDS) or hashes
    if named and each < 2 and facts.looked >= 20:
        return (
            f"{facts.distinct} of {facts.looked} values are different and it looks like an identifier: "
            "it cannot help on new rows"
        )
    few = facts.distinct <= 50 and each >= 20
    if facts.distinct > 2 and ((named and not few) or (words & _SOURCE_WORDS and _codelike(texts))):
        return (
            f"it looks like the name of what a row comes from ({example(facts.keys[0])}, "
            f"{example(facts.keys[1])}, ...), about {each:.0f} rows each: a model would memorise them. "
            f"Name it as the group (--group {name}) to keep them on one side of the split"
        )
    return None


def source(name: str, modality: str, facts: Facts) -> list[str]:
    """A hint that rows of one speaker, say, resemble each other, so that a split should part them whole.

    Such a column may be a fair input (the store of a sale), so it is only pointed at.
    """
    kind = registry.get(modality) if modality else None
    if kind is None or not (kind.quantitative or kind.nominal or kind.words):
        return []
    words = name_words(name) & (_MAKER_WORDS | _SOURCE_WORDS)
    if not words or not facts.distinct or facts.distinct < 4 or facts.looked < 2 * facts.distinct:
        return []
    word = sorted(words)[0]
    return [
        f"about {facts.looked / facts.distinct:.0f} rows per {word} ({example(facts.keys[0])}, "
        f"{example(facts.keys[1])}, ...). To measure it on values not seen in training, keep each on "
        f"one side of the split: --group {name}"
    ]


def _why_unique(words: set[str], modality: Modality, facts: Facts, hashes: bool) -> str | None:
    """What makes values that are all different look like an identifier."""
    if words & _ID_WORDS:
        return "it looks like an identifier by its name"
    if facts.looked < 10:
        return None
    if hashes:
        return "it looks like an identifier (a hash or UUID)"
    if words & _FILE_WORDS and not modality.quantitative:
        return "it looks like the name of a file that is not there"
    numbers = [as_number(key) for key in facts.keys]
    whole = [int(n) for n in numbers if n is not None and float(n).is_integer()]
    if len(whole) == len(numbers):
        steps = np.sign(np.diff(np.array(whole, dtype=object).astype(float)))
        if max(whole) - min(whole) < 2 * len(whole) and facts.looked >= 20:
            return "it looks like an identifier (whole numbers without gaps)"
        # Sorted by income, say, the gaps are wide; numbers given out one by one leave small ones.
        near = max(whole) - min(whole) < 20 * len(whole)
        if near and abs(steps.sum()) == len(steps) and facts.looked >= 20:
            return "it looks like an identifier (whole numbers in order)"
        codes = "it looks like an identifier (codes of digits)"
        return None if modality.quantitative else codes
    shapes = {re.sub(r"\d+", "9", str(key)) for key in facts.keys[:1000]}
    if len(shapes) == 1 and "9" in next(iter(shapes)):
        return f"it looks like an identifier (all of the form {next(iter(shapes))})"
    if modality.nominal and facts.looked >= 20:
        return "a category never comes back"
    return None


def _fractions(sample: Sequence[object]) -> bool:
    """Whether cells are numbers with fractions, which measure something."""
    numbers = [as_number(cell) for cell in sample]
    return any(n is not None and abs(n) < 1e15 and not n.is_integer() for n in numbers)


def _codelike(texts: Sequence[str]) -> bool:
    """Whether texts are single short words with a digit in most of them."""
    return sum(any(c.isdigit() for c in t) and " " not in t for t in texts) >= 0.9 * len(texts)


def leak(facts: Facts, target: Facts) -> bool:
    """Whether a column says what the target says, one to one."""
    pairs = _pairs(facts, target)
    if pairs is None:
        return False
    rows, together = pairs
    count, answers = facts.distinct or 0, target.distinct or 0
    if not together == count == answers or count < 2:
        return False
    same = sum(
        str(a).lower() == str(b).lower() for a, b in zip(facts.keys, target.keys, strict=True)
    )
    if same == count:
        return True
    return rows >= max(20, 50 if count == 2 else 5 * count)


def gives_away(facts: Facts, target: Facts) -> bool:
    """Whether each of a column's values, on repeat, goes with a single value of the target."""
    pairs = _pairs(facts, target)
    if pairs is None:
        return False
    rows, together = pairs
    count, answers = facts.distinct or 0, target.distinct or 0
    return together == count > answers >= 2 and rows >= 5 * count and answers <= 50


def _pairs(facts: Facts, target: Facts) -> tuple[int, int] | None:
    """Rows where both are present, and how many different pairs of values they have."""
    if facts.codes is None or target.codes is None:
        return None
    both = (facts.codes >= 0) & (target.codes >= 0)
    if not both.any():
        return None
    joint = facts.codes[both] * (len(target.keys) + 1) + target.codes[both]
    return int(both.sum()), len(np.unique(joint))
