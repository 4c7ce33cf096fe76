"""Optimisers, learning-rate schedules and the averaged weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from plait.config import Config
from plait.model.encoders.base import learnt_state
from plait.model.encoders.pretrained import Tuned
from plait.model.pretrained.tuning import RATES, block_rates
from plait.training.balance.rates import encoder_rates

DEFAULT_LR = {"gd": 0.1, "sgd": 0.05, "rmsprop": 5e-4, "adam": 1e-3, "adamw": 2e-3}
"""Peak learning rate by optimiser when the user gives none. Half of AdamW's was no better (lab
notes, "Do frozen encoders want another learning rate?"); the others follow common use, scaled to
it, and were not tuned."""


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """The optimiser; matrices and filters decay, vectors (biases and norms) do not.

    Encoders of the streams in ``lr_scale`` and tuned pretrained encoders have learning rates of their
    own, in groups after the first two. Weights that are not to be trained are left out.
    """
    lr = config.lr or DEFAULT_LR[config.optimizer]
    rates = encoder_rates(model, config.lr_scale)
    for weight, rate in _tuned_rates(model, config, lr).items():
        rates[weight] = rate * rates.get(weight, 1.0)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = []
    for rate in sorted({1.0, *rates.values()}, key=lambda rate: (rate != 1.0, rate)):
        weights = [weight for weight in trained if rates.get(id(weight), 1.0) == rate]
        decay = [weight for weight in weights if weight.ndim >= 2]
        plain = [weight for weight in weights if weight.ndim < 2]
        groups += [
            {"params": decay, "weight_decay": config.weight_decay, "lr": lr * rate},
            {"params": plain, "weight_decay": 0.0, "lr": lr * rate},
        ]
    match config.optimizer:
        case "gd":
            return torch.optim.SGD(groups, lr=lr)
        case "sgd":
            return torch.optim.SGD(
                groups, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0
            )
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=config.momentum)
        case "adam":
            return torch.optim.Adam(groups, lr=lr)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr)


def _tuned_rates(model: nn.Module, config: Config, lr: float) -> dict[int, float]:
    """The learning rate factor of pretrained weights that are tuned, by ``id``."""
    rates: dict[int, float] = {}
    for part in model.modules():
        if isinstance(part, Tuned):
            factor = (config.tune_lr or RATES[part.kind]) / lr
            blocks = block_rates(part.backbone, config.layer_decay)
            rates |= {weight: factor * rate for weight, rate in blocks.items()}
    return rates


def schedule(config: Config, steps: int) -> Callable[[int], float]:
    """The learning rate's factor by step: a linear warm-up, then the chosen fall to zero."""
    warm = max(1, int(config.warmup * steps)) if config.warmup else 0
    if config.schedule == "onecycle":
        warm = max(1, int(0.3 * steps))  # Smith & Topin 2019: a long rise, then the fall

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = min(1.0, (step - warm) / max(1, steps - warm))
        if config.schedule == "constant":
            return 1.0
        if config.schedule == "linear":
            return 1 - done
        return 0.5 * (1 + math.cos(math.pi * done))

    return factor


class AveragedWeights:
    """An exponential moving average of weights and buffers (Polyak & Juditsky 1992).

    Early on the decay is ``(1 + t) / (10 + t)``, so the average is not held back by random weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: value.detach().clone() for name, value in learnt_state(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in learnt_state(model).items():
            if value.is_floating_point():
                averages.append(self.state[name])
                values.append(value)
            else:
                self.state[name].copy_(value)
        get_ema_multi_avg_fn(decay)(averages, values, self.steps)
