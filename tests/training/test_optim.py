"""Optimisers, schedules and averaged weights."""

import math

import pytest
import torch
from torch import nn

from plait.config import configure
from plait.training.optim import DEFAULT_LR, AveragedWeights, build_optimizer, schedule

OPTIMIZERS = ["gd", "sgd", "rmsprop", "adam", "adamw"]


class Quadratic(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(3, 3))
        self.vector = nn.Parameter(torch.randn(3))

    def forward(self):
        return self.matrix.square().sum() + (self.vector - 1).square().sum()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("lr", [None, 0.01])
def test_every_optimizer_lowers_a_quadratic(name, lr):
    model = Quadratic()
    optimizer = build_optimizer(model, configure(optimizer=name, lr=lr, weight_decay=0.0))
    before = model().item()
    for _ in range(50):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
    assert model().item() < before * 0.95
    assert optimizer.param_groups[0]["lr"] == (lr or DEFAULT_LR[name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_matrices_decay_and_vectors_do_not(name):
    model = Quadratic()
    optimizer = build_optimizer(model, configure(optimizer=name, weight_decay=0.3))
    decay = {
        id(w): group["weight_decay"] for group in optimizer.param_groups for w in group["params"]
    }
    assert decay == {id(model.matrix): 0.3, id(model.vector): 0.0}


def test_gradient_descent_is_the_plain_step():
    model = Quadratic()
    want = model.vector.detach() - 0.1 * 2 * (model.vector.detach() - 1)
    optimizer = build_optimizer(model, configure(optimizer="gd", lr=0.1))
    model().backward()
    optimizer.step()
    torch.testing.assert_close(model.vector.detach(), want)


def test_momentum_is_nesterovs():
    model = Quadratic()
    optimizer = build_optimizer(model, configure(optimizer="sgd", momentum=0.8))
    assert (optimizer.defaults["nesterov"], optimizer.defaults["momentum"]) == (True, 0.8)


def curve(steps=100, **options):
    factor = schedule(configure(**options), steps)
    return [factor(step) for step in range(steps)]


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_the_warm_up_is_linear(name):
    values = curve(schedule=name, warmup=0.1)
    assert values[:10] == [(step + 1) / 10 for step in range(10)]
    assert values[10] == 1


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_without_a_warm_up_it_starts_at_the_peak(name):
    assert curve(schedule=name, warmup=0.0)[0] == 1


def test_values_after_the_warm_up():
    for step in (10, 40, 99):
        done = (step - 10) / 90
        assert curve(schedule="linear", warmup=0.1)[step] == pytest.approx(1 - done)
        assert curve(schedule="cosine", warmup=0.1)[step] == pytest.approx(
            0.5 * (1 + math.cos(math.pi * done))
        )
        assert curve(schedule="constant", warmup=0.1)[step] == 1


def test_onecycle_rises_for_three_tenths():
    values = curve(schedule="onecycle", warmup=0.0)
    assert values[29] == values[30] == 1
    assert values[:30] == sorted(values[:30])
    assert values[30:] == sorted(values[30:], reverse=True)


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "onecycle"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_very_short_run_has_a_rate_too(name, steps):
    assert all(0 < value <= 1 for value in curve(steps, schedule=name))
    assert schedule(configure(schedule=name), steps)(steps + 5) >= 0


def test_averaged_weights_equal_the_formula():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = AveragedWeights(model, 0.9)
    want = {name: value.clone().double() for name, value in model.state_dict().items()}
    for step in range(1, 200):
        with torch.no_grad():
            for weight in model.parameters():
                weight += torch.randn_like(weight)
            model[1].running_mean += 1
            model[1].num_batches_tracked += 1
        average.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            whole = not value.is_floating_point()
            want[name] = (
                value.double() if whole else decay * want[name] + (1 - decay) * value.double()
            )
    assert average.steps == 199
    for name, value in average.state.items():
        torch.testing.assert_close(value.double(), want[name], atol=1e-4, rtol=1e-4)


def test_averaging_does_not_touch_the_model():
    model = nn.Linear(2, 2)
    average = AveragedWeights(model, 0.5)
    before = model.weight.detach().clone()
    average.state["weight"] += 1
    average.update(model)
    assert torch.equal(model.weight, before)
