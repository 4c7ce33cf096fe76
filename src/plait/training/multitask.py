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
"""The rate of learned weights, with Adam: that of Chen et al. 2018, section 4."""

ALPHA = 1.5
"""How hard `GradNorm` pulls slow targets along; the paper's choice where targets differ much."""

LEAST = 0.01
"""The least weight `GradNorm` gives a target: a step of Adam could make it negative, and from 0 it would
not come back, since its gradient norm would be 0 as well."""


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


class Learned(Weighting):
    """Weights that follow a few numbers, one per target, which an Adam of their own moves.

    The numbers are in double precision and on the processor, whatever the model is. The number of a
    target that a batch lacks stays as it is, and so do its moments.
    """

    def __init__(self, start: Mapping[str, float]) -> None:
        super().__init__(start, start)
        self.numbers = {
            name: nn.Parameter(torch.tensor(number, dtype=torch.float64))
            for name, number in start.items()
        }
        self.adam = torch.optim.Adam(self.numbers.values(), lr=RATE)

    def step(self, gradients: Mapping[str, float]) -> None:
        """One step of Adam for the numbers that have a gradient."""
        for name, number in self.numbers.items():
            gradient = gradients.get(name)
            number.grad = None if gradient is None else number.new_tensor(gradient)
        self.adam.step()

    def state(self) -> dict[str, Any]:
        """Numbers, weights and moments."""
        numbers = {name: number.item() for name, number in self.numbers.items()}
        return {
            "numbers": numbers,
            "weights": self.weights,
            "adam": self.adam.state_dict()["state"],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.weights = dict(state["weights"])
        for name, number in state["numbers"].items():
            self.numbers[name].data.fill_(number)
        # Only the moments were saved; the options are those of this run.
        self.adam.load_state_dict({**self.adam.state_dict(), "state": state["adam"]})


class Uncertainty(Learned):
    """Weights by learned uncertainty (Kendall, Gal & Cipolla 2018).

    ``L = Σ_t c_t e^{-s_t} L_t + s_t / 2`` with a learned log variance ``s_t = log σ_t²`` per target and
    ``c_t`` = 1/2 for numbers (eq. 7) and 1 for classes and labels (eq. 10). The gradient by s_t is
    ``-c_t e^{-s_t} L_t + 1/2``. The numbers are the s. A target that a batch lacks stays as it is.
    """

    def __init__(self, halves: Mapping[str, bool]) -> None:
        super().__init__(dict.fromkeys(halves, 0.0))
        self.scales = {name: 0.5 if half else 1.0 for name, half in halves.items()}
        self.weights = dict(self.scales)

    def learn(self, losses: Mapping[str, Tensor]) -> None:
        """One step of every log variance whose target is there."""
        self.step({n: 0.5 - self.weights[n] * float(loss.detach()) for n, loss in losses.items()})
        for name in losses:
            self.weights[name] = self.scales[name] * math.exp(-self.numbers[name].item())


class GradNorm(Learned):
    """Weights that let all targets learn at one pace (Chen et al. 2018).

    With ``G_t = ‖∇_W w_t L_t‖`` over the fusion's weights W (the last ones all targets share), the
    weights w follow the gradient of ``Σ_t |G_t - Ḡ r_t^α|``, where ``r_t = L̃_t / mean L̃`` and
    ``L̃_t = L_t / L_t(0)``, the right-hand side held fixed (eq. 2). Since ``G_t = w_t ‖∇_W L_t‖`` that
    gradient is ``sign(G_t - Ḡ r_t^α) ‖∇_W L_t‖``. Then w is scaled to keep its sum. Only the targets a
    batch has take part; ``L_t(0)`` is the loss in the first batch that has the target. Cost: another
    backward pass through heads and fusion for each target.
    """

    def __init__(self, targets: Collection[str], shared: list[nn.Parameter]) -> None:
        super().__init__(dict.fromkeys(targets, 1.0))
        self.shared = shared
        self.first: dict[str, float] = {}

    def learn(self, losses: Mapping[str, Tensor]) -> None:
        """One step of the weights of the targets that are there, when there are several."""
        for name, loss in losses.items():
            self.first.setdefault(name, max(float(loss.detach()), 1e-8))
        norms = {name: self._norm(loss) for name, loss in losses.items()}
        if len(norms) < 2 or not all(math.isfinite(norm) for norm in norms.values()):
            return
        ratio = {name: float(loss.detach()) / self.first[name] for name, loss in losses.items()}
        goals = gradnorm_goals({name: self.weights[name] * norms[name] for name in norms}, ratio)
        # Of the targets this batch has: the others keep their weights, so the total stays as well.
        before = sum(self.weights[name] for name in norms)
        errors = {name: self.weights[name] * norm - goals[name] for name, norm in norms.items()}
        self.step(
            # d|G - goal| / dw = sign(G - goal) ‖∇L‖; at the goal the subgradient 0 rests.
            {n: math.copysign(norms[n], error) if error else 0.0 for n, error in errors.items()}
        )
        moved = {name: max(self.numbers[name].item(), LEAST) for name in norms}
        scale = before / sum(moved.values())
        for name, weight in moved.items():
            self.weights[name] = weight * scale
            # The renormalised weight is where Adam goes on from (algorithm 1 of the paper).
            self.numbers[name].data.fill_(weight * scale)

    def _norm(self, loss: Tensor) -> float:
        parts: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, self.shared, retain_graph=True, allow_unused=True
        )
        # In half precision squares overflow above 256.
        squares = [part.float().square().sum() for part in parts if part is not None]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    def state(self) -> dict[str, Any]:
        """Numbers, weights, moments and first losses."""
        return {**super().state(), "first": self.first}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        super().load(state)
        self.first = dict(state["first"])


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
                # A zero gradient opposes nothing; the floor keeps 0 / 0 out.
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
        # Asking which rows are known would make a GPU wait at every step.
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
        # Gradients of earlier batches that wait are not operated on again.
        before = [weight.grad for weight in self.shared]
        updates = []
        touched = [grad is not None for grad in before]
        for index, loss in enumerate(rivals):
            self._forget()
            # All losses share the encoders' graph: only the last pass may free it.
            run(loss, retain_graph=bool(rest) or index + 1 < len(rivals))
            touched = [
                known or weight.grad is not None
                for known, weight in zip(touched, self.shared, strict=True)
            ]
            updates.append(self._flat())
        freed = pcgrad(updates)
        self._forget()
        if rest:
            run(torch.stack(rest).sum())
        parts = freed.split([weight.numel() for weight in self.shared])
        for weight, part, old, known in zip(self.shared, parts, before, touched, strict=True):
            # No gradient at all: Adam would otherwise decay the weight of an unused part.
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
