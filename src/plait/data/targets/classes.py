"""One class of several: a binary or multi-class target."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from plait.config import Config
from plait.data.modalities.base import Problem, is_missing
from plait.data.targets.cells import Cells, class_name, commonest, in_order, short
from plait.data.targets.names import (
    probability_columns,
    replied_probabilities,
    strange_names,
    unseen,
)
from plait.data.targets.target import Encoded, Metrics, Target
from plait.errors import SchemaError, all_of

MISSING = -1
"""The class number of a row whose class is not known, in a head's goal."""

RUNNERS_UP = 2
"""Classes beside the answered one, on the terminal."""


@dataclass(frozen=True)
class Classes(Target):
    """One class per row.

    Attributes:
        cells: what the classes were in the table; answers come back as that. Text that spells whole
            numbers counts as those, since readers of CSV make numbers of it.
    """

    cells: Literal["text", "int", "float", "bool"] = "text"

    head: ClassVar[str] = "classify"
    primary: ClassVar[str] = "balanced_accuracy"
    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "accuracy": True,
        "balanced_accuracy": True,
        "macro_f1": True,
        "micro_f1": True,
        "auroc": True,
        "log_loss": False,
        "calibration_error": False,
    }
    conformal: ClassVar[tuple[str, ...]] = ("lac", "aps", "aps_random")
    calibrated: ClassVar[bool] = True
    exclusive: ClassVar[bool] = True
    noun: ClassVar[str] = "a class"
    usual: ClassVar[str] = "majority"
    widget: ClassVar[str] = "Label"

    @property
    def kind(self) -> str:
        """Two classes are binary, more are multiclass."""
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def chinese(self) -> str:
        """The kind in Chinese."""
        return "二分类" if len(self.classes) == 2 else "多分类"

    @classmethod
    def evidence(cls, cells: Cells) -> str | None:
        """Whatever repeats names classes; this is asked last."""
        return "distinct values"

    @classmethod
    def learn(cls, cells: Cells, *, kind: str, separator: str | None, why: str) -> "Target":
        """The classes, those that are numbers by size."""
        name, counts = cells.name, cells.counts
        if cells.listed:
            raise SchemaError(f"the target '{name}' holds lists, which are multilabel, not {kind}.")
        if len(counts) == 1:
            raise SchemaError(
                f"the target '{name}' has a single class {short(next(iter(counts)))} in "
                f"{all_of(len(cells))}: nothing to learn. Add rows of another class, or name another "
                "target."
            )
        if kind == "binary" and len(counts) > 2:
            raise SchemaError(
                f"the target '{name}' is to be binary but has {len(counts)} classes: "
                f"{commonest(counts)}."
            )
        if len(counts) > 2 and len(counts) == len(cells):
            raise SchemaError(
                f"the target '{name}' has as many classes as rows ({len(cells)}), such as "
                f"{commonest(counts)}: no class could be learnt from one row and tested on another. "
                "Name another target, or kind 'regression' if it is a number, or 'multilabel' with a "
                "separator."
            )
        rare = sum(count == 1 for count in counts.values())
        reason = f"{len(counts)} distinct values: {commonest(counts)}"
        reason += f"; {rare} of them in a single row" if rare else ""
        return cls(name, in_order(list(counts)), reason=reason, cells=_cell_type(cells))

    def encode(self, cells: Sequence[object]) -> Encoded:
        """Class numbers int64 ``[rows]``; a class never seen in training is a problem."""
        index = {name: number for number, name in enumerate(self.classes)}
        numbers = np.zeros(len(cells), dtype=np.int64)
        present = np.zeros(len(cells), dtype=bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            number = index.get(class_name(cell))
            if number is None:
                problems.append(Problem(row, unseen("class", class_name(cell), self.classes)))
            else:
                numbers[row], present[row] = number, True
        return numbers, present, problems

    def decode(self, values: Int64[np.ndarray, " rows"]) -> np.ndarray:
        """Classes as they were in the table: text, whole numbers, ..."""
        answers = np.array(self.natural(values.tolist()))
        return answers.astype(object) if self.cells == "text" else answers

    def natural(self, numbers: Iterable[int]) -> list[Any]:
        """The classes of class numbers as they were in the table."""
        names = [self.classes[number] for number in numbers]
        if self.cells == "bool":
            return [name == "True" for name in names]
        kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "text": str}
        return [kinds[self.cells](name) for name in names]

    def strange(self, cell: object) -> list[str]:
        """The class, if it is not known."""
        name = class_name(cell)
        return [] if is_missing(cell) or name in self.classes else [name]

    def strangers(self, rows: int, names: str, known: str) -> tuple[str, str]:
        """What to say of rows with a strange class, in English and Chinese."""
        return strange_names(self.name, "class", rows, names, known)

    def strata(self, values: np.ndarray, present: np.ndarray) -> np.ndarray:
        """The classes; rows without one are balanced as a class of their own."""
        return np.where(present, values, -1)

    def goal(self, values: np.ndarray, present: Bool[np.ndarray, " rows"]) -> np.ndarray:
        """Class numbers, `MISSING` where there is none."""
        return np.where(present, values, MISSING)

    def loss_options(self, config: Config | None, values: np.ndarray | None) -> dict[str, Any]:
        """Label smoothing, and weights by class frequency, mean 1 over rows."""
        if config is None:
            return {}
        options: dict[str, Any] = {"smoothing": config.label_smoothing}
        choice = {"auto": "sqrt"}.get(config.class_weights, config.class_weights)
        if values is not None and choice != "none":
            count = np.bincount(values[values >= 0], minlength=len(self.classes)).clip(min=1)
            weight = (1 / count) ** (0.5 if choice == "sqrt" else 1.0)
            weight *= count.sum() / (count * weight).sum()
            options["weights"] = weight.astype(np.float32)
        return options

    def answer(self, scores: Float[np.ndarray, "rows classes"]) -> np.ndarray:
        """The likeliest class."""
        return self.decode(scores.argmax(axis=1))

    def metrics(
        self, truth: Int64[np.ndarray, " rows"], scores: Float[np.ndarray, "rows classes"]
    ) -> Metrics:
        """See `classification`."""
        return classification(truth, scores)

    def loss(self, metrics: Metrics) -> float:
        """In nats."""
        return metrics["log_loss"]

    def compared(self, scores: Float[np.ndarray, "rows classes"]) -> list[Any]:
        """The class numbers."""
        return list(scores.argmax(axis=1).tolist())

    def resample(
        self,
        truth: Shaped[np.ndarray, " rows"],
        compared: Shaped[np.ndarray, "models rows"],
        weights: Float[np.ndarray, "resamples rows"],
    ) -> Float[np.ndarray, "models resamples"]:
        """Balanced accuracy: the mean recall over the classes that a resample holds."""
        right = (compared == truth).astype(np.float64)
        total = np.zeros((len(compared), len(weights)))
        seen = np.zeros(len(weights))
        for label in np.unique(truth):
            rows = truth == label
            asked = weights[:, rows].sum(axis=1)
            there = asked > 0
            hits = right[:, rows] @ weights[:, rows].T
            total[:, there] += hits[:, there] / asked[there]
            seen += there
        return total / seen

    def constant(self, values: Int64[np.ndarray, " rows"]) -> Float[np.ndarray, " classes"]:
        """The share of each class."""
        return np.bincount(values, minlength=len(self.classes)) / len(values)

    def right(
        self, values: Int64[np.ndarray, " rows"], scores: Float[np.ndarray, "rows classes"]
    ) -> Bool[np.ndarray, " rows"]:
        """Whether the likeliest class is the true one."""
        return scores.argmax(axis=1) == values

    def errors(self, values: np.ndarray, scores: np.ndarray) -> Float[np.ndarray, " rows"]:
        """1 for a wrong answer."""
        return (scores.argmax(axis=1) != values).astype(np.float64)

    def confidence(
        self, scores: Float[np.ndarray, "rows classes"]
    ) -> Float[np.ndarray, " rows"] | None:
        """The probability of the answered class."""
        return scores.max(axis=1, initial=0)

    def row_scores(
        self, scores: Float[np.ndarray, "*subsets rows classes"]
    ) -> Float[np.ndarray, "*subsets rows"]:
        """The probability of the class that all streams answer."""
        scores = scores.astype(np.float64)
        whole = scores[-1] if scores.ndim == 3 else scores
        answered = np.broadcast_to(whole.argmax(axis=-1)[:, None], (*scores.shape[:-1], 1))
        return np.take_along_axis(scores, answered, axis=-1)[..., 0]

    def text(self, answer: Any, empty: str = "∅") -> str:
        """The class by its name."""
        return class_name(answer) if isinstance(answer, float) else str(answer)

    def brief(self, answer: Any, scores: Float[np.ndarray, " classes"]) -> str:
        """The likeliest classes with their probabilities."""
        best = scores.argsort()[::-1][: RUNNERS_UP + 1]
        first, *rest = (f"{self.classes[place]} {scores[place]:.2f}" for place in best)
        return f"{first} (then {', '.join(rest)})" if rest else first

    def score_columns(self, scores: Float[np.ndarray, "rows classes"]) -> dict[str, list[Any]]:
        """The confidence, then each class's probability."""
        shares = scores.astype(np.float64).round(6)
        return {
            "confidence": shares.max(axis=1, initial=0).tolist(),
            **probability_columns(self.classes, shares),
        }

    def replies(self, scores: Float[np.ndarray, "rows classes"]) -> list[dict[str, Any]]:
        """The answer, its confidence and every class's probability."""
        shares = scores.astype(np.float64).round(6).tolist()
        return [
            {
                "answer": value,
                "confidence": max(row),
                "probabilities": dict(zip(self.classes, row, strict=True)),
            }
            for value, row in zip(self.answer(scores).tolist(), shares, strict=True)
        ]

    def replied(self, replies: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "rows classes"]:
        """The probabilities."""
        return replied_probabilities(self.classes, replies)

    def explained(self, scores: Float[np.ndarray, " classes"]) -> dict[int, str]:
        """The likeliest class."""
        best = int(scores.argmax())
        return {best: self.classes[best]}


