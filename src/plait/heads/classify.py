"""Classification: one class of several, or any subset of labels."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from plait.heads.base import PRODUCT, Head

MISSING_CLASS = -1
"""The class index of a row whose target is missing."""


class _Weighed(Head):
    """A head whose loss has weights and smoothing.

    Args:
        weights: loss weight of each class or label, ``[outputs]``; None weighs them alike.
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


class Classify(_Weighed):
    """Softmax cross-entropy over the classes; binary targets are two classes."""

    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """The votes' log-probabilities, summed by trust: a logarithmic opinion pool."""
        return (logits.log_softmax(dim=-1) * trust.unsqueeze(-1)).sum(dim=1)

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


class MultiLabel(_Weighed):
    """Binary cross-entropy, one a label; a row with NaN in its target is missing."""

    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """The votes' logits, summed by trust: each label's logarithmic opinion pool."""
        return (logits * trust.unsqueeze(-1)).sum(dim=1)

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
