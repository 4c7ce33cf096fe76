"""The attention fusions by hand, and experts and graph: the vector alone, no weights and no sequence."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.parts import (
    HEADS,
    Weights,
    attend,
    block,
    cross,
    feed,
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


def streams(w: Weights, values: list[Tensor]) -> list[Tensor]:
    """Each stream at the common width."""
    return [projected(w, "tokens", index, value) for index, value in enumerate(values)]


def onestream(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    rows = len(values[0])
    x = torch.cat([w["lead"].expand(rows, 1, -1), *streams(w, values)], dim=1)
    mask = torch.cat([torch.ones(rows, 1, dtype=torch.bool), *masks], dim=1)
    for number in range(rounds):
        x = block(w, f"rounds.{number}", x, mask)
    return norm(w, "norm", x)[:, 0]


def bottleneck(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    present = there(masks)
    rows, count = len(present), len(w["bottleneck"])
    one = torch.ones(rows, 1, dtype=torch.bool)
    leads = w["leads"][:, None, None].expand(-1, rows, -1, -1)
    x = [torch.cat([leads[i], v], dim=1) for i, v in enumerate(streams(w, values))]
    masks = [torch.cat([one, mask], dim=1) for mask in masks]
    x = [block(w, f"before.0.{i}", v, masks[i]) for i, v in enumerate(x)]
    masks = [torch.cat([mask, one.expand(-1, count)], dim=1) for mask in masks]
    shared = w["bottleneck"].expand(rows, -1, -1)
    for number in range(rounds):
        both = [
            block(w, f"rounds.{number}.{i}", torch.cat([v, shared], dim=1), masks[i])
            for i, v in enumerate(x)
        ]
        x = [v[:, :-count] for v in both]
        if number < rounds - 1:
            shared = masked_mean(torch.stack([v[:, -count:] for v in both], dim=1), present)
    vector = norm(w, "norm", masked_mean(torch.stack([v[:, 0] for v in x], dim=1), present))
    return torch.where(present.any(dim=1, keepdim=True), vector, w["nothing"])


def perceiver(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    seen, mask = torch.cat(streams(w, values), dim=1), torch.cat(masks, dim=1)
    latents = w["latents"].expand(len(mask), -1, -1)
    for number in range(rounds):
        latents = cross(w, f"cross.{number}", latents, seen, mask)
        latents = block(w, "between.0.0", latents, None)
    return norm(w, "norm", latents.mean(dim=1))


def qformer(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    values, present = streams(w, values), there(masks)
    q = w["queries"].expand(len(present), -1, -1)
    for number in range(rounds):
        name = f"rounds.{number}"
        normed = norm(w, f"{name}.self_norm", q)
        q = q + attend(w, f"{name}.self_attention", normed, normed, None)
        normed = norm(w, f"{name}.cross_norm", q)
        heard = [
            attend(w, f"{name}.cross.{i}", normed, v, mask)
            for i, (v, mask) in enumerate(zip(values, masks, strict=True))
        ]
        q = feed(w, name, q + masked_mean(torch.stack(heard, dim=1), present))
    return norm(w, "norm", q.mean(dim=1))


def mult(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    values, ends = streams(w, values), []
    for a, own in enumerate(values):
        read = []
        for place, b in enumerate(b for b in range(len(values)) if b != a):
            y = own
            for number in range(rounds):
                y = cross(w, f"cross.{a}.{place}.{number}", y, values[b], masks[b])
            read.append(y)
        y = block(w, f"refine.{a}", linear(w, f"narrow.{a}", torch.cat(read, dim=2)), masks[a])
        end = pooled(w, f"pool.{a}", y, masks[a]).squeeze(1)
        ends.append(torch.where(masks[a].any(dim=1, keepdim=True), end, w["absent"][a]))
    return perceptron(w, "mix", torch.cat(ends, dim=1))


def coattention(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    values = streams(w, values)
    hidden = [
        linear(w, f"hidden.{i}", v) * mask.unsqueeze(-1)
        for i, (v, mask) in enumerate(zip(values, masks, strict=True))
    ]
    met = []
    for number, (a, b) in enumerate(combinations(range(len(values)), 2)):
        c = torch.tanh(linear(w, f"affinity.{number}", values[a]) @ values[b].transpose(1, 2))
        both = []
        for side, (i, j, affinity) in enumerate(((a, b, c), (b, a, c.transpose(1, 2)))):
            count = masks[j].sum(dim=1).clamp(min=1)[:, None, None]
            inside = torch.tanh(hidden[i] + affinity @ hidden[j] / count)
            scores = inside @ w[f"score.{number}.weight"][side]
            shares = scores.masked_fill(~open_rows(masks[i]), -torch.inf).softmax(dim=1)
            seen = (shares.unsqueeze(1) @ values[i]).squeeze(1)
            both.append(torch.where(masks[i].any(dim=1, keepdim=True), seen, w["absent"][i]))
        met.append(torch.tanh(linear(w, f"meet.{number}", both[0] + both[1])))
    return perceptron(w, "mix", torch.cat(met, dim=1))


def experts(w: Weights, values: list[Tensor], masks: list[Tensor], top: int = 2) -> Tensor:
    """All experts in two products, as in the module."""
    x = vectors(w, values, masks)[0].flatten(1)
    scores = linear(w, "gate", x)
    best, which = scores.topk(top, dim=1)
    gates = torch.zeros_like(scores).scatter(1, which, best.softmax(dim=1))
    hidden = functional.gelu(linear(w, "inner", x)).unflatten(1, (scores.shape[1], -1))
    return linear(w, "outer", (hidden * gates.unsqueeze(-1)).flatten(1)) + gates @ w["bias"]


def graph(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    h, present = vectors(w, values, masks)
    real = open_rows(present)
    for number in range(rounds):
        name = f"rounds.{number}"
        v = linear(w, f"{name}.project", h).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        receive = v @ w[f"{name}.receive"].unsqueeze(-1)
        send = (v @ w[f"{name}.send"].unsqueeze(-1)).transpose(2, 3)
        scores = functional.leaky_relu(receive + send, 0.2) + w[f"{name}.edges"]
        shares = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=-1)
        h = h + functional.elu((shares @ v).transpose(1, 2).flatten(2))
    return functional.gelu(linear(w, "out.1", norm(w, "out.0", masked_mean(h, real))))


REFERENCES = {
    "coattention": coattention,
    "mult": mult,
    "onestream": onestream,
    "bottleneck": bottleneck,
    "perceiver": perceiver,
    "qformer": qformer,
    "experts": experts,
    "graph": graph,
}
