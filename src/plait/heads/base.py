"""The contract every head keeps."""

from abc import abstractmethod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from plait.tokens import Fused, Tokens

PRODUCT = "product"


class Head(nn.Module):
    """A fused representation in; logits, loss and scores out.

    Args:
        width: numbers in the fused vector.
        outputs: logits a row.
    """

    def __init__(self, *, width: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, outputs)
        )

    def forward(self, fused: Fused) -> Float[Tensor, "batch outputs"]:
        """Logits; for late fusion, those of the combined predictions."""
        if fused.votes is None or fused.trust is None:
            return self.project(fused.vector)
        return self.combine(self.project(fused.votes.values), fused.trust, fused.rule)

    def row_loss(
        self, fused: Fused, target: Shaped[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """The loss to train on. Late fusion also trains every present vote to answer by itself."""
        loss = self.loss(self(fused), target)
        return loss if fused.votes is None else loss + self.votes_loss(fused.votes, target)

    def votes_loss(
        self, votes: Tokens, target: Shaped[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """The mean loss of a row's real votes, each answering by itself."""
        logits, mask = self.project(votes.values), votes.mask
        each = [self.loss(logits[:, index], target) for index in range(logits.shape[1])]
        return (torch.stack(each, dim=1) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    @abstractmethod
    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """One row of logits from all votes'; a missing vote has trust 0.

        Args:
            rule: how votes are combined; ``product`` is a logarithmic opinion pool.
        """

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Shaped[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """The loss of each row; zero where the target is missing."""

    @abstractmethod
    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """What `plait.Predictor.predict_proba` gives: probabilities, or the (standardised) number."""
