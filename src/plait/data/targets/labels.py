"""Any subset of labels: a multi-label target."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from plait.config import Config
from plait.data.modalities.base import Problem, is_missing
from plait.data.targets.cells import Cells, commonest, in_order, label_parts, short
from plait.data.targets.names import (
    probability_columns,
    replied_probabilities,
    strange_names,
    unseen,
)
from plait.data.targets.scores import ragged
from plait.data.targets.target import Encoded, Metrics, Target
from plait.errors import SchemaError, all_of, counted

SEPARATORS = (";", "|", ",")
"""Between the labels of a cell, in the order they are tried."""

_RARE_FROM = 50
"""Labels from which on those of a single row are left out."""


@dataclass(frozen=True)
class Labels(Target):
    """Any subset of labels per row, a label at a probability of 0.5 or more."""

    head: ClassVar[str] = "labels"
    primary: ClassVar[str] = "map"
    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "map": True,
        "micro_f1": True,
        "macro_f1": True,
        "exact_match": True,
        "log_loss": False,
    }
    resamples: ClassVar[int] = 2_000  # average precision sorts the rows of each label
    calibrated: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    noun: ClassVar[str] = "a set of labels"
    usual: ClassVar[str] = "label frequencies"
    error: ClassVar[tuple[str, str]] = ("labels wrong", "标签错误率")
    widget: ClassVar[str] = "Label"
    kind: ClassVar[str] = "multilabel"
    chinese: ClassVar[str] = "多标签"

    @classmethod
    def evidence(cls, cells: Cells) -> str | None:
        """Cells are lists, or a separator splits them into a vocabulary of labels that come back."""
        if cells.listed:
            return "lists of labels"
        separator = _find_separator(cells) if len(cells.counts) > 2 else None
        return None if separator is None else f"labels separated by {separator!r}"

    @classmethod
    def learn(cls, cells: Cells, *, kind: str, separator: str | None, why: str) -> "Target":
        """The labels; those of a single row are left out if there are many."""
        name, listed = cells.name, cells.listed
        if separator is None and not listed:
            separator = _find_separator(cells) or next(
                (mark for mark in SEPARATORS if any(mark in text for text in cells.counts)), None
            )
        elif separator is not None and not any(separator in str(cell) for cell in cells.present):
            raise SchemaError(
                f"the target '{name}': no cell holds the separator {separator!r}, such as "
                f"{short(cells.present[0])}. Give the separator used."
            )
        labels = Counter(label for cell in cells.present for label in label_parts(cell, separator))
        if len(labels) < 2:
            raise SchemaError(
                f"the multilabel target '{name}' has {counted(len(labels), 'label')} in "
                f"{all_of(len(cells))}: nothing to learn. Name its separator, or another target."
            )
        how = "lists of labels" if listed else f"labels separated by {separator!r}"
        reason = f"{how}, {len(labels)} distinct: {commonest(labels)}"
        if len(labels) > _RARE_FROM:
            often = Counter({label: count for label, count in labels.items() if count > 1})
            if len(often) >= 2 and len(often) < len(labels):
                reason += f"; {len(labels) - len(often)} seen in a single row are left out"
                labels = often
        return cls(
            name, in_order(list(labels)), reason=reason, separator=None if listed else separator
        )

    def encode(self, cells: Sequence[object]) -> Encoded:
        """0 and 1 float32 ``[rows, classes]``; a cell without any known label is a problem."""
        index = {name: number for number, name in enumerate(self.classes)}
        values = np.zeros((len(cells), len(self.classes)), dtype=np.float32)
        present = np.zeros(len(cells), dtype=bool)
        problems = []
        for row, cell in enumerate(cells):
            if is_missing(cell):
                continue
            labels = label_parts(cell, self.separator)
            known = [index[label] for label in labels if label in index]
            # A row whose every label is unknown says nothing; an empty list says "none of them".
            if labels and not known:
                problems.append(Problem(row, unseen("label", labels[0], self.classes)))
                continue
            values[row, known] = 1.0
            present[row] = True
        return values, present, problems

    def decode(self, values: Float[np.ndarray, "rows classes"]) -> np.ndarray:
        """Lists of labels."""
        return self._sets(values > 0.5)

    def _sets(self, chosen: Bool[np.ndarray, "rows classes"]) -> np.ndarray:
        return ragged(self.natural(np.flatnonzero(which).tolist()) for which in chosen)

    def strange(self, cell: object) -> list[str]:
        """The labels that are not known."""
        if is_missing(cell):
            return []
        return [name for name in label_parts(cell, self.separator) if name not in self.classes]

    def strangers(self, rows: int, names: str, known: str) -> tuple[str, str]:
        """What to say of rows with a strange label, in English and Chinese."""
        return strange_names(self.name, "label", rows, names, known)

    def strata(self, values: np.ndarray, present: np.ndarray) -> np.ndarray:
        """The labels."""
        return values

    def goal(
        self, values: Float[np.ndarray, "rows classes"], present: Bool[np.ndarray, " rows"]
    ) -> np.ndarray:
        """0 and 1, NaN where labels are not known."""
        return np.where(present[:, None], values, np.float32(np.nan))

    def loss_options(self, config: Config | None, values: np.ndarray | None) -> dict[str, Any]:
        """Label smoothing; if asked for, weights of a label that is there against one that is not."""
        if config is None:
            return {}
        options: dict[str, Any] = {"smoothing": config.label_smoothing}
        if values is not None and config.class_weights not in ("auto", "none"):
            share = np.nanmean(values, axis=0).clip(1e-3, 1 - 1e-3)
            power = 0.5 if config.class_weights == "sqrt" else 1.0
            options["weights"] = (((1 - share) / share) ** power).astype(np.float32)
        return options

    def answer(self, scores: Float[np.ndarray, "rows classes"]) -> np.ndarray:
        """The labels of probability 0.5 or more."""
        return self._sets(scores >= 0.5)

    def metrics(
        self,
        truth: Float[np.ndarray, "rows classes"],
        scores: Float[np.ndarray, "rows classes"],
    ) -> Metrics:
        """See `multilabel`."""
        return multilabel(truth, scores)

    def loss(self, metrics: Metrics) -> float:
        """In nats."""
        return metrics["log_loss"]

    def compared(self, scores: Float[np.ndarray, "rows classes"]) -> list[Any]:
        """The probabilities."""
        return [[float(f"{value:.7g}") for value in row] for row in scores.tolist()]

    def resample(
        self,
        truth: Shaped[np.ndarray, "rows labels"],
        compared: Shaped[np.ndarray, "models rows labels"],
        weights: Float[np.ndarray, "resamples rows"],
    ) -> Float[np.ndarray, "models resamples"]:
        """``Σ_n (R_n - R_{n-1}) P_n`` over a label's thresholds; the mean over labels that occur."""
        total = np.zeros((len(compared), len(weights)))
        yes = truth > 0.5
        occurs = weights @ yes > 0
        for label in np.flatnonzero(yes.any(axis=0)):
            for number, scores in enumerate(compared[:, :, label]):
                precision = _average_precision(yes[:, label], scores, weights)
                total[number] += np.where(occurs[:, label], precision, 0.0)
        count = occurs.sum(axis=1).astype(np.float64)
        return total / np.where(count > 0, count, np.nan)

    def constant(self, values: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, " classes"]:
        """The share of rows with each label."""
        return values.mean(axis=0)

    def right(
        self, values: np.ndarray, scores: Float[np.ndarray, "rows classes"]
    ) -> Bool[np.ndarray, " rows"]:
        """Whether all labels of a row are right."""
        return ((scores >= 0.5) == (values > 0.5)).all(axis=1)

    def errors(self, values: np.ndarray, scores: np.ndarray) -> Float[np.ndarray, " rows"]:
        """The share of labels that is wrong."""
        return ((values > 0.5) != (scores >= 0.5)).mean(axis=1).astype(np.float64)

    def confidence(
        self, scores: Float[np.ndarray, "rows classes"]
    ) -> Float[np.ndarray, " rows"] | None:
        """The probability of the answer, yes or no, for the label it is least sure of."""
        return np.maximum(scores, 1 - scores).min(axis=1, initial=1)

    def row_scores(
        self, scores: Float[np.ndarray, "*subsets rows classes"]
    ) -> Float[np.ndarray, "*subsets rows"]:
        """The mean over the labels of the probability of what all streams answer, yes or no."""
        scores = scores.astype(np.float64)
        whole = scores[-1] if scores.ndim == 3 else scores
        return np.where(whole >= 0.5, scores, 1 - scores).mean(axis=-1)

    def text(self, answer: Any, empty: str = "∅") -> str:
        """Labels as they stand in the table."""
        if not isinstance(answer, list | tuple):
            return str(answer)
        return (self.separator or ";").join(map(str, answer)) or empty

    def brief(self, answer: Any, scores: Float[np.ndarray, " classes"]) -> str:
        """The labels, then the probability of each."""
        pairs = zip(self.classes, scores, strict=True)
        chances = ", ".join(f"{name} {chance:.2f}" for name, chance in pairs)
        return f"{self.text(answer, 'no label')} ({chances})"

    def column(self, answers: np.ndarray) -> list[Any]:
        """Labels joined as they stand in the table."""
        return [None if answer is None else self.text(answer, "") for answer in answers]

    def score_columns(self, scores: Float[np.ndarray, "rows classes"]) -> dict[str, list[Any]]:
        """Each label's probability."""
        return probability_columns(self.classes, scores.astype(np.float64).round(6))

    def replies(self, scores: Float[np.ndarray, "rows classes"]) -> list[dict[str, Any]]:
        """The labels and the probability of each."""
        shares = scores.astype(np.float64).round(6).tolist()
        return [
            {"answer": value, "probabilities": dict(zip(self.classes, row, strict=True))}
            for value, row in zip(self.answer(scores).tolist(), shares, strict=True)
        ]

    def replied(self, replies: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "rows classes"]:
        """The probabilities."""
        return replied_probabilities(self.classes, replies)

    def explained(self, scores: Float[np.ndarray, " classes"]) -> dict[int, str]:
        """Each label."""
        return dict(enumerate(self.classes))


