"""One answer for every row, in the user's own terms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plait.data.table.quarantine import Quarantine
from plait.data.targets.target import Target
from plait.display.notebook import ROWS_SHOWN, block, grid
from plait.errors import counted


@dataclass(frozen=True)
class Answers:
    """One answer for every row of a table, in its order.

    Attributes:
        values: target → class names, lists of labels, or numbers, ``[rows]``.
        scores: target → probabilities ``[rows, classes]``, or the numbers themselves.
        quarantine: cells that were unreadable and counted as missing.
        absent: input columns the table lacks; they counted as missing.
        abstained: target → rows whose answer is None because the model was not sure enough; empty where
            it was not asked to abstain.
    """

    targets: list[Target]
    values: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    quarantine: Quarantine
    absent: list[str] = field(default_factory=list)
    abstained: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        targets: list[Target],
        scores: Mapping[str, np.ndarray],
        quarantine: Quarantine,
        absent: list[str],
    ) -> "Answers":
        """From what a model's heads scored, target by target."""
        return cls(
            targets,
            values={target.name: target.answer(scores[target.name]) for target in targets},
            scores={target.name: target.in_units(scores[target.name]) for target in targets},
            quarantine=quarantine,
            absent=absent,
        )

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def to_columns(self) -> dict[str, Sequence[Any]]:
        """Columns for a file: the answer, its confidence, and each class's probability.

        If the model may abstain, a further column marks where it did; the answer there is None.

        A name that is taken, by a target called ``y_confidence`` say, gets an underscore behind it.
        """
        columns: dict[str, Sequence[Any]] = {}

        def put(name: str, cells: Sequence[Any]) -> None:
            while name in columns or (name in self.values and name != target.name):
                name += "_"
            columns[name] = cells

        for target in self.targets:
            name = target.name
            put(name, target.column(self.values[name]))
            if name in self.abstained:
                put(f"{name}_abstained", self.abstained[name].tolist())
            for end, cells in target.score_columns(self.scores[name]).items():
                put(f"{name}_{end}", cells)
        return columns

    def _repr_html_(self) -> str:
        """The first answers, for a notebook."""
        columns = self.to_columns()
        shown = [name for name in columns if "_p_" not in name or name in self.values]
        rows = list(zip(*(columns[name] for name in shown), strict=True))
        lines = [[number, *row] for number, row in enumerate(rows[: ROWS_SHOWN + 1])]
        lines += [[]] * (len(rows) - len(lines))  # so that the grid counts them
        title = counted(len(self), "answer")
        return block(title, grid(["row", *shown], lines), notes=self.notes())

    def notes(self) -> list[str]:
        """What a reader of these answers must know."""
        lines = [
            f"the table has no column '{name}'; it counted as missing in every row"
            for name in self.absent
        ]
        return lines + self.quarantine.summary() + self.quarantine.cut()
