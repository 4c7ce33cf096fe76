"""A kind of target whose answers are sequences: words, spelt letter by letter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from plait.data.modalities.base import Problem, is_missing
from plait.data.targets.scores import Steps, ragged
from plait.data.targets.target import Target
from plait.model.heads.base import Head
from plait.model.heads.rules import weighted_mean

LETTERS = "abc"
LONGEST = 4
END = len(LETTERS)


@dataclass(frozen=True)
class Spelling(Target):
    """One word per row."""

    letters: str = LETTERS

    head: ClassVar[str] = "spell"
    primary: ClassVar[str] = "exact_match"
    higher_is_better: ClassVar[Mapping[str, bool]] = {"exact_match": True, "letters_off": False}
    ragged: ClassVar[bool] = True
    noun: ClassVar[str] = "a word"
    usual: ClassVar[str] = "nothing"
    kind: ClassVar[str] = "spelling"
    chinese: ClassVar[str] = "拼写"

    @property
    def outputs(self):
        return LONGEST * (END + 1)

    @classmethod
    def evidence(cls, cells):
        spelt = all(
            isinstance(cell, str) and not set(cell) - set(LETTERS) for cell in cells.present
        )
        return f"words of the letters {LETTERS}" if spelt else None

    @classmethod
    def learn(cls, cells, *, kind, separator, why):
        return cls(cells.name, reason=why)

    def encode(self, cells):
        present = np.zeros(len(cells), bool)
        words, problems = [], []
        for row, cell in enumerate(cells):
            ids = [LETTERS.find(letter) for letter in ("" if is_missing(cell) else str(cell))]
            if -1 in ids or len(ids) > LONGEST:
                problems.append(Problem(row, f"{cell!r} is no word"))
                ids = []
            present[row] = bool(ids)
            words.append(np.array(ids, np.int64))
        return ragged(words), present, problems

    def decode(self, values):
        return ragged("".join(LETTERS[at] for at in ids) for ids in values)

    def strata(self, values, present):
        return np.array([len(ids) for ids in values])

    def goal(self, values, present):
        goal = np.full((len(values), LONGEST), END)
        for row, ids in enumerate(values):
            goal[row, : len(ids)] = ids
        goal[~present] = -1
        return goal

    def answer(self, scores):
        return self.decode([row.ids for row in scores])

    def metrics(self, truth, scores):
        pairs = list(zip(self.decode(truth), self.answer(scores), strict=True))
        off = [abs(len(word) - len(guess)) for word, guess in pairs]
        same = [word == guess for word, guess in pairs]
        return {"exact_match": float(np.mean(same)), "letters_off": float(np.mean(off))}

    def loss(self, metrics):
        return 1 - metrics["exact_match"]

    def compared(self, scores):
        return self.answer(scores).tolist()

    def resample(self, truth, compared, weights):
        right = (compared == self.decode(truth)).astype(float)
        return right @ weights.T / weights.sum(axis=1)

    def constant(self, values):
        raise NotImplementedError

    def right(self, values, scores):
        return np.array(
            [np.array_equal(ids, row.ids) for ids, row in zip(values, scores, strict=True)]
        )

    def errors(self, values, scores):
        return 1.0 - self.right(values, scores)

    def confidence(self, scores):
        return self.row_scores(scores)

    def row_scores(self, scores):
        flat = np.array([float(row.scores.prod()) for row in scores.ravel()])
        return flat.reshape(scores.shape)

    def score_columns(self, scores):
        return {"confidence": self.confidence(scores).round(6).tolist()}

    def replies(self, scores):
        return [
            {"answer": word, "steps": row.scores.astype(float).round(6).tolist()}
            for word, row in zip(self.answer(scores), scores, strict=True)
        ]

    def replied(self, replies):
        encoded = self.encode([reply["answer"] for reply in replies])[0]
        return ragged(
            Steps(ids, np.array(reply["steps"], np.float32))
            for ids, reply in zip(encoded, replies, strict=True)
        )


class Spell(Head):
    """Every letter by itself, until the first end."""

    def steps(self, logits):
        return logits.unflatten(-1, (LONGEST, END + 1))

    def combine(self, logits, trust, rule="product"):
        return weighted_mean(logits, trust)

    def loss(self, logits, target):
        each = functional.cross_entropy(
            self.steps(logits).flatten(0, 1), target.flatten(), ignore_index=-1, reduction="none"
        )
        return each.unflatten(0, (-1, LONGEST)).mean(dim=1)

    def scores(self, logits):
        return self.steps(logits).softmax(dim=-1).flatten(1)

    def numpy_scores(self, logits):
        chances, ids = (
            part.cpu().numpy() for part in self.steps(logits).softmax(dim=-1).max(dim=-1)
        )
        ends = np.where((ids == END).any(axis=1), (ids == END).argmax(axis=1), LONGEST)
        return ragged(
            Steps(row[:end].astype(np.int64), chance[:end].astype(np.float32))
            for row, chance, end in zip(ids, chances, ends, strict=True)
        )


def table(rows=48, seed=0):
    """Words that follow from a number and a colour."""
    generator = np.random.default_rng(seed)
    shade = generator.integers(0, 2, rows)
    size = generator.integers(0, 2, rows)
    words = np.array([["ab", "cab"], ["b", "acca"]])
    return {
        "size": (size + generator.normal(0, 0.05, rows)).tolist(),
        "note": [("a dark one", "a bright one")[at] for at in shade],
        "word": words[shade, size].tolist(),
    }


def register(monkeypatch):
    """Make the kind known: one line for the target, one for its head."""
    from plait.data.targets.registry import KINDS
    from plait.model.heads.registry import HEADS

    monkeypatch.setitem(KINDS, "spelling", Spelling)
    monkeypatch.setitem(HEADS, "spell", Spell)
    torch.manual_seed(0)
