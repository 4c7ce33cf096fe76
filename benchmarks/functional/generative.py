"""The generative, aligned and missing-stream fusions by hand: the vector in use, without any loss."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.parts import (
    Weights,
    block,
    linear,
    masked_mean,
    norm,
    perceptron,
    summaries,
    there,
    vectors,
)


def scaled(w: Weights, values: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Each stream's vector with mean 0 and variance 1, zeros where it is missing; who is there."""
    found, present = summaries(w, values, masks), there(masks)
    found = functional.layer_norm(found, found.shape[-1:])
    return found * present.unsqueeze(-1), present


def each(w: Weights, name: str, v: Tensor) -> Tensor:
    """A perceptron of its own for every stream's vector."""
    return torch.stack([perceptron(w, f"{name}.{m}", v[:, m]) for m in range(v.shape[1])], dim=1)


def posteriors(
    w: Weights, values: list[Tensor], masks: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The experts' means and precisions, and who is there."""
    v, present = scaled(w, values, masks)
    means, log_variances = each(w, "experts", v).chunk(2, dim=-1)
    return means, (-log_variances.clamp(-8, 8)).exp(), present


def mvae(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    means, precisions, present = posteriors(w, values, masks)
    precisions = precisions * present.unsqueeze(-1)
    return (precisions * means).sum(dim=1) / (1 + precisions.sum(dim=1))


def mmvae(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    return masked_mean(each(w, "experts", v).chunk(2, dim=-1)[0], present)


def mopoe(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    means, precisions, present = posteriors(w, values, masks)
    streams = range(len(values))
    chosen = [c for size in range(1, len(values) + 1) for c in combinations(streams, size)]
    sets = torch.tensor([[m in c for m in streams] for c in chosen])
    members = sets.to(means.dtype)
    weighted = torch.einsum("sm,bmw->bsw", members, precisions * means)
    products = weighted / torch.einsum("sm,bmw->bsw", members, precisions)
    return masked_mean(products, (present.unsqueeze(1) | ~sets).all(dim=2))


def gan(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    codes, complete = each(w, "translators.encoders", v), []
    for m in range(len(values)):
        others = [n for n in range(len(values)) if n != m]
        made = perceptron(w, f"translators.decoders.{m}", codes[:, others], last=2)
        told = masked_mean(made, present[:, others])
        some = present[:, others].any(dim=1, keepdim=True)
        told = torch.where(some, told, w["absent"][m])
        complete.append(torch.where(present[:, m, None], v[:, m], told))
    return perceptron(w, "mix", torch.cat(complete, dim=1))


def mctn(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    codes = each(w, "translators.encoders", v)
    return perceptron(w, "mix", torch.where(present.unsqueeze(-1), codes, w["absent"]).flatten(1))


def dcca(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, _ = vectors(w, values, masks)
    views = []
    for m in range(len(values)):
        name = f"aligned.{m}"
        inner = functional.gelu(linear(w, f"{name}.1", norm(w, f"{name}.0", v[:, m])))
        views.append(linear(w, f"{name}.3", inner))
    return perceptron(w, "mix", torch.cat([v.flatten(1), *views], dim=1))


def contrastive(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    placed = [linear(w, f"project.{m}", v[:, m]) for m in range(len(values))]
    aligned = functional.normalize(torch.stack(placed, dim=1), dim=-1)
    mean = masked_mean(aligned, present)
    mean = torch.where(present.any(dim=1, keepdim=True), mean, w["nothing"]).unsqueeze(1)
    shown = torch.where(present.unsqueeze(-1), aligned, mean)
    return perceptron(w, "mix", shown.flatten(1) * v.shape[2] ** 0.5)


def misa(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    shared = linear(w, "shared.0", v).sigmoid()
    private = [linear(w, f"private.{m}.0", v[:, m]).sigmoid() for m in range(len(values))]
    mask = present.repeat(1, 2)
    seen = block(w, "block", torch.cat([shared, torch.stack(private, dim=1)], dim=1), mask)
    return perceptron(w, "mix", (seen * mask.unsqueeze(-1)).flatten(1))


def shaspec(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    shared, specific = perceptron(w, "shared", v), each(w, "specific", v)
    features = linear(w, "join", torch.cat([specific, shared], dim=2)) + shared
    mean = masked_mean(shared, present)
    mean = torch.where(present.any(dim=1, keepdim=True), mean, w["nothing"]).unsqueeze(1)
    return perceptron(w, "mix", torch.where(present.unsqueeze(-1), features, mean).flatten(1))


def actionmae(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = scaled(w, values, masks)
    rows, count = len(v), len(w["memory"])
    seen = present.unsqueeze(-1)
    line = torch.cat([w["memory"].expand(rows, -1, -1), v + w["identity"]], dim=1)
    mask = torch.cat([torch.ones(rows, count, dtype=torch.bool), present], dim=1)
    encoded = block(w, "encoder", line, mask)
    gaps = torch.where(seen, encoded[:, count:], w["gap"]) + w["identity"]
    decoded = block(w, "decoder", torch.cat([encoded[:, :count], gaps], dim=1), None)[:, count:]
    guess = linear(w, "predict.1", norm(w, "predict.0", decoded))
    complete = torch.where(seen, v, guess) + w["identity"]
    return norm(w, "norm", block(w, "mixer", complete, None)).mean(dim=1)


REFERENCES = {
    "mvae": mvae,
    "mmvae": mmvae,
    "mopoe": mopoe,
    "gan": gan,
    "mctn": mctn,
    "dcca": dcca,
    "contrastive": contrastive,
    "misa": misa,
    "shaspec": shaspec,
    "actionmae": actionmae,
}
