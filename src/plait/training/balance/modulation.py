"""Balancing by the encoders' gradients: OGM-GE and AGM."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plait.model.heads.base import Head
from plait.model.heads.classify import Classify, MultiLabel
from plait.model.heads.rules import known_rows
from plait.model.model import Model
from plait.training.balance.base import Listening

OGM = 0.3
"""How hard `OgmGe` holds a leading stream back (the paper's α, between 0.1 and 0.8 there)."""

AGM = 1.0
"""How hard `Agm` holds a leading stream back: the paper's α. At 1 its formula stands
as it is printed; not tuned."""


class Modulating(Listening):
    """Multiplies each encoder's gradient by a coefficient."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._reset()

    def coefficients(self, scores: list[float | None]) -> list[float]:
        """A factor for each stream's gradient, by what it scores; None where it was not seen."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Forget what was observed since the last update."""
        self.sums = [0.0] * len(self.streams)
        self.counts = [0.0] * len(self.streams)

    def modulate(self) -> None:
        """Scale each encoder's gradient; an encoder that streams share, by their mean factor."""
        pairs = zip(self.sums, self.counts, strict=True)
        factors = self.coefficients([total / count if count else None for total, count in pairs])
        self._reset()
        shared: dict[int, list[float]] = {}
        for encoder, factor in zip(self.model.encoders, factors, strict=True):
            shared.setdefault(id(encoder), []).append(factor)
        # A shared encoder stands there once per stream; its gradient is scaled once.
        for encoder in dict.fromkeys(self.model.encoders):
            factor = sum(shared[id(encoder)]) / len(shared[id(encoder)])
            for weight in encoder.parameters():
                if weight.grad is not None:
                    self.change(weight.grad, factor)

    def change(self, gradient: Tensor, factor: float) -> None:
        """Scale one gradient in place."""
        gradient.mul_(factor)

    def _count(self, values: Tensor, there: Tensor) -> None:
        """Add what each row of a batch scores, ``[batch, streams]``."""
        totals = torch.stack([(values * there).sum(dim=0), there.to(values.dtype).sum(dim=0)])
        for into, total in zip((self.sums, self.counts), totals.tolist(), strict=True):
            for index, value in enumerate(total):
                into[index] += value


class OgmGe(Modulating):
    """On-the-fly gradient modulation with generalisation enhancement (Peng et al. 2022, OGM-GE).

    A stream's score s_m is the mean probability it gives the truth by itself. With the discrepancy ratio
    ``ρ_m = s_m / mean of the others' s`` (the paper has two streams and one other) its encoder's
    gradient is multiplied by ``k_m = 1 - tanh(α ρ_m)`` where ``ρ_m > 1``, else by 1, and to each matrix
    or filter Gaussian noise is added with the standard deviation of that gradient's entries, which
    stands in for the paper's covariance over samples. For labels the probability is the mean over them;
    numbers have none, and ``exp(-loss)`` stands in.
    """

    def accumulate(self, targets: Mapping[str, Tensor]) -> None:
        """Add up the probability each stream gives the truth."""
        for name, head in self.heads():
            logits, mask = self.own(head)
            each = [
                likelihood(head, logits[:, index], targets[name])
                for index in range(len(self.streams))
            ]
            there = mask & known_rows(targets[name]).unsqueeze(1)
            self._count(torch.stack(each, dim=1), there)

    def coefficients(self, scores: list[float | None]) -> list[float]:
        """``k_m``."""
        return ogm_coefficients(scores)

    def change(self, gradient: Tensor, factor: float) -> None:
        """Scale, and add noise."""
        # Measured before the scaling: the noise is that of the full gradient. Biases get none.
        spread = gradient.std(correction=0) if gradient.ndim >= 2 else None
        gradient.mul_(factor)
        if spread is not None:
            gradient.add_(torch.randn_like(gradient) * spread)


def likelihood(head: Head, logits: Tensor, target: Tensor) -> Float[Tensor, " batch"]:
    """The probability logits give the truth, of any finite value where the target is missing."""
    if isinstance(head, Classify):
        # -1 is a missing class; the caller's mask drops that row.
        return logits.softmax(dim=1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    if isinstance(head, MultiLabel):
        chance = logits.sigmoid()
        return torch.where(target > 0.5, chance, 1 - chance).mean(dim=1)
    return (-head.loss(logits, target)).exp()


def ogm_coefficients(scores: list[float | None]) -> list[float]:
    """``1 - tanh(α ρ)`` for streams whose score is above the others' mean, else 1."""
    factors = []
    for index, score in enumerate(scores):
        others = [s for place, s in enumerate(scores) if place != index and s is not None]
        if score is None or not others:
            factors.append(1.0)
            continue
        ratio = score / max(sum(others) / len(others), 1e-8)
        factors.append(1 - math.tanh(OGM * ratio) if ratio > 1 else 1.0)
    return factors


class Agm(Modulating):
    """Adaptive gradient modulation (Li et al. 2023, AGM).

    A stream's share of the answer is ``φ_m = ½ (Φ(all) - Φ(all but m) + Φ(m) - Φ(∅))``, where Φ are the
    logits when only those streams are seen: its Shapley value for two streams. For more it is the mean
    of the first and the last marginal contribution, in place of the mean over all orders, whose cost
    doubles with every stream. With ``s_m = -loss(φ_m)`` and its running mean ŝ over all updates, the
    encoder's gradient is multiplied by ``κ_m = exp(α (τ_m - r_m))``, where r_m is
    ``exp(mean over the others n of (s_m - s_n))`` and τ_m the same of ŝ: a stream that leads more than
    it used to is held back, one that leads less is pushed. κ_m is at most e.

    Cost: the fusion and the heads run 2M + 2 more times a batch for M streams, without gradients.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.running = [0.0] * len(self.streams)
        self.seen = [0] * len(self.streams)

    def accumulate(self, targets: Mapping[str, Tensor]) -> None:
        """Add up minus the loss of each stream's share."""
        parts = self.model.fusion, self.model.heads
        for part in parts:
            # With dropout, chance would count as a stream's contribution.
            part.eval()
        every = self.streams
        nothing, whole = self._answer([]), self._answer(every)
        present = torch.stack([self.tokens[name].present for name in every], dim=1)
        for index, stream in enumerate(every):
            lone, rest = (
                self._answer([stream]),
                self._answer([other for other in every if other != stream]),
            )
            for name, head in self.heads():
                share = 0.5 * (whole[name] - rest[name] + lone[name] - nothing[name])
                values = torch.zeros(len(share), len(every), device=share.device)
                values[:, index] = -head.loss(share, targets[name])
                there = torch.zeros_like(present)
                there[:, index] = present[:, index] & known_rows(targets[name])
                self._count(values, there)
        for part in parts:
            part.train()

    def _answer(self, keep: Sequence[str]) -> dict[str, Tensor]:
        return self.model.answer(self.model.fuse(self.tokens, keep))

    def coefficients(self, scores: list[float | None]) -> list[float]:
        """``κ_m``."""
        for index, score in enumerate(scores):
            if score is not None and math.isfinite(score):
                self.seen[index] += 1
                self.running[index] += (score - self.running[index]) / self.seen[index]
        return agm_coefficients(scores, self.running)

    def state(self) -> dict[str, Any]:
        """The running means and how many updates they are over."""
        return {"running": self.running, "seen": self.seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.running, self.seen = list(state["running"]), list(state["seen"])


def agm_coefficients(scores: list[float | None], running: list[float]) -> list[float]:
    """``exp(α (τ - r))``, at most e; 1 for a stream that was not seen, or was seen alone.

    Args:
        scores: of this update.
        running: the mean of each stream's scores so far.
    """
    seen = [index for index, s in enumerate(scores) if s is not None and math.isfinite(s)]
    factors = [1.0] * len(scores)
    for index in seen:
        others = [other for other in seen if other != index]
        if not others:
            continue
        lead = sum(float(scores[index] or 0) - float(scores[other] or 0) for other in others)
        usual = sum(running[index] - running[other] for other in others)
        # exp overflows above 709; long before that the factor is 0 or e.
        ratio, goal = (math.exp(min(sum_ / len(others), 50.0)) for sum_ in (lead, usual))
        factors[index] = math.exp(min(AGM * (goal - ratio), 1.0))
    return factors
