"""What every kind of target answers: the contract of `plait.data.targets.registry.KINDS`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from plait.config import Config
from plait.data.modalities.base import Problem, is_missing
from plait.data.targets.cells import Cells
from plait.errors import counted

Metrics = dict[str, float]
Encoded = tuple[np.ndarray, np.ndarray, list[Problem]]
"""Values, a mask of the rows that have one ``[rows]``, and what is wrong with the other cells."""

_BEFORE = {"cells": "text"}
"""Fields that plait 0.1.0 wants in targets.json for every kind."""


@dataclass(frozen=True)
class Target(ABC):
    """A column to predict.

    A kind of target is a subclass in a file of its own, and a line in
    `plait.data.targets.registry.KINDS`.

    Attributes:
        name: of the column.
        classes: names of what the scores are of, in order; empty where scores are of no class.
        separator: between several answers of a text cell; None if it holds one only, or a list.
        mean, scale: of standardised scores, in the target's own units; 0 and 1 for probabilities.
        reason: why this kind was chosen, to show the user.
    """

    name: str
    classes: tuple[str, ...] = ()
    separator: str | None = field(default=None, kw_only=True)
    mean: float = field(default=0.0, kw_only=True)
    scale: float = field(default=1.0, kw_only=True)
    reason: str = field(default="", kw_only=True)

    head: ClassVar[str]
    """The head that answers it, by its name in `plait.model.heads.registry`."""
    primary: ClassVar[str]
    """The metric that early stopping follows and tables put first; higher is better."""
    higher_is_better: ClassVar[Mapping[str, bool]]
    """Every metric, and whether more of it is better."""
    in_own_units: ClassVar[tuple[str, ...]] = ()
    """Those of the metrics that are in the target's own units, and not shares."""
    resamples: ClassVar[int] = 10_000
    """Of the bootstrap of a comparison. Many, so that a small p survives the correction for dozens of
    methods."""
    conformal: ClassVar[tuple[str, ...]] = ()
    """Methods of `plait.insight.explain.conformal` that it knows, the default first."""
    calibrated: ClassVar[bool] = False
    """Whether its scores are probabilities that a temperature can calibrate."""
    exclusive: ClassVar[bool] = False
    """Whether each row has exactly one of `classes`."""
    numeric: ClassVar[bool] = False
    """Whether an answer is a number, which can be plotted against the truth."""
    ragged: ClassVar[bool] = False
    """Whether an answer is a sequence of its own length, so that scores are ragged; see
    `plait.data.targets.scores`."""
    separable: ClassVar[bool] = False
    """Whether a text cell may hold several answers with a separator between."""
    noun: ClassVar[str]
    """What an answer is, for messages: a number, a set of labels, ..."""
    usual: ClassVar[str]
    """What the constant answer of `constant` is called."""
    error: ClassVar[tuple[str, str]] = ("wrong", "错误率")
    """What `errors` are, in English and Chinese."""
    widget: ClassVar[str] = "Textbox"
    """The Gradio component that shows an answer: Label takes probabilities, others the answer."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name of its kind, as in `plait.data.targets.registry.KINDS`."""

    @property
    @abstractmethod
    def chinese(self) -> str:
        """The kind in Chinese."""

    @property
    def outputs(self) -> int:
        """Numbers that the head is built to give per row."""
        return max(1, len(self.classes))

    # Learning what the target is.

    @classmethod
    @abstractmethod
    def evidence(cls, cells: Cells) -> str | None:
        """Why cells are of this kind; None if they are not.

        Raises:
            SchemaError: they nearly are, and what is wrong with them has to be mended first.
        """

    @classmethod
    @abstractmethod
    def learn(cls, cells: Cells, *, kind: str, separator: str | None, why: str) -> "Target":
        """The target of some cells.

        Args:
            kind: the name asked for, one of those the class stands under in ``KINDS``.
            separator: between the answers of a text cell, if the user named one.
            why: the evidence.

        Raises:
            SchemaError: there is nothing to learn, or the cells are of another kind.
        """

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        own = {part.name: getattr(self, part.name) for part in fields(self)}
        first = {"name": self.name, "kind": self.kind, "classes": list(self.classes)}
        return {**first, **_BEFORE, **{k: v for k, v in own.items() if k not in first}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Target":
        """What `to_json` gave; of any kind: `plait.data.targets.registry.read_target`."""
        own = {part.name: data[part.name] for part in fields(cls) if part.name in data}
        return cls(**{**own, "classes": tuple(own["classes"])})

    # Cells and values to learn from.

    @abstractmethod
    def encode(self, cells: Sequence[object]) -> Encoded:
        """Cells as values to learn from; see `Encoded`."""

    @abstractmethod
    def decode(self, values: Any) -> np.ndarray:
        """Answers ``[rows]`` in the user's terms that encoded values stand for."""

    def natural(self, numbers: Iterable[int]) -> list[Any]:
        """The classes of class numbers as they were in the table."""
        return [self.classes[number] for number in numbers]

    def strange(self, cell: object) -> list[str]:
        """What of a cell's answer the model does not know; empty for a missing cell."""
        if is_missing(cell) or self.encode([cell])[1][0]:
            return []
        return [str(cell)]

    def strangers(self, rows: int, names: str, known: str) -> tuple[str, str]:
        """What to say of rows with a `strange` cell, in English and Chinese.

        Args:
            rows: how many.
            names: what is strange about them.
            known: classes that the model knows.
        """
        hold = counted(rows, "row holds", "rows hold")
        return (
            f"{self.name}: {hold} what the model does not know: {names}; no figure counts it.",
            f"{self.name}：{rows:,} 行含有模型未知的内容：{names}，未计入指标。",
        )

    @abstractmethod
    def strata(self, values: Any, present: np.ndarray) -> np.ndarray:
        """What the split into training and validation balances; see `plait.data.table.split`."""

    @abstractmethod
    def goal(self, values: Any, present: Bool[np.ndarray, " rows"]) -> np.ndarray:
        """Encoded values as the head's loss takes them, missing ones marked as it expects."""

    def loss_options(self, config: Config | None, values: np.ndarray | None) -> dict[str, Any]:
        """The head's own options.

        Args:
            config: None for a model that only answers.
            values: goals of the training rows, where they are at hand.
        """
        return {}

    # Scores and answers.

    def in_units(self, scores: Any) -> Any:
        """Scores, or encoded values, in the units that metrics and users are given."""
        return scores

    @abstractmethod
    def answer(self, scores: Any) -> np.ndarray:
        """Each row's answer ``[rows]`` in the user's terms, from what a head scored."""

    @abstractmethod
    def metrics(self, truth: Any, scores: Any) -> Metrics:
        """Every metric of `higher_is_better`, of values and scores `in_units`."""

    def measure(self, values: Any, scores: Any) -> Metrics:
        """`metrics` of encoded values and a head's scores."""
        return self.metrics(self.in_units(values), self.in_units(scores))

    @abstractmethod
    def loss(self, metrics: Metrics) -> float:
        """Of some metrics, what a learning curve calls the loss."""

    @abstractmethod
    def compared(self, scores: Any) -> list[Any]:
        """What the primary metric needs of each row's scores, as JSON values."""

    @abstractmethod
    def resample(
        self, truth: Any, compared: np.ndarray, weights: Float[np.ndarray, "resamples rows"]
    ) -> Float[np.ndarray, "models resamples"]:
        """The primary metric of many models under many resamples.

        Args:
            truth: values `in_units`.
            compared: each model's `compared`, ``[models, rows, ...]``.
            weights: how often each row is in each resample.
        """

    @abstractmethod
    def constant(self, values: Any) -> Float[np.ndarray, " outputs"]:
        """One row's scores that are the best for all rows alike.

        Args:
            values: encoded, of training rows that have one.
        """

    def right(self, values: Any, scores: Any) -> Bool[np.ndarray, " rows"] | None:
        """Whether each row's answer is right; None where answers are nearer or further instead."""
        return None

    @abstractmethod
    def errors(self, values: Any, scores: Any) -> Float[np.ndarray, " rows"]:
        """How wrong each row's answer is; see `error`."""

    def confidence(self, scores: Any) -> Float[np.ndarray, " rows"] | None:
        """How sure each row's answer is, from 0 to 1; None where answers have no confidence."""
        return None

    @abstractmethod
    def row_scores(self, scores: Any) -> Float[np.ndarray, "*subsets rows"]:
        """One number per row that says how much the model stands behind its answer.

        Args:
            scores: of every subset of streams, the last being all, whose answer is meant; or of all
                streams alone.
        """

    @property
    def score_unit(self) -> str:
        """What `row_scores` are measured in, if not in probability."""
        return ""

    # How an answer looks.

    def text(self, answer: Any, empty: str = "∅") -> str:
        """An answer, or a cell with a true one, as text; ``empty`` is an answer without any part."""
        return f"{answer:.4g}" if isinstance(answer, float) else str(answer)

    def brief(self, answer: Any, scores: Any) -> str:
        """One row's answer and what else is likely, for the terminal.

        Args:
            scores: the row's.
        """
        return self.text(answer)

    def column(self, answers: np.ndarray) -> list[Any]:
        """Answers as cells of a file; None where the model abstained."""
        return list(answers.tolist())

    def score_columns(self, scores: Any) -> dict[str, list[Any]]:
        """What else a file has of each row: the end of the column's name → cells."""
        return {}

    def replies(self, scores: Any) -> list[dict[str, Any]]:
        """The server's reply for each row, from a head's scores; the answer under ``answer``."""
        return [{"answer": value} for value in self.answer(scores).tolist()]

    @abstractmethod
    def replied(self, replies: Sequence[Mapping[str, Any]]) -> Any:
        """Scores `in_units` that `replies` were made from, as far as they say."""

    def explained(self, scores: Any) -> dict[int, str]:
        """Which of a row's scores are worth an explanation, and what each is of."""
        return dict.fromkeys(range(len(scores)), self.name)
