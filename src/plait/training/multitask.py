"""Several targets at once: weights of their losses, and gradients kept from undoing each other."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.config import Config
from plait.model.heads.regress import Regress
from plait.model.heads.rules import known_rows
from plait.model.model import Model, Trainable

RATE = 0.025
"""How fast learned weights move: a step of Adam (Kingma & Ba 2015) at the rate of Chen et al. 2018."""

ALPHA = 1.5
"""How hard `GradNorm` pulls slow targets along; the paper's choice where targets differ much."""

LEAST = 0.01
"""The least weight `GradNorm` gives a target."""


class Moments:
    """Adam for a few plain numbers, so that they need no place in the model's own optimiser."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.second: dict[str, float] = {}
        self.steps: dict[str, int] = {}

    def step(self, name: str, gradient: float) -> float:
        """What to add to the number of that name."""
        self.steps[name] = steps = self.steps.get(name, 0) + 1
        self.first[name] = first = 0.9 * self.first.get(name, 0.0) + 0.1 * gradient
        self.second[name] = second = 0.999 * self.second.get(name, 0.0) + 0.001 * gradient**2
        spread = math.sqrt(second / (1 - 0.999**steps)) + 1e-8
        return -RATE * first / (1 - 0.9**steps) / spread


class Weighting:
    """Fixed weights: ``L = Σ_t w_t L_t``, 1 for a target that is not named."""

    def __init__(self, targets: Collection[str], weights: Mapping[str, float]) -> None:
        self.weights = {name: float(weights.get(name, 1.0)) for name in targets}

    def learn(self, losses: Mapping[str, Tensor]) -> None:
        """Move the weights by this batch's losses, those of the targets it has."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""


