"""Diagonal Gaussians in closed form: densities, their product, and the divergence from N(0, 1)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def product_of_gaussians(
    means: Float[Tensor, "batch streams width"],
    log_variances: Float[Tensor, "batch streams width"],
    sets: Bool[Tensor, "batch sets streams"],
    *,
    prior: bool,
) -> tuple[Float[Tensor, "batch sets width"], Float[Tensor, "batch sets width"]]:
    """Mean and log variance of the normalised product of each set's Gaussians.

    ``T = Σ_m T_m``, ``μ = Σ_m T_m μ_m / T``, ``T_m = 1/σ_m²`` (Wu & Goodman 2018, section 2). A
    product over nothing is N(0, 1).

    Args:
        sets: which streams each product is over.
        prior: N(0, 1) is one more factor of every product.
    """
    precision = (-log_variances).exp()
    with torch.autocast(means.device.type, enabled=False):  # sums of precisions need their digits
        members = sets.to(means.dtype)
        weighted, total = members @ (precision * means), members @ precision
    total = total + 1 if prior else torch.where(sets.any(dim=2).unsqueeze(-1), total, 1.0)
    return weighted / total, -total.log()


def divergence(
    mean: Float[Tensor, "*batch width"], log_variance: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch"]:
    """``KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (σ² + μ² − 1 − log σ²)`` (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=-1)


def log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """``log N(z; μ, σ²)``, summed over the last axis; the others broadcast."""
    squares = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(dim=-1)


def draw(
    mean: Float[Tensor, "*batch width"], log_variance: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch width"]:
    """A sample, differentiable in both (Kingma & Welling 2014, eq. 4)."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
