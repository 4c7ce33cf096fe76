"""Regression of one number."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from plait.model.heads.base import Head
from plait.model.heads.rules import ENERGY, MEAN, PRODUCT, STACKED, weighted_mean


class Regress(Head):
    """Squared error, or Huber's loss (1964) with delta 1, on the standardised target.

    A row with NaN as its target is missing.
    """

    def __init__(
        self,
        *,
        width: int,
        outputs: int = 1,
        dropout: float = 0.0,
        votes: int = 0,
        kind: Literal["mse", "huber"] = "huber",
    ) -> None:
        super().__init__(width=width, outputs=outputs, dropout=dropout, votes=votes)
        self.kind = kind

    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """The votes' mean, weighted by trust: a number has no energy and no probability of its own."""
        if rule == STACKED:
            return self.stacked(logits, trust)
        if rule in (PRODUCT, MEAN, ENERGY):
            return weighted_mean(logits, trust)
        raise self.refuse(rule)

    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The loss of each row."""
        known = ~target.isnan()
        function = functional.huber_loss if self.kind == "huber" else functional.mse_loss
        loss = function(logits.squeeze(1), target.where(known, 0.0), reduction="none")
        return loss * known

    def distance(
        self,
        logits: Float[Tensor, "batch outputs"],
        scores: Float[Tensor, "batch outputs"],
        temperature: float,
    ) -> Float[Tensor, " batch"]:
        """The squared difference; a number has no temperature."""
        return (logits[:, 0] - scores[:, 0]).square()

    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """The standardised number itself."""
        return logits

    def answered(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, " batch"]:
        """The number."""
        return scores[:, 0]

    def answer_score(
        self, scores: Float[Tensor, "batch outputs"], answers: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The number that these scores say, whatever was answered."""
        return scores[:, 0]
