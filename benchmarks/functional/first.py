"""concat, weighted, mapping and attention by hand, without shares that are only for reading."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.parts import (
    Weights,
    block,
    linear,
    masked_mean,
    norm,
    open_rows,
    perceptron,
    pooled,
    vectors,
)


def concat(w: Weights, values: list[Tensor], masks: list[Tensor], prefix: str = "") -> Tensor:
    v, _ = vectors(w, values, masks, f"{prefix}vectors")
    return perceptron(w, f"{prefix}mix", v.flatten(1))


def weighted(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    scores = linear(w, "score", torch.tanh(linear(w, "hidden", v) + w["bias"]))
    shares = scores.masked_fill(~open_rows(present).unsqueeze(-1), -torch.inf).softmax(dim=1)
    return functional.gelu(linear(w, "out.1", norm(w, "out.0", (shares * v).sum(dim=1))))


def mapping(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    v, present = vectors(w, values, masks)
    common = norm(w, "norm", v)
    common = common + perceptron(w, "shared", common)
    some = present.any(dim=1, keepdim=True)
    return torch.where(some, masked_mean(common, present), w["nothing"])


def attention(w: Weights, values: list[Tensor], masks: list[Tensor], rounds: int = 2) -> Tensor:
    parts = [w["query"].expand(len(values[0]), 1, -1)]
    for index, (value, mask) in enumerate(zip(values, masks, strict=True)):
        summary = norm(w, f"project.{index}.0", pooled(w, f"pool.{index}", value, mask))
        summary = linear(w, f"project.{index}.1", summary) + w["identity"][index]
        parts.append(torch.where(mask.any(dim=1)[:, None, None], summary, w["absent"][index]))
    x = torch.cat(parts, dim=1)
    for number in range(rounds):
        x = block(w, f"rounds.{number}", x, None)
    return norm(w, "norm", x)[:, 0]


REFERENCES = {
    "concat": concat,
    "weighted": weighted,
    "mapping": mapping,
    "attention": attention,
}