def _cell_type(cells: Cells) -> Literal["text", "int", "float", "bool"]:
    """What all the cells of a class target are."""
    if all(isinstance(cell, bool | np.bool_) for cell in cells.present):
        return "bool"
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", name) for name in cells.counts):
        floats = all(isinstance(cell, float | np.floating) for cell in cells.present)
        return "float" if floats else "int"
    if all(isinstance(cell, float | int | np.number) for cell in cells.present):
        return "float"
    return "text"


def classification(
    target: Int64[np.ndarray, " rows"], scores: Float[np.ndarray, "rows classes"]
) -> Metrics:
    """Metrics of one class a row.

    Balanced accuracy and macro F1 average over the classes that occur; AUROC is one class against the
    rest, averaged likewise. Log loss is in nats. Calibration error is in 15 equal bins of confidence
    (Guo et al. 2017, eq. 3).

    Args:
        target: class numbers.
        scores: probabilities, rows summing to one.
    """
    guess = scores.argmax(axis=1)
    right = guess == target
    seen = np.unique(target)
    recall = [right[target == label].mean() for label in seen]
    chosen = np.clip(scores[np.arange(len(target)), target].astype(np.float64), 1e-12, 1)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(recall)),
        "macro_f1": macro_f1(target, guess, scores.shape[1]),
        "micro_f1": float(right.mean()),  # with one class a row both are the same
        "auroc": _auroc(target, scores, seen),
        "log_loss": float(-np.log(chosen).mean()),
        "calibration_error": calibration_error(right, scores.max(axis=1)),
    }