class Uncertainty(Weighting):
    """Weights by learned uncertainty (Kendall, Gal & Cipolla 2018).

    ``L = Σ_t c_t e^{-s_t} L_t + s_t / 2`` with a learned log variance ``s_t = log σ_t²`` a target and
    ``c_t`` = 1/2 for numbers (eq. 7) and 1 for classes and labels (eq. 10). The gradient by s_t is
    ``-c_t e^{-s_t} L_t + 1/2``, which `Moments` follows. A target that a batch lacks stays as it is.
    """

    def __init__(self, halves: Mapping[str, bool]) -> None:
        self.scales = {name: 0.5 if half else 1.0 for name, half in halves.items()}
        self.logs = dict.fromkeys(self.scales, 0.0)
        self.moments = Moments()
        super().__init__(self.scales, self.scales)

    def learn(self, losses: Mapping[str, Tensor]) -> None:
        """One step of every log variance whose target is there."""
        for name, loss in losses.items():
            gradient = 0.5 - self.weights[name] * float(loss.detach())
            self.logs[name] += self.moments.step(name, gradient)
            self.weights[name] = self.scales[name] * math.exp(-self.logs[name])

    def state(self) -> dict[str, Any]:
        """Log variances, weights and moments."""
        return {"logs": self.logs, "weights": self.weights, "moments": vars(self.moments)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.logs, self.weights = dict(state["logs"]), dict(state["weights"])
        vars(self.moments).update(state["moments"])


class GradNorm(Weighting):
    """Weights that let all targets learn at one pace (Chen et al. 2018).

    With ``G_t = ‖∇_W w_t L_t‖`` over the fusion's weights W (the last ones all targets share), the
    weights w follow the gradient of ``Σ_t |G_t - Ḡ r_t^α|``, where ``r_t = L̃_t / mean L̃`` and
    ``L̃_t = L_t / L_t(0)``, the right-hand side held fixed (eq. 2). Since ``G_t = w_t ‖∇_W L_t‖`` that
    gradient is ``sign(G_t - Ḡ r_t^α) ‖∇_W L_t‖``. Then w is scaled to keep its sum. Only the targets a
    batch has take part; ``L_t(0)`` is the loss in the first batch that has the target. Cost: another
    backward pass through heads and fusion for each target.
    """

    def __init__(self, targets: Collection[str], shared: list[nn.Parameter]) -> None:
        super().__init__(targets, {})
        self.shared = shared
        self.first: dict[str, float] = {}
        self.moments = Moments()

    def learn(self, losses: Mapping[str, Tensor]) -> None:
        """One step of the weights of the targets that are there, when there are several."""
        for name, loss in losses.items():
            self.first.setdefault(name, max(float(loss.detach()), 1e-8))
        norms = {name: self._norm(loss) for name, loss in losses.items()}
        if len(norms) < 2 or not all(math.isfinite(norm) for norm in norms.values()):
            return
        ratio = {name: float(loss.detach()) / self.first[name] for name, loss in losses.items()}
        goals = gradnorm_goals({name: self.weights[name] * norms[name] for name in norms}, ratio)
        before = sum(self.weights[name] for name in norms)
        for name, norm in norms.items():
            error = self.weights[name] * norm - goals[name]
            gradient = math.copysign(norm, error) if error else 0.0
            moved = self.weights[name] + self.moments.step(name, gradient)
            self.weights[name] = max(moved, LEAST)
        after = sum(self.weights[name] for name in norms)
        for name in norms:
            self.weights[name] *= before / after

    def _norm(self, loss: Tensor) -> float:
        parts: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, self.shared, retain_graph=True, allow_unused=True
        )
        squares = [part.float().square().sum() for part in parts if part is not None]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    def state(self) -> dict[str, Any]:
        """Weights, first losses and moments."""
        return {"weights": self.weights, "first": self.first, "moments": vars(self.moments)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.weights, self.first = dict(state["weights"]), dict(state["first"])
        vars(self.moments).update(state["moments"])


def gradnorm_goals(norms: Mapping[str, float], ratio: Mapping[str, float]) -> dict[str, float]:
    """``Ḡ r_t^α``: the norm each target's weighted gradient should have.

    Args:
        norms: G of each target.
        ratio: its loss over its first loss.
    """
    mean = sum(norms.values()) / len(norms)
    pace = max(sum(ratio.values()) / len(ratio), 1e-12)
    return {name: mean * (max(ratio[name], 0.0) / pace) ** ALPHA for name in norms}


def pcgrad(gradients: list[Float[Tensor, " weights"]]) -> Float[Tensor, " weights"]:
    """The sum of gradients, each first freed of what opposes another (Yu et al. 2020, PCGrad).

    For every g_i, and every other g_j in random order (from torch's generator): where
    ``g_i · g_j < 0``, ``g_i ← g_i - (g_i · g_j) / ‖g_j‖² g_j`` (algorithm 1), with g_j as it was.
    """
    total = torch.zeros_like(gradients[0])
    for index, own in enumerate(gradients):
        freed = own
        for other in torch.randperm(len(gradients)).tolist():
            if other != index:
                rival = gradients[other]
                opposed = (freed @ rival).clamp(max=0) / (rival @ rival).clamp(min=1e-30)
                freed = freed - opposed * rival
        total = total + freed
    return total


class Tasks:
    """Turns a batch's losses into gradients, by the options `task_weighting` and `gradient_surgery`.

    Auxiliary losses belong to no target: they are added as they are. With one target there is
    nothing to weigh but by hand, and nothing to free. What is not a `Model` has losses, no targets:
    they are added, too.
    """

    def __init__(self, model: Trainable, config: Config) -> None:
        self.weighting, self.surgery = Weighting([], {}), False
        self.shared: list[nn.Parameter] = []
        if not isinstance(model, Model):
            return
        several = len(model.targets) > 1
        method = config.task_weighting if several else "fixed"
        self.weighting = _weighting(method, model, config.task_weights)
        self.surgery = several and config.gradient_surgery == "pcgrad"
        own = {id(weight) for weight in model.heads.parameters()}
        self.shared = [weight for weight in model.parameters() if id(weight) not in own]

    def there(self, targets: Mapping[str, Tensor]) -> list[str]:
        """The targets that a row of the batch has; all, unmeasured, where it makes no difference."""
        if not self.surgery and type(self.weighting) is Weighting:
            return list(targets)
        return [name for name, target in targets.items() if bool(known_rows(target).any())]

    def backward(
        self,
        losses: Mapping[str, Tensor],
        there: Collection[str],
        run: Callable[..., None],
        scale: float | None = None,
    ) -> None:
        """Add the gradients of a batch to the weights' ``grad``.

        Args:
            losses: the mean of each loss over the rows that have it.
            there: targets that at least one row has.
            run: as ``accelerator.backward``.
            scale: times everything; None: 1.
        """
        weighed = {name: self._weigh(name, loss, scale) for name, loss in losses.items()}
        self.weighting.learn({name: loss for name, loss in losses.items() if name in there})
        rivals = [loss for name, loss in weighed.items() if name in there]
        if not self.surgery or len(rivals) < 2:
            run(torch.stack(list(weighed.values())).sum())
            return
        rest = [loss for name, loss in weighed.items() if name not in there]
        self._operate(rivals, rest, run)

    def _weigh(self, name: str, loss: Tensor, scale: float | None) -> Tensor:
        weight = self.weighting.weights.get(name, 1.0)
        loss = loss if weight == 1.0 else loss * weight
        return loss if scale is None else loss * scale

    def _operate(self, rivals: list[Tensor], rest: list[Tensor], run: Callable[..., None]) -> None:
        """Heads get their own gradients as ever; what all share gets those of `pcgrad`."""
        before = [weight.grad for weight in self.shared]
        found = []
        touched = [grad is not None for grad in before]
        for index, loss in enumerate(rivals):
            self._forget()
            run(loss, retain_graph=bool(rest) or index + 1 < len(rivals))
            touched = [
                known or weight.grad is not None
                for known, weight in zip(touched, self.shared, strict=True)
            ]
            found.append(self._flat())
        freed = pcgrad(found)
        self._forget()
        if rest:
            run(torch.stack(rest).sum())
        parts = freed.split([weight.numel() for weight in self.shared])
        for weight, part, old, known in zip(self.shared, parts, before, touched, strict=True):
            if not known and weight.grad is None:
                continue
            grad = part.view_as(weight).to(weight.dtype)
            grad = grad if weight.grad is None else grad + weight.grad
            weight.grad = grad.clone() if old is None else grad + old

    def _flat(self) -> Float[Tensor, " weights"]:
        return torch.cat(
            [
                torch.zeros_like(weight).flatten().float()
                if weight.grad is None
                else weight.grad.flatten().float()
                for weight in self.shared
            ]
        )

    def _forget(self) -> None:
        for weight in self.shared:
            weight.grad = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return self.weighting.state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        if state:
            self.weighting.load(state)


def _weighting(method: str, model: Model, weights: Mapping[str, float]) -> Weighting:
    if method == "uncertainty":
        heads = zip(model.targets, model.heads, strict=True)
        return Uncertainty({name: isinstance(head, Regress) for name, head in heads})
    if method == "gradnorm":
        return GradNorm(model.targets, list(model.fusion.parameters()))
    return Weighting(model.targets, weights)
