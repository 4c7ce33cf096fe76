"""The basic and the conditioning fusions by hand, without shares that are only for reading."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.parts import (
    Weights,
    each_linear,
    linear,
    masked_mean,
    norm,
    open_rows,
    perceptron,
    pooled,
    projected,
    there,
    vectors,
)

Maps = list[tuple[Tensor, Tensor]]
"""Each stream's tokens and its mask, opened where the stream is missing."""


def early(w: Weights, values: list[Tensor], masks: list[Tensor], layers: int = 3) -> Tensor:
    absent = w["absent"].split([value.shape[2] for value in values])
    features = []
    for index, (value, mask) in enumerate(zip(values, masks, strict=True)):
        mean = norm(w, f"scale.{index}", masked_mean(value, mask))
        features.append(torch.where(mask.any(dim=1, keepdim=True), mean, absent[index]))
    hidden = linear(w, "enter", torch.cat(features, dim=1))
    for layer in range(layers):
        hidden = hidden + perceptron(w, f"feeds.{layer}", norm(w, f"norms.{layer}", hidden))
    return norm(w, "norm", hidden)


def total(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, _ = vectors(w, values, masks)
    return perceptron(w, "out", v.sum(dim=1))


def mean(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    return perceptron(w, "out", masked_mean(v, open_rows(present)))


def most(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    seen = v.masked_fill(~open_rows(present).unsqueeze(-1), -torch.inf)
    return perceptron(w, "out", seen.max(dim=1).values)


def deepsets(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    members = perceptron(w, "phi", v) * open_rows(present).unsqueeze(-1)
    return perceptron(w, "rho.1", functional.gelu(members.sum(dim=1)))


def gmu(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    hidden = torch.tanh(each_linear(w, "hidden", v))
    gates = linear(w, "gate", v.flatten(1)).sigmoid()
    if len(values) > 2:
        gates = gates.view_as(v) * open_rows(present).unsqueeze(-1)
        return (gates * hidden).sum(dim=1)
    one, other = present.unsqueeze(-1).unbind(dim=1)
    gates = torch.where(one == other, gates, one.to(gates.dtype))
    return gates * hidden[:, 0] + (1 - gates) * hidden[:, 1]


def embrace(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    return perceptron(w, "out", masked_mean(each_linear(w, "dock", v).relu(), open_rows(present)))


def centralnet(w: Weights, values: list[Tensor], masks: list[Tensor], layers: int = 2) -> Tensor:
    hidden, _ = vectors(w, values, masks)
    centre = torch.einsum("m,bmw->bw", w["start"], hidden)
    for layer in range(layers):
        hidden = functional.gelu(each_linear(w, f"towers.{layer}", hidden))
        own = functional.gelu(linear(w, f"central.{layer}", centre))
        alpha = w["alpha"][layer]
        centre = torch.einsum("m,bmw->bw", alpha[:-1], hidden) + alpha[-1] * own
    return centre


def maps(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Maps:
    """Each stream's tokens at one width, absent tokens where it is missing."""
    found = []
    for index, (value, mask) in enumerate(zip(values, masks, strict=True)):
        some = mask.any(dim=1)[:, None, None]
        value = torch.where(some, projected(w, "maps", index, value), w["maps.absent"][index])
        found.append((value, open_rows(mask)))
    return found


def pools(w: Weights, name: str, x: Maps) -> Tensor:
    """Each stream's attention-pooled tokens, ``[batch, streams, width]``."""
    return torch.cat([pooled(w, f"{name}.{index}", *one) for index, one in enumerate(x)], dim=1)


def mmtm(w: Weights, values: list[Tensor], masks: list[Tensor], layers: int = 2) -> Tensor:
    x = maps(w, values, masks)
    for layer in range(layers):
        x = [
            (
                v + perceptron(w, f"feeds.{layer}.{m}", norm(w, f"norms.{layer}.{m}", v)),
                mask,
            )
            for m, (v, mask) in enumerate(x)
        ]
        squeezed = torch.cat([masked_mean(*one) for one in x], dim=1)
        joint = functional.relu(linear(w, f"gates.{layer}.0", squeezed))
        gates = (2 * linear(w, f"gates.{layer}.2", joint).sigmoid()).chunk(len(x), dim=1)
        x = [(v * gate.unsqueeze(1), mask) for (v, mask), gate in zip(x, gates, strict=True)]
    return masked_mean(pools(w, "pool", x), open_rows(there(masks)))


def film(w: Weights, values: list[Tensor], masks: list[Tensor], layers: int = 2) -> Tensor:
    x = maps(w, values, masks)
    looks = pools(w, "look", x)
    others = [[n for n in range(len(x)) if n != m] for m in range(len(x))]
    conditions = looks[:, others].flatten(2)
    for layer in range(layers):
        gamma, beta = each_linear(w, f"generate.{layer}", conditions).chunk(2, dim=-1)
        refined = []
        for m, (v, mask) in enumerate(x):
            inner = functional.layer_norm(linear(w, f"inner.{layer}.{m}", v), v.shape[-1:])
            change = (1 + gamma[:, m, None]) * inner + beta[:, m, None]
            refined.append((v + change.relu(), mask))
        x = refined
    return masked_mean(pools(w, "pool", x), open_rows(there(masks)))


def nlgate(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    x = maps(w, values, masks)
    embedded = [linear(w, "embed", v).chunk(3, dim=-1) for v, _ in x]
    gated = []
    for m, (v, mask) in enumerate(x):
        others = [n for n in range(len(x)) if n != m]
        keys, seen = (torch.cat([embedded[n][part] for n in others], dim=1) for part in (1, 2))
        real = torch.cat([masks[n] for n in others], dim=1)
        taken = functional.scaled_dot_product_attention(
            embedded[m][0], keys, seen, attn_mask=open_rows(real).unsqueeze(1)
        )
        some = real.any(dim=1)[:, None, None]
        gated.append((v + linear(w, "back", taken * some), mask))
    return perceptron(w, "out", masked_mean(pools(w, "pool", gated), open_rows(there(masks))))


def channel(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    x = maps(w, values, masks)
    squeezed = torch.cat([masked_mean(*one) for one in x], dim=1)
    inner = functional.relu(linear(w, "gate.1", squeezed))
    gates = linear(w, "gate.3", inner).sigmoid().chunk(len(x), dim=1)
    x = [(v * gate.unsqueeze(1), mask) for (v, mask), gate in zip(x, gates, strict=True)]
    return perceptron(w, "out", pools(w, "pool", x).flatten(1))


REFERENCES = {
    "early": early,
    "sum": total,
    "mean": mean,
    "max": most,
    "deepsets": deepsets,
    "gmu": gmu,
    "embrace": embrace,
    "centralnet": centralnet,
    "mmtm": mmtm,
    "film": film,
    "nlgate": nlgate,
    "channel": channel,
}
