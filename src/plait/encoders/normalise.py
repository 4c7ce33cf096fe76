"""Standardising sequences within a cell, so that loudness and channel colour drop out."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def standardise_steps(
    values: Float[Tensor, "batch steps channels"],
    mask: Bool[Tensor, "batch steps"],
    *,
    each_channel: bool = True,
) -> Float[Tensor, "batch steps channels"]:
    """Zero mean over the real steps of each cell; unit deviation over the whole cell.

    Removing the mean of every channel is cepstral mean normalisation (Atal 1974) on a log spectrum: it
    takes away the microphone and much of the speaker. Padding comes out as zeros.

    Args:
        each_channel: one deviation a channel, else one a cell.
    """
    real = mask.unsqueeze(-1).to(values.dtype)
    count = real.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (values * real).sum(dim=1, keepdim=True) / count
    centred = (values - mean) * real
    variance = centred.square().sum(dim=1, keepdim=True) / count
    if not each_channel:
        variance = variance.mean(dim=2, keepdim=True)
    return centred * torch.rsqrt(variance + 1e-4)
