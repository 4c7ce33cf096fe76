"""The contract every head keeps."""

from abc import abstractmethod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from plait.data.targets.scores import Scores
from plait.model.heads.rules import (
    DEMPSTER,
    ENERGY,
    PRODUCT,
    RULES,
    Stack,
    known_rows,
    rank_loss,
)
from plait.model.tokens import Fused, Tokens

RANK = 0.1
"""The weight of the regulariser that comes with the rule ``energy``."""


class Head(nn.Module):
    """A fused representation in; logits, loss and scores out.

    ``temperature`` divides the logits before they become probabilities
    (`plait.insight.explain.calibration`). It is 1 until it is fitted, after training, and no weight: a
    loss does not see it.

    Args:
        width: numbers in the fused vector.
        outputs: logits a row.
        votes: of a fusion whose rule is ``stacked``; 0 for any other.
    """

    def __init__(self, *, width: int, outputs: int, dropout: float = 0.0, votes: int = 0) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, outputs)
        )
        self.stack = Stack(votes=votes, outputs=outputs) if votes else None
        self.temperature = 1.0

    def forward(self, fused: Fused) -> Float[Tensor, "batch outputs"]:
        """Logits; for late fusion, those of the combined predictions."""
        if fused.votes is None or fused.trust is None:
            return self.project(fused.vector)
        return self.combine(self.project(fused.votes.values), fused.trust, fused.rule)

    def without_dropout(
        self, values: Float[Tensor, "*batch width"]
    ) -> Float[Tensor, "*batch outputs"]:
        """Logits of vectors, whatever mode the head is in: no random number is drawn."""
        norm, _, linear = self.project
        return linear(norm(values))

    def stack_weights(self) -> list[nn.Parameter]:
        """The weights that stack votes, which held-out rows fit after training; mostly none."""
        return [] if self.stack is None else list(self.stack.parameters())

    def row_loss(
        self,
        fused: Fused,
        target: Shaped[Tensor, "batch ..."],
        emphasis: Float[Tensor, " voices"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The loss to train on. Late fusion also trains every present vote to answer by itself.

        Args:
            emphasis: factors of each stream's own loss, then of the combined answer's; None: all 1.
        """
        loss = self.rule_loss(
            self(fused), target, fused.rule if fused.votes is not None else PRODUCT
        )
        if emphasis is not None:
            loss, emphasis = loss * emphasis[-1], emphasis[:-1]
        if fused.votes is None:
            return loss
        return loss + self.votes_loss(fused.votes, target, fused.rule, emphasis)

    def votes_loss(
        self,
        votes: Tokens,
        target: Shaped[Tensor, "batch ..."],
        rule: str = PRODUCT,
        emphasis: Float[Tensor, " streams"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The mean loss of a row's real votes, each answering by itself.

        With the rule ``energy``, training adds its regulariser (`plait.model.heads.rules.rank_loss`).

        Args:
            emphasis: factors of the first votes' losses; the votes after those have factor 1.
        """
        logits, mask = self.project(votes.values), votes.mask
        loss = torch.stack(
            [self.lone_loss(logits[:, index], target, rule) for index in range(logits.shape[1])],
            dim=1,
        )
        each = loss
        if emphasis is not None:
            rest = emphasis.new_ones(loss.shape[1] - len(emphasis))
            each = loss * torch.cat([emphasis, rest])
        mean = (each * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        confidence = self.confidence(logits) if rule == ENERGY and self.training else None
        if confidence is None:
            return mean
        known = mask & known_rows(target).unsqueeze(1)
        return mean + RANK * rank_loss(confidence, loss, known)

    def lone_loss(
        self,
        logits: Float[Tensor, "batch outputs"],
        target: Shaped[Tensor, "batch ..."],
        rule: str,
    ) -> Float[Tensor, " batch"]:
        """The loss of one vote that answers by itself."""
        return self.loss(logits, target)

    def rule_loss(
        self,
        logits: Float[Tensor, "batch outputs"],
        target: Shaped[Tensor, "batch ..."],
        rule: str,
    ) -> Float[Tensor, " batch"]:
        """The loss of the combined answer."""
        return self.loss(logits, target)

    def confidence(
        self, logits: Float[Tensor, "batch votes outputs"]
    ) -> Float[Tensor, "batch votes"] | None:
        """How sure each vote is, by its energy; None where answers have none."""
        return None

    def stacked(
        self, values: Float[Tensor, "batch votes outputs"], trust: Float[Tensor, "batch votes"]
    ) -> Float[Tensor, "batch outputs"]:
        """The rule ``stacked``.

        Raises:
            ValueError: the head was built without ``votes``.
        """
        if self.stack is None:
            raise ValueError(
                f"the rule 'stacked' needs a head built with votes={values.shape[1]}, got votes=0"
            )
        return self.stack(values, trust)

    def refuse(self, rule: str) -> ValueError:
        """The error for a rule that this head does not know."""
        name, others = type(self).__name__, [known for known in RULES if known != DEMPSTER]
        if rule == DEMPSTER:
            text = f"the rule 'dempster' is for classes; {name} takes {', '.join(others)}"
            return ValueError(text)
        return ValueError(f"unknown rule '{rule}'; choose from {', '.join(RULES)}")

    @abstractmethod
    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """One row of logits from all votes'; a missing vote has trust 0.

        Args:
            rule: how votes are combined, one of `plait.model.heads.rules.RULES`.

        Raises:
            ValueError: there is no such rule, or it is none for answers of this kind.
        """

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Shaped[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """The loss of each row; zero where the target is missing."""

    def numpy_scores(self, logits: Shaped[Tensor, "batch ..."]) -> Scores:
        """`scores` without torch; a head whose answers are sequences gives ragged ones instead."""
        return self.scores(logits).float().cpu().numpy()

    @abstractmethod
    def distance(
        self,
        logits: Float[Tensor, "batch outputs"],
        scores: Float[Tensor, "batch outputs"],
        temperature: float,
    ) -> Float[Tensor, " batch"]:
        """How far a student's logits are from a teacher's scores (`plait.training.distill`).

        This and what follows is not asked of a head whose scores are ragged.
        """

    @abstractmethod
    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """What `plait.Predictor.predict_proba` gives: probabilities, or the (standardised) number."""

    @abstractmethod
    def answered(self, scores: Float[Tensor, "batch outputs"]) -> Shaped[Tensor, "batch ..."]:
        """What the scores answer, as `answer_score` takes it."""

    @abstractmethod
    def answer_score(
        self, scores: Float[Tensor, "batch outputs"], answers: Shaped[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """How much scores speak for given answers, with a gradient; a number is standardised."""
