"""Rows' answers, what each rests on, and how unusual the rows are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tokenizers import Tokenizer, decoders

from plait.answers.answers import Answers
from plait.answers.plain import plain
from plait.config import Config
from plait.data.features import Features, PreparedTable, settings_for
from plait.data.modalities import registry
from plait.data.store import PreparedColumn
from plait.data.table.quarantine import Entry, Quarantine
from plait.data.table.source import Table, open_table
from plait.display.notebook import block, grid
from plait.errors import TableError, counted
from plait.insight.explain.contributions import Contributions, contributions
from plait.insight.explain.within import STEPS, Within, attribute, joined
from plait.insight.fitted import Fitted
from plait.model.infer import fused_vectors

Words = list[list[str] | None]


@dataclass(frozen=True)
class Explanation:
    """What some rows' answers rest on.

    Attributes:
        answers: values, scores and what went wrong on the way.
        contributions: what each stream adds to each answer.
        within: target → what mattered inside each column.
        words: text column → each row's pieces, as many as its maps have steps.
        unusual: how far each row lies from those the model knows, as a percentile of the validation
            rows (`plait.insight.explain.outlier`); None for a bundle that keeps none.
    """

    answers: Answers
    contributions: Contributions
    within: dict[str, Within]
    words: dict[str, Words]
    unusual: Float[np.ndarray, " rows"] | None

    def __len__(self) -> int:
        return len(self.answers)

    def _repr_html_(self) -> str:
        """The answers, and what each stream adds to each, for a notebook."""
        parts, streams = [], self.contributions.streams
        for name, shares in self.contributions.targets.items():
            unusual = [None] * len(self) if self.unusual is None else self.unusual.tolist()
            rows = [
                [row, answer, float(shares.fused[row]), *shares.values[row].tolist(), unusual[row]]
                for row, answer in enumerate(shares.answers)
            ]
            head = ["row", name, "score", *(f"contribution: {stream}" for stream in streams)]
            parts.append(grid([*head, "distance from training data, percentile"], rows))
        title = f"{len(self):,} explained answers"
        return block(title, *parts, notes=self.answers.notes())

    def to_json(self) -> dict[str, Any]:
        """JSON values only; NaN as null."""
        answers = {
            "values": self.answers.values,
            "scores": self.answers.scores,
            "notes": self.answers.notes(),
        }
        maps = {name: attributions.to_json() for name, attributions in self.within.items()}
        return {
            "answers": plain(answers),
            "contributions": self.contributions.to_json(),
            "within": maps,
            "words": plain(self.words),
            "unusual": plain(self.unusual),
        }


def explain(
    fitted: Fitted,
    source: Any,
    *,
    root: Path | str | None = None,
    row: int | None = None,
    steps: int = STEPS,
) -> Explanation:
    """`plait.Predictor.explain`, which says what it takes and gives."""
    table = open_table(source, root=root, empty=True)
    if row is not None:
        table = only(table, row)
    maps: dict[str, list[Within]] = {target.name: [] for target in fitted.targets}
    words: dict[str, Words] = {}
    vectors = []
    with fitted.threads():
        for start, count, prepared in fitted.batches(table):
            model, columns, rows = fitted.model, prepared.columns, np.arange(count)
            for target in fitted.targets:
                if target.ragged:  # no one score of a sequence to take a gradient of
                    continue
                attributions = attribute(model, columns, rows, target, fitted.features, steps=steps)
                maps[target.name].append(attributions)
            part = table.slice(start, start + count)
            for name, pieces in spelt(fitted.features, fitted.config, part, prepared).items():
                words.setdefault(name, []).extend(pieces)
            vectors.append(fused_vectors(model, columns, rows))
    where = fitted.held.outlier
    return Explanation(
        answers=_numbered(fitted.answer(table), row or 0),
        contributions=contributions(fitted, table, metrics=False),
        within={name: joined(parts) for name, parts in maps.items() if parts},
        words=words,
        unusual=None if where is None else where.percentile(np.concatenate(vectors)),
    )


def _numbered(answers: Answers, first: int) -> Answers:
    """The answers, unreadable cells under the rows of a table in which these begin at ``first``."""
    cells = Quarantine(
        Entry(first + entry.row, entry.column, entry.reason) for entry in answers.quarantine.entries
    )
    cells.shortened = answers.quarantine.shortened
    return replace(answers, quarantine=cells)


def only(table: Table, row: int) -> Table:
    """The table of one of its rows.

    Raises:
        TableError: there is no such row.
    """
    if not 0 <= row < table.rows:
        raise TableError(
            f"row={row}: {table.name} has {counted(table.rows)}, counted from 0 to {table.rows - 1}."
            if table.rows
            else f"{table.name} has no rows; there is nothing to explain."
        )
    return table.slice(row, row + 1)


def spelt(
    features: Features, config: Config, part: Table, prepared: PreparedTable
) -> dict[str, Words]:
    """Text column → each row's pieces, as many as its maps have steps.

    Args:
        part: the rows that were prepared.
    """
    return _words(features, _texts(features, config, part, prepared))


def _texts(
    features: Features, config: Config, part: Table, prepared: PreparedTable
) -> dict[str, PreparedColumn]:
    """The texts' subwords; where a frozen encoder's tokens took their place, prepared once more.

    Left out where an encoder has fewer tokens than a text has subwords, or more.
    """
    cells = {
        name: prepared.columns[name]
        for name, kind in features.modalities.items()
        if registry.get(kind).words
    }
    behind = [name for name, column in cells.items() if column.values.ndim > 1]
    states = {name: features.states[name] for name in behind}
    modalities = {name: features.modalities[name] for name in behind}
    again = Features(modalities, states).prepare(part, settings_for(part, config))
    for name in behind:
        raw, tokens = again.columns[name].lengths, cells[name].lengths
        if raw is not None and tokens is not None and np.array_equal(raw, tokens):
            cells[name] = again.columns[name]
        else:
            del cells[name]
    return cells


def _words(features: Features, columns: Mapping[str, PreparedColumn]) -> dict[str, Words]:
    """The pieces of every text column that a tokenizer of its own cut up."""
    words_of = {}
    for name, column in columns.items():
        state = features.states[name].get("tokenizer")
        words = registry.get(features.modalities[name]).words
        if words and state and column.values.ndim == 1:
            words_of[name] = pieces(column, _tokenizer(state))
    return words_of


def _tokenizer(state: Any) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(state))


def pieces(column: PreparedColumn, tokenizer: Tokenizer) -> Words:
    """Each cell's subwords as text, a leading space where a word begins; None for a missing cell.

    Marks that a pretrained tokenizer puts around a text are empty. A character that was cut within its
    bytes stands in the first of its pieces, and the others are `AGAIN`; see `whole`.
    """
    added = tokenizer.get_added_tokens_decoder()
    marks = {piece.content for piece in added.values() if piece.special}
    kind = type(tokenizer.model).__name__
    ids, mask = column.batch(np.arange(len(column)))
    words: Words = []
    for own, real in zip(ids, mask, strict=True):
        tokens = [tokenizer.id_to_token(int(piece)) or "" for piece in own[real]]
        shown = ["" if token in marks else _piece(token, kind) for token in tokens]
        _join_bytes(shown, tokens)
        # A word's end is marked in some vocabularies; the space belongs to the next word's beginning.
        ended = [" " if piece.endswith("</w>") else "" for piece in ["", *tokens[:-1]]]
        words.append([a + b for a, b in zip(ended, shown, strict=True)] if tokens else None)
    return words


AGAIN = "\u2060"
"""A piece whose bytes belong to the piece before it."""

_CUT = "\ufffd"


def _join_bytes(shown: list[str], tokens: list[str]) -> None:
    """Put each run of pieces that are parts of one character, or of a few, into the first of them."""
    start = 0
    while start < len(shown):
        end = start + 1
        if _CUT in shown[start]:
            while (
                end < len(shown) and _CUT in shown[end] and _CUT in _BYTES.decode(tokens[start:end])
            ):
                end += 1
            shown[start] = _BYTES.decode(tokens[start:end])
            shown[start + 1 : end] = [AGAIN] * (end - start - 1)
        start = end


def whole(
    words: Sequence[str], marks: Float[np.ndarray, " steps"]
) -> tuple[list[str], Float[np.ndarray, " pieces"]]:
    """Pieces to read, and their marks: those of one character's bytes are summed."""
    begins = [at for at, word in enumerate(words) if word != AGAIN]
    if not begins:
        return [], marks[:0]
    return [words[at] for at in begins], np.add.reduceat(marks, begins)


def _piece(token: str, kind: str) -> str:
    """A subword as text, by the way its kind of vocabulary marks where words begin."""
    if kind == "WordPiece":
        return token.removeprefix("##") if token.startswith("##") else f" {token}"
    if token.endswith("</w>"):
        return token.removesuffix("</w>")
    if "\u2581" in token:
        return token.replace("\u2581", " ")
    return _BYTES.decode([token])


_BYTES = decoders.ByteLevel()
