"""The bilinear fusions by hand."""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.parts import Weights, linear, norm, vectors

Reference = Callable[[Weights, list[Tensor], list[Tensor]], Tensor]


def tensor(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, _ = vectors(w, values, masks)
    v = torch.cat([v.new_ones(v.shape[0], v.shape[1], 1), v], dim=2)
    product = v[:, 0]
    for index in range(1, v.shape[1]):
        product = torch.einsum("bi,bj->bij", product, v[:, index]).flatten(1)
    return linear(w, "mix.3", functional.relu(linear(w, "mix.0", product)))


def lowrank(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, _ = vectors(w, values, masks)
    factors = w["factors"]
    product = None
    for index, factor in enumerate(factors):
        one = torch.addmm(factor[0], v[:, index], factor[1:])
        product = one if product is None else product * one
    assert product is not None
    return product.unflatten(1, (-1, len(w["bias"]))).sum(dim=1) + w["bias"]


def multiplicative(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, _ = vectors(w, values, masks)
    state = v[:, 0]
    for number in range(v.shape[1] - 1):
        other = v[:, number + 1]
        products = (other.unsqueeze(2) * state.unsqueeze(1)).flatten(1)
        own = linear(w, f"steps.{number}.own", torch.cat([other, state], dim=1))
        state = functional.linear(products, w[f"steps.{number}.product.weight"]) + own
        state = norm(w, f"norms.{number}", state)
    return linear(w, "out", state)


Joint = Callable[[Weights, Tensor, Tensor], Tensor]
"""Weights and the two members of every pair, to the joint vectors."""


def paired(joint: Joint, before: Callable[[Weights, Tensor], Tensor] = lambda w, v: v) -> Reference:
    """The joint vectors of all pairs side by side, those that lack both members as zeros, mapped.

    ``before`` is what every stream's vector goes through once.
    """

    def function(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
        v, present = vectors(w, values, masks)
        pairs = torch.tensor(list(combinations(range(len(values)), 2)))
        some = present.index_select(1, pairs[:, 0]) | present.index_select(1, pairs[:, 1])
        v = before(w, v)
        joined = joint(w, v.index_select(1, pairs[:, 0]), v.index_select(1, pairs[:, 1]))
        return linear(w, "out", (joined * some.unsqueeze(2)).flatten(1))

    return function


def bounded(w: Weights, v: Tensor) -> Tensor:
    return torch.tanh(v)


def normalised(x: Tensor) -> Tensor:
    return functional.normalize(x * x.abs().add_(1e-4).rsqrt_(), dim=-1)


def waves(w: Weights, v: Tensor, size: int = 512) -> Tensor:
    zeros = v.new_zeros(v.shape[0], v.shape[1], size)
    return torch.fft.rfft(zeros.scatter_add(2, w["places"].expand_as(v), v * w["signs"]))


def mcb(w: Weights, one: Tensor, other: Tensor, size: int = 512) -> Tensor:
    return normalised(torch.fft.irfft(one * other, n=size))


def mlb(w: Weights, one: Tensor, other: Tensor) -> Tensor:
    return one * other


def mfb(w: Weights, one: Tensor, other: Tensor, factors: int = 5) -> Tensor:
    return normalised((one * other).unflatten(2, (-1, factors)).sum(dim=3))


def mutan(w: Weights, one: Tensor, other: Tensor) -> Tensor:
    one = torch.einsum("bpi,pij->bpj", one, w["left_core"])
    other = torch.einsum("bpi,pij->bpj", other, w["right_core"])
    return (one * other).unflatten(2, (-1, w["left_core"].shape[1])).sum(dim=2)


def block(w: Weights, one: Tensor, other: Tensor) -> Tensor:
    part = w["left_core"].shape[1]
    one = torch.einsum("bci,cij->bcj", one.reshape(len(one), -1, part), w["left_core"])
    other = torch.einsum("bci,cij->bcj", other.reshape(len(other), -1, part), w["right_core"])
    joint = normalised((one * other).unflatten(2, (-1, part)).sum(dim=2))
    return joint.reshape(len(joint), -1, w["vectors.absent"].shape[1])


REFERENCES = {
    "tensor": tensor,
    "lowrank": lowrank,
    "multiplicative": multiplicative,
    "mcb": paired(mcb, waves),
    "mlb": paired(mlb, bounded),
    "mfb": paired(mfb),
    "mutan": paired(mutan, bounded),
    "block": paired(block),
}
