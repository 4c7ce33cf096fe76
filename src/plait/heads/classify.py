"""Classification: one class of several, or any subset of labels."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional

from plait.heads.base import Head

MISSING_CLASS = -1
"""The class index of a row whose target is missing."""


def mean_over_streams(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``[batch, streams, outputs]`` over present streams."""
    real = mask.unsqueeze(-1).to(values.dtype)
    return (values * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class Classify(Head):
    """Softmax cross-entropy over the classes; binary targets are two classes.

    Args:
        weights: loss weight of each class, ``[classes]``; None weighs them alike.
        smoothing: label smoothing (Szegedy et al. 2016, section 7).
    """

    def __init__(
        self,
        *,
        width: int,
        outputs: int,
        dropout: float = 0.0,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(width=width, outputs=outputs, dropout=dropout)
        self.smoothing = smoothing
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)

    def combine(
        self, logits: Float[Tensor, "batch streams outputs"], mask: Shaped[Tensor, "batch streams"]
    ) -> Float[Tensor, "batch outputs"]:
        """The log of the streams' mean probabilities."""
        return mean_over_streams(logits.softmax(dim=-1), mask).clamp(min=1e-12).log()

    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy a row."""
        return functional.cross_entropy(
            logits,
            target,
            weight=self.weights,
            ignore_index=MISSING_CLASS,
            reduction="none",
            label_smoothing=self.smoothing,
        )

    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """Class probabilities."""
        return logits.softmax(dim=-1)


class MultiLabel(Head):
    """Binary cross-entropy, one a label; a row with NaN in its target is missing."""

    def __init__(
        self,
        *,
        width: int,
        outputs: int,
        dropout: float = 0.0,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(width=width, outputs=outputs, dropout=dropout)
        self.smoothing = smoothing
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)

    def combine(
        self, logits: Float[Tensor, "batch streams outputs"], mask: Shaped[Tensor, "batch streams"]
    ) -> Float[Tensor, "batch outputs"]:
        """The logit of the streams' mean probabilities."""
        return torch.logit(mean_over_streams(logits.sigmoid(), mask), eps=1e-6)

    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, " batch"]:
        """Mean binary cross-entropy over the labels of a row."""
        known = ~target.isnan().any(dim=1)
        goal = target.nan_to_num() * (1 - self.smoothing) + self.smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(
            logits, goal, pos_weight=self.weights, reduction="none"
        )
        return loss.mean(dim=1) * known

    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """Probability of each label."""
        return logits.sigmoid()
