"""Standardising sequences within a cell, so that loudness and channel colour drop out."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def standardise_steps(
    values: Float[Tensor, "batch steps channels"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps channels"]:
    """Zero mean and unit deviation over all real steps and channels of each cell; padding is zero.

    One mean a cell takes away loudness. Taking away each band's own mean as well (Atal 1974) would
    remove the microphone but, in clips shorter than a second, much of the word too: it was worse on
    voices unheard in training (docs/lab-notes.md).
    """
    real = mask.unsqueeze(-1).to(values.dtype)
    count = (real.sum(dim=(1, 2), keepdim=True) * values.shape[2]).clamp(min=1)
    mean = (values * real).sum(dim=(1, 2), keepdim=True) / count
    centred = (values - mean) * real
    variance = centred.square().sum(dim=(1, 2), keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-2)
