"""Classification: one class of several, or any subset of labels."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from plait.data.targets.classes import MISSING
from plait.model.heads import rules
from plait.model.heads.base import Head
from plait.model.heads.rules import dempster, energy, evidential_loss, label_energy, linear_pool

LEAST = 1e-6
"""The least probability of a teacher that is not rounded to it."""


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
        votes: int = 0,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(width=width, outputs=outputs, dropout=dropout, votes=votes)
        self.smoothing = smoothing
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)


class Classify(_Weighed):
    """Softmax cross-entropy over the classes; binary targets are two classes."""

    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = rules.PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """By default the votes' log-probabilities, summed by trust: a logarithmic opinion pool."""
        match rule:
            case rules.PRODUCT:
                return (logits.log_softmax(dim=-1) * trust.unsqueeze(-1)).sum(dim=1)
            case rules.MEAN:
                return linear_pool(logits.log_softmax(dim=-1), trust)
            case rules.STACKED:
                return self.stacked(logits.log_softmax(dim=-1), trust)
            case rules.ENERGY:
                # Confidence is no shortcut for the loss: it gets no gradient from the answer.
                sure = trust * self.confidence(logits).detach()
                return (logits * sure.unsqueeze(-1)).sum(dim=1)
            case rules.DEMPSTER:
                return dempster(logits, trust)
        raise self.refuse(rule)

    def confidence(
        self, logits: Float[Tensor, "batch votes outputs"]
    ) -> Float[Tensor, "batch votes"]:
        """Each vote's negative free energy."""
        return energy(logits)

    def rule_loss(
        self, logits: Float[Tensor, "batch outputs"], target: Int64[Tensor, " batch"], rule: str
    ) -> Float[Tensor, " batch"]:
        """For ``dempster`` the evidential loss, with class weights but without smoothing."""
        if rule != rules.DEMPSTER:
            return self.loss(logits, target)
        known = target >= 0
        goal = target.clamp(min=0)
        loss = evidential_loss(logits, goal) * known
        return loss if self.weights is None else loss * self.weights[goal]

    def lone_loss(
        self, logits: Float[Tensor, "batch outputs"], target: Int64[Tensor, " batch"], rule: str
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy; for ``dempster`` the evidential loss of the vote's own opinion."""
        if rule != rules.DEMPSTER:
            return self.loss(logits, target)
        alone = dempster(logits.unsqueeze(1), torch.ones_like(logits[:, :1]))
        return self.rule_loss(alone, target, rule)

    def loss(
        self, logits: Float[Tensor, "batch outputs"], target: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy a row."""
        return functional.cross_entropy(
            logits,
            target,
            weight=self.weights,
            ignore_index=MISSING,
            reduction="none",
            label_smoothing=self.smoothing,
        )

    def distance(
        self,
        logits: Float[Tensor, "batch outputs"],
        scores: Float[Tensor, "batch outputs"],
        temperature: float,
    ) -> Float[Tensor, " batch"]:
        """``T² KL(p_T ‖ softmax(z / T))``."""
        soft = (scores.clamp(min=LEAST).log() / temperature).log_softmax(dim=1)
        answer = (logits / temperature).log_softmax(dim=1)
        return temperature**2 * (soft.exp() * (soft - answer)).sum(dim=1)

    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """Class probabilities."""
        return (logits / self.temperature).softmax(dim=-1)

    def answered(self, scores: Float[Tensor, "batch outputs"]) -> Int64[Tensor, " batch"]:
        """The likeliest class."""
        return scores.argmax(dim=1)

    def answer_score(
        self, scores: Float[Tensor, "batch outputs"], answers: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The probability of the answered class."""
        return scores.gather(1, answers[:, None])[:, 0]


class MultiLabel(_Weighed):
    """Binary cross-entropy, one a label; a row with NaN in its target is missing."""

    def combine(
        self,
        logits: Float[Tensor, "batch votes outputs"],
        trust: Float[Tensor, "batch votes"],
        rule: str = rules.PRODUCT,
    ) -> Float[Tensor, "batch outputs"]:
        """By default the votes' logits, summed by trust: each label's logarithmic opinion pool."""
        match rule:
            case rules.PRODUCT:
                return (logits * trust.unsqueeze(-1)).sum(dim=1)
            case rules.MEAN:
                yes = linear_pool(functional.logsigmoid(logits), trust)
                return yes - linear_pool(functional.logsigmoid(-logits), trust)
            case rules.STACKED:
                return self.stacked(logits, trust)
            case rules.ENERGY:
                sure = trust.unsqueeze(-1) * label_energy(logits).detach()
                return (logits * sure).sum(dim=1)
        raise self.refuse(rule)

    def confidence(
        self, logits: Float[Tensor, "batch votes outputs"]
    ) -> Float[Tensor, "batch votes"]:
        """The mean over the labels of their negative free energy."""
        return label_energy(logits).mean(dim=-1)

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

    def distance(
        self,
        logits: Float[Tensor, "batch outputs"],
        scores: Float[Tensor, "batch outputs"],
        temperature: float,
    ) -> Float[Tensor, " batch"]:
        """The mean of the labels' divergences, as `Classify.distance` has them of two classes."""
        soft = (torch.logit(scores.clamp(LEAST, 1 - LEAST)) / temperature).sigmoid()
        least = functional.binary_cross_entropy(soft, soft, reduction="none")
        cross = functional.binary_cross_entropy_with_logits(
            logits / temperature, soft, reduction="none"
        )
        return temperature**2 * (cross - least).mean(dim=1)

    def scores(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        """Probability of each label."""
        return (logits / self.temperature).sigmoid()

    def answered(self, scores: Float[Tensor, "batch outputs"]) -> Bool[Tensor, "batch outputs"]:
        """Which labels are answered."""
        return scores >= 0.5

    def answer_score(
        self, scores: Float[Tensor, "batch outputs"], answers: Bool[Tensor, "batch outputs"]
    ) -> Float[Tensor, " batch"]:
        """The mean over the labels of the probability of what was answered, yes or no."""
        return torch.where(answers, scores, 1 - scores).mean(dim=1)
