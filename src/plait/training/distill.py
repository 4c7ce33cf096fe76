"""Distillation: a model learns from another's answers beside the table's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from plait.model.model import AUXILIARY, Model, Trainable
from plait.model.tokens import ColumnBatch

TAUGHT = "taught/"
"""Before the name of a target whose values are a teacher's answers."""

TEMPERATURE = 2.0
"""Near the 2.5 to 4 that Hinton et al. 2015 (section 3) found best for students much smaller than their
teacher."""

SHARE = 0.7
"""Of the teacher's answers in the loss; the rest is the table's. Section 2 of the paper asks for
the smaller weight on the table's. With both as here a quarter of the weights cost no accuracy on
avdigits (lab notes, "How small a student loses how much?"); other values were not tried."""


class Taught(Trainable):
    """A student, whose losses are partly those of answering as its teacher does.

    ``(1 - s) L(y, z) + s T² KL(p_T ‖ softmax(z / T))`` with the teacher's probabilities p at temperature
    T (Hinton et al. 2015, section 2); labels one by one; of a number the squared difference. Its teacher
    saw the whole row, the student what modality dropout leaves it.
    """

    def __init__(self, student: Model) -> None:
        super().__init__()
        self.student = student

    def row_losses(
        self, batch: Mapping[str, ColumnBatch], targets: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Each target's loss a row, and whatever else the student has."""
        tokens = self.student.encode(batch)
        fused = self.student.fuse(tokens)
        losses = self.student.losses(tokens, fused, batch, targets)
        logits = self.student.answer(fused)
        for name, head in zip(self.student.targets, self.student.heads, strict=True):
            taught = head.distance(logits[name], targets[TAUGHT + name], TEMPERATURE)  # type: ignore[operator]
            losses[name] = (1 - SHARE) * losses[name]
            losses[f"{AUXILIARY}taught {name}"] = SHARE * taught
        return losses


@dataclass(frozen=True)
class Distillation:
    """What a student starts from and learns from.

    Attributes:
        start: fills the student, in place, before it learns.
        answers: target → a teacher's scores of every row of the table: probabilities, or the
            standardised number; empty where there is no teacher.
    """

    start: Callable[[Model], None]
    answers: Mapping[str, Float[np.ndarray, "rows outputs"]]

    def begin(
        self, student: Model, goals: dict[str, np.ndarray]
    ) -> tuple[Trainable, dict[str, np.ndarray]]:
        """Fill the student; gives back what is to be trained, and all its targets."""
        self.start(student)
        return self.learner(student), {**goals, **self.goals()}

    def learner(self, student: Model) -> Trainable:
        """What is to be trained."""
        return Taught(student) if self.answers else student

    def goals(self) -> dict[str, np.ndarray]:
        """The answers as targets of their own."""
        return {TAUGHT + name: scores for name, scores in self.answers.items()}
