"""The contract every head keeps."""

from abc import abstractmethod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from plait.tokens import Fused


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
        if fused.votes is None:
            return self.project(fused.vector)
        return self.combine(self.project(fused.votes.values), fused.votes.mask)

    def row_loss(self, fused: Fused, target: Shaped[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """The loss to train on. Late fusion also trains every present vote to answer by itself."""
        loss = self.loss(self(fused), target)
        if fused.votes is None:
            return loss
        logits, mask = self.project(fused.votes.values), fused.votes.mask
        alone = torch.stack(
            [self.loss(logits[:, index], target) for index in range(logits.shape[1])], dim=1
        )
        return loss + (alone * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    @abstractmethod
    def combine(
        self, logits: Float[Tensor, "batch streams outputs"], mask: Shaped[Tensor, "batch streams"]
    ) -> Float[Tensor, "batch outputs"]:
        """One row of logits whose scores are the mean of the present streams' scores."""

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Shaped[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """The loss of each row; zero where the target is missing."""

    @abstractmethod
    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """What `plait.Predictor.predict_proba` gives: probabilities, or the (standardised) number."""
