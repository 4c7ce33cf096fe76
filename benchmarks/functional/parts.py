"""The steps that hand-written fusions share: linear maps, norms, pooling."""

import torch
from torch import Tensor
from torch.nn import functional


def linear(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def open_rows(mask: Tensor) -> Tensor:
    """The mask, rows without any True opened whole."""
    return mask | ~mask.any(dim=1, keepdim=True)


def pooled(w: dict[str, Tensor], name: str, values: Tensor, mask: Tensor) -> Tensor:
    """Attention pooling of one stream: ``[batch, count, width]``, zeros where it is missing."""
    scores = linear(w, f"{name}.score.2", torch.tanh(linear(w, f"{name}.score.0", values)))
    shares = scores.masked_fill(~open_rows(mask).unsqueeze(-1), -torch.inf).softmax(dim=1)
    return (shares * mask.unsqueeze(-1)).transpose(1, 2) @ values


def vectors(
    w: dict[str, Tensor], values: list[Tensor], masks: list[Tensor], prefix: str = "vectors"
) -> tuple[Tensor, Tensor]:
    """Each stream's vector, or its absent one, ``[batch, streams, width]``; and which are there."""
    found = []
    for index, (value, mask) in enumerate(zip(values, masks, strict=True)):
        summary = pooled(w, f"{prefix}.pool.{index}", value, mask).squeeze(1)
        name = f"{prefix}.project.{index}"
        found.append(linear(w, f"{name}.1", norm(w, f"{name}.0", summary)))
    present = torch.stack([mask.any(dim=1) for mask in masks], dim=1)
    absent = w[f"{prefix}.absent"]
    return torch.where(present.unsqueeze(-1), torch.stack(found, dim=1), absent), present


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    real = mask.unsqueeze(-1).to(values.dtype)
    return (values * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
