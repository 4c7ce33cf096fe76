"""concat, weighted, mapping, late and attention by hand, without shares that are only for reading."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.parts import linear, masked_mean, norm, open_rows, pooled, vectors

Weights = dict[str, Tensor]


def concat(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, _ = vectors(w, values, masks)
    return linear(w, "mix.3", functional.gelu(linear(w, "mix.0", v.flatten(1))))


def weighted(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    scores = linear(w, "score", torch.tanh(linear(w, "hidden", v) + w["bias"]))
    shares = scores.masked_fill(~open_rows(present).unsqueeze(-1), -torch.inf).softmax(dim=1)
    return functional.gelu(linear(w, "out.1", norm(w, "out.0", (shares * v).sum(dim=1))))


def mapping(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    common = norm(w, "norm", v)
    common = common + linear(w, "shared.3", functional.gelu(linear(w, "shared.0", common)))
    some = present.any(dim=1, keepdim=True)
    return torch.where(some, masked_mean(common, present), w["nothing"])


def late(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    votes = []
    for index in range(len(values)):
        name = f"towers.{index}"
        inner = functional.gelu(linear(w, f"{name}.1", norm(w, f"{name}.0", v[:, index])))
        votes.append(linear(w, f"{name}.4", inner))
    votes.append(w["nothing"].expand_as(votes[0]))
    mask = torch.cat([present, ~present.any(dim=1, keepdim=True)], dim=1)
    return masked_mean(torch.stack(votes, dim=1), mask)


def attention(
    w: Weights,
    values: list[Tensor],
    masks: list[Tensor],
    rounds: int = 2,
    heads: int = 4,
    count: int = 2,
) -> Tensor:
    parts = [w["query"].expand(len(values[0]), 1, -1)]
    for index, (value, mask) in enumerate(zip(values, masks, strict=True)):
        summary = norm(w, f"project.{index}.0", pooled(w, f"pool.{index}", value, mask))
        summary = linear(w, f"project.{index}.1", summary) + w["identity"][index]
        parts.append(torch.where(mask.any(dim=1)[:, None, None], summary, w["absent"][index]))
    x = torch.cat(parts, dim=1)
    for number in range(rounds):
        name = f"rounds.{number}"
        normed = norm(w, f"{name}.attention_norm", x)
        query = linear(w, f"{name}.attention.to_query", normed)
        key, value = linear(w, f"{name}.attention.to_key_value", normed).chunk(2, dim=-1)
        query, key, value = (
            part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + linear(w, f"{name}.attention.to_out", mixed.transpose(1, 2).flatten(2))
        inner = functional.gelu(linear(w, f"{name}.feed.0", norm(w, f"{name}.feed_norm", x)))
        x = x + linear(w, f"{name}.feed.3", inner)
    return norm(w, "norm", x)[:, 0]


REFERENCES = {
    "concat": concat,
    "weighted": weighted,
    "mapping": mapping,
    "late": late,
    "attention": attention,
}
