"""The late fusions by hand: the votes' mean, which is their vector; trust and rules are the heads'."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.functional.first import concat
from benchmarks.functional.parts import Weights, linear, masked_mean, norm, vectors


def votes(
    w: Weights, values: list[Tensor], masks: list[Tensor], prefix: str = ""
) -> tuple[Tensor, Tensor]:
    """Each stream's vote and one for "nothing is there"; and which count."""
    v, present = vectors(w, values, masks, f"{prefix}vectors")
    found = []
    for index in range(len(values)):
        name = f"{prefix}towers.{index}"
        inner = functional.gelu(linear(w, f"{name}.1", norm(w, f"{name}.0", v[:, index])))
        found.append(linear(w, f"{name}.4", inner))
    found.append(w[f"{prefix}nothing"].expand_as(found[0]))
    mask = torch.cat([present, ~present.any(dim=1, keepdim=True)], dim=1)
    return torch.stack(found, dim=1), mask


def late(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    return masked_mean(*votes(w, values, masks))


def hybrid(w: Weights, values: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The joint vote, the vector, after the streams' votes, as the module makes all of them."""
    others, _ = votes(w, values, masks, "late.")
    vector = concat(w, values, masks, "joint.")
    torch.cat([others, vector.unsqueeze(1)], dim=1)
    return vector


REFERENCES = {"late": late, "product": late, "dempster": late, "qmf": late, "hybrid": hybrid}
