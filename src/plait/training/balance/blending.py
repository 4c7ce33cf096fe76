"""Balancing by the losses' weights: Gradient-Blending."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plait.model.heads.rules import known_rows
from plait.model.loader import Loader
from plait.model.model import Model
from plait.training.balance.base import Listening

LEAST_OVERFITTING = 0.05
"""The least rise in overfitting `Blending` divides by, in units of the loss: below it the estimate is
noise, and dividing by its square would give one stream all the weight. Chosen, not measured."""


class Blending(Listening):
    """Gradient-Blending (Wang et al. 2020): a loss weighs by how much it generalises, not overfits.

    The losses are each stream's own and that of the fused answer. For each, with training loss T and
    held-out loss V, generalisation ``G = V_0 - V_n`` and overfitting ``O = (V_n - T_n) - (V_0 - T_0)``
    since the first epoch; its weight is ``w = G / O²`` over the sum of all (proposition 1), where G is
    at least 0 and O at least `LEAST_OVERFITTING`. The paper trains every stream apart to estimate them;
    here the streams' own answers inside one model give T (over an epoch's batches) and V (over the
    held-out rows, at its end). Weights move half of the way each epoch, from those a plain fit has, and
    keep their sum.

    Cost: a pass over the held-out rows each epoch.
    """

    def __init__(self, model: Model, held: Loader) -> None:
        super().__init__(model)
        self.held = held
        self.first: list[list[float]] = []
        self.train = Means(len(self.streams) + 1)
        alone = 1.0 if model.fusion.voting else model.unimodal_loss
        self.alone = alone
        self.weights = [alone / len(self.streams)] * len(self.streams) + [1.0]

    def accumulate(self, targets: Mapping[str, Tensor]) -> None:
        """Add the losses of a training batch to the epoch's."""
        self._measure(targets, self.train)

    def _measure(self, targets: Mapping[str, Tensor], into: "Means") -> None:
        fused = self.fused
        assert fused is not None
        for name, head in self.heads():
            target = targets[name]
            logits, mask = self.own(head)
            each = [head.loss(logits[:, i], target) for i in range(len(self.streams))]
            if fused.votes is None or fused.trust is None:
                joint = head.without_dropout(fused.vector.float())
            else:
                votes = head.without_dropout(fused.votes.values.float())
                joint = head.combine(votes, fused.trust, fused.rule)
            known = known_rows(target)
            there = torch.cat([mask & known.unsqueeze(1), known.unsqueeze(1)], dim=1)
            into.add(name, torch.stack([*each, head.loss(joint, target)], dim=1), there)

    @torch.no_grad()
    def close_epoch(self) -> None:
        """Measure the held-out losses and move the weights."""
        held = Means(len(self.streams) + 1)
        device = next(self.model.parameters()).device
        # Held-out losses with dropout would look like underfitting.
        self.model.eval()
        for batch in self.held.epoch():
            rows = batch.to(device)
            with self.listen():
                tokens = self.model.encode(rows.columns)
                self.model.fuse(tokens)
                if self.model.voices is not None:
                    self.model.voices(tokens)
            self._measure(rows.targets, held)
        self.model.train()
        now = [self.train.means(), held.means()]
        self.train = Means(len(self.streams) + 1)
        # Against the end of the first epoch, where both losses are measured in one way.
        if not self.first:
            self.first = now
            return
        shares = blend(self.first, now)
        total = 1 + self.alone
        self.weights = [
            # Half of the way: an estimate from one epoch is noisy.
            0.5 * (old + total * share) for old, share in zip(self.weights, shares, strict=True)
        ] if shares else self.weights  # fmt: skip
        self._apply()

    def _apply(self) -> None:
        """Tell the model: factors of the weights that it has anyway."""
        usual = self.alone / len(self.streams)
        # The model multiplies by its own weights of the streams' losses already.
        factors = [weight / usual for weight in self.weights[:-1]] + self.weights[-1:]
        self.model.emphasis = torch.tensor(
            factors, dtype=torch.float32, device=next(self.model.parameters()).device
        )

    def state(self) -> dict[str, Any]:
        """Weights, the first epoch's losses, and this epoch's so far."""
        return {"weights": self.weights, "first": self.first, "train": vars(self.train)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.weights, self.first = list(state["weights"]), list(state["first"])
        vars(self.train).update(state["train"])
        self._apply()


class Means:
    """Sums and counts of losses by target; their means added over the targets."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.sums: dict[str, list[float]] = {}
        self.counts: dict[str, list[float]] = {}

    def add(
        self, name: str, losses: Float[Tensor, "batch width"], there: Bool[Tensor, "batch width"]
    ) -> None:
        counts = there.to(losses.dtype).sum(dim=0).tolist()
        for table, more in (
            (self.sums, (losses * there).sum(dim=0).tolist()),
            (self.counts, counts),
        ):
            old = table.get(name, [0.0] * self.width)
            table[name] = [loss + added for loss, added in zip(old, more, strict=True)]

    def means(self) -> list[float]:
        return [
            sum(self.sums[name][place] / max(self.counts[name][place], 1.0) for name in self.sums)
            for place in range(self.width)
        ]


def blend(first: list[list[float]], now: list[list[float]]) -> list[float]:
    """Each loss's share, ``G / O²`` over the sum; empty when none generalises better than at first.

    Args:
        first, now: training losses, then held-out losses, of each stream and of the fused answer.
    """
    ratios = []
    for train_0, held_0, train_n, held_n in zip(*first, *now, strict=True):
        gain = max(held_0 - held_n, 0.0)
        # ΔO of the paper may be negative early on, and its square would then weigh as overfitting.
        overfit = max((held_n - train_n) - (held_0 - train_0), LEAST_OVERFITTING)
        ratios.append(gain / overfit**2)
    total = sum(ratios)
    if not (math.isfinite(total) and total > 0):
        return []
    return [ratio / total for ratio in ratios]
