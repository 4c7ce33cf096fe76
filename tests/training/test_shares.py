"""Which stream learns: gradient shares by hand, through a checkpoint, around another balancing."""

import pytest
import torch
from several import batch, make_model

from plait.training.balance import Balance, watched
from plait.training.balance.shares import EVERY, Shares


class Inner(Balance):
    """Takes down what it is asked to do."""

    def __init__(self):
        self.calls = []

    def observe(self, targets):
        self.calls.append("observe")

    def modulate(self):
        self.calls.append("modulate")

    def close_epoch(self):
        self.calls.append("close")

    def state(self):
        return {"inner": 7}

    def load(self, state):
        self.calls.append(dict(state))


def learnt(model, *factors):
    """Gradients of one number in every weight of each encoder."""
    for encoder, factor in zip(model.encoders, factors, strict=True):
        for weight in encoder.parameters():
            weight.grad = None if factor is None else torch.full_like(weight, factor)


def sizes(model):
    return [sum(w.numel() for w in one.parameters()) ** 0.5 for one in model.encoders]


def test_shares_are_norms_over_their_sum():
    model = make_model()
    found = watched(model, Balance())
    one, two = sizes(model)
    learnt(model, 3.0, 1.0)
    found.modulate()
    learnt(model, None, 1.0)  # seen by nobody
    for _ in range(EVERY - 1):
        found.modulate()
    learnt(model, None, 2.0)
    found.modulate()
    found.close_epoch()
    first = 3 * one / (3 * one + two)
    names = [f"gradient/{name}" for name in model.streams]
    assert [found.scalars()[name] for name in names] == pytest.approx([first / 2, 1 - first / 2])


@pytest.mark.parametrize("factor", [None, 0.0, float("nan"), float("inf")])
def test_an_epoch_without_a_gradient_has_no_shares(factor):
    model = make_model()
    found = watched(model, Balance())
    learnt(model, factor, factor)
    found.modulate()
    found.close_epoch()
    assert found.scalars() == {}


def test_the_other_balancing_goes_on():
    inner, model = Inner(), make_model()
    found = watched(model, inner)
    with found.listen():
        model.row_losses(batch().columns, batch().targets)
    found.observe({})
    learnt(model, 1.0, 1.0)
    found.modulate()
    found.close_epoch()
    state = found.state()
    assert state == {"shares": {"updates": 1, "sums": dict.fromkeys(model.streams, 0.0), "counted": 0},
                     "inner": 7}  # fmt: skip
    again = watched(make_model(), Inner())
    again.load(state)
    assert again.state() == state and again.inner.calls == [{"inner": 7}]
    again.load({"inner": 8})  # of an older plait
    assert inner.calls == ["observe", "modulate", "close"]


def test_a_single_stream_is_not_watched():
    inner = Inner()
    assert watched(make_model(streams=("one",)), inner) is inner
    assert isinstance(watched(make_model(), inner), Shares)