def macro_f1(
    target: Int64[np.ndarray, " rows"], guess: Int64[np.ndarray, " rows"], classes: int
) -> float:
    """The mean of ``2 tp / (2 tp + fp + fn)`` over the classes that occur."""
    true = np.bincount(target[target == guess], minlength=classes)
    asked = np.bincount(target, minlength=classes)
    given = np.bincount(guess, minlength=classes)
    return float((2 * true / np.maximum(asked + given, 1))[asked > 0].mean())


def _auroc(target: np.ndarray, scores: np.ndarray, seen: np.ndarray) -> float:
    """One-against-the-rest AUROC over the classes that occur; NaN when only one does."""
    if len(seen) < 2:
        return float("nan")
    if scores.shape[1] == 2:
        return auroc(target == 1, scores[:, 1])
    return float(np.mean([auroc(target == label, scores[:, label]) for label in seen]))


def auroc(positive: Bool[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"]) -> float:
    """The chance that a positive row scores above a negative one; ties count half.

    The Mann-Whitney statistic on mid-ranks (Hanley & McNeil 1982), the same number as scikit-learn's
    ``roc_auc_score`` at a thirtieth of its time, which the bootstrap needs.
    """
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    yes = int(positive.sum())
    no = len(positive) - yes
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def calibration_error(
    right: Bool[np.ndarray, " rows"], confidence: Float[np.ndarray, " rows"], bins: int = 15
) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over equal bins."""
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.bincount(which, right, bins) - np.bincount(which, confidence, bins)
    return float(np.abs(gap[count > 0]).sum() / len(right))