def _find_separator(cells: Cells) -> str | None:
    """The mark that splits texts into a smaller vocabulary of short labels that come back."""
    for mark in SEPARATORS:
        share = sum(count for text, count in cells.counts.items() if mark in text) / len(cells)
        if share < 0.1:
            continue
        labels: Counter[str] = Counter()
        texts: Counter[str] = Counter()
        for text, count in cells.counts.items():
            for label in label_parts(text, mark):
                labels[label] += count
                texts[label] += 1
        brief = sum(c for x, c in labels.items() if len(x) <= 40 and len(x.split()) <= 4)
        total = labels.total()
        shared = sum(count for label, count in labels.items() if texts[label] > 1)
        # Sentences split at commas give labels that are long or never come back; class names that
        # happen to hold the mark give labels that stay in one text.
        if 2 * shared >= total and brief >= 0.95 * total >= 2.85 * len(labels):
            return mark
    return None


def multilabel(
    target: Float[np.ndarray, "rows classes"], scores: Float[np.ndarray, "rows classes"]
) -> Metrics:
    """Metrics of any subset of labels a row; a label is predicted at a probability of .5 or more.

    ``map`` averages average precision over the labels that occur.
    """
    from sklearn.metrics import average_precision_score, f1_score

    truth = target > 0.5
    guess = scores >= 0.5
    occurs = truth.any(axis=0)
    precision = [
        average_precision_score(truth[:, label], scores[:, label])
        for label in np.flatnonzero(occurs)
    ]
    # A label at a time: of a table with one label scikit-learn would also score its absence.
    each = [
        f1_score(truth[:, label], guess[:, label], zero_division=0)
        for label in np.flatnonzero(occurs)
    ]
    safe = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    loss = -np.where(truth, np.log(safe), np.log1p(-safe)).mean()
    return {
        "map": float(np.mean(precision)) if precision else float("nan"),
        "micro_f1": float(f1_score(truth.ravel(), guess.ravel(), zero_division=0)),
        "macro_f1": float(np.mean(each)) if each else float("nan"),
        "exact_match": float((truth == guess).all(axis=1).mean()),
        "log_loss": float(loss),
    }


def _average_precision(
    yes: Shaped[np.ndarray, " rows"],
    scores: Shaped[np.ndarray, " rows"],
    weights: Float[np.ndarray, "resamples rows"],
) -> Float[np.ndarray, " resamples"]:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    ordered = weights[:, order]
    hits = np.cumsum(ordered * yes[order], axis=1)[:, ends]
    given = np.cumsum(ordered, axis=1)[:, ends]
    precision = hits / np.maximum(given, 1)
    steps = np.diff(hits, axis=1, prepend=0.0)
    return (steps * precision).sum(axis=1) / np.maximum(hits[:, -1], 1)
