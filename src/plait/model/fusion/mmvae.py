"""Generative fusion by a mixture of experts, which may impute a missing stream."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plait.model.fusion.bounds import at_least
from plait.model.fusion.gaussians import draw, log_density
from plait.model.fusion.pooled import shared_mean
from plait.model.fusion.variational import Variational, pick
from plait.model.tokens import Fused, Tokens

NEVER = -1e9
"""A log density so low that it adds nothing to a mixture."""


class Mmvae(Variational):
    """``q(z | v) = 1/M Σ_m q_m(z | v_m)`` over the M present streams.

    MMVAE (Shi et al. 2019, NeurIPS). The fused vector is the mixture's mean ``1/M Σ_m μ_m``, in
    training a sample of the mixture, which knows one stream: fit for streams that tell the same, blind
    to what only several tell together.

    Loss ``elbo``: the stratified bound of section 3, a sample set from every expert in turn,
    ``−1/M Σ_m log 1/K Σ_k exp(Σ_n log p(v_n | z_mk) + β (log p(z_mk) − log q(z_mk | v)))`` with
    ``z_mk ~ q_m``; K = ``samples`` (1: an ELBO; more: the importance-weighted bound of Burda et al.
    2016). Experts and prior are Gaussian here (the paper's are Laplace, with the prior's scale
    learned), with the plain reparameterised gradient. See `Variational`.

    Cost: in training ``streams · samples`` decodings of all streams; in use the experts alone.
    ``weights`` are equal shares.

    Args:
        samples: draws from each expert a step.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        weight: float = 0.1,
        beta: float = 1.0,
        samples: int = 1,
    ) -> None:
        super().__init__(widths, width=width, dropout=dropout, weight=weight, beta=beta)
        at_least(1, samples=samples)
        self.samples = samples

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        means, log_variances = self.posteriors(vectors)
        shares = present / present.sum(dim=1, keepdim=True).clamp(min=1)
        if not self.training:
            vector = self.joint_mean(means, log_variances, present.unsqueeze(1)).squeeze(1)
            return Fused(vector, weights=shares)
        z = draw(
            means.unsqueeze(2).expand(-1, -1, self.samples, -1),
            log_variances.unsqueeze(2).expand(-1, -1, self.samples, -1),
        )
        into = z.unsqueeze(3).expand(-1, -1, -1, present.shape[1], -1)
        errors = torch.where(present[:, None, None], self.errors(into, vectors), 0.0).sum(dim=3)
        spread = self._log_mixture(z, means, log_variances, present)
        prior = log_density(z, torch.zeros_like(z), torch.zeros_like(z))
        bounds = (self.beta * (prior - spread) - errors).logsumexp(dim=2) - math.log(self.samples)
        loss = -self.weight / self.width * shared_mean(bounds, present)
        return Fused(pick(z[:, :, 0], present), weights=shares, losses={"elbo": loss})

    def joint_mean(
        self,
        means: Float[Tensor, "batch streams width"],
        log_variances: Float[Tensor, "batch streams width"],
        sets: Bool[Tensor, "batch sets streams"],
    ) -> Float[Tensor, "batch sets width"]:
        """The mean over each set's experts."""
        kept = torch.where(sets.unsqueeze(-1), means.unsqueeze(1), 0.0)
        return kept.sum(dim=2) / sets.sum(dim=2, keepdim=True).clamp(min=1)

    def _log_mixture(
        self, z: Tensor, means: Tensor, log_variances: Tensor, present: Tensor
    ) -> Float[Tensor, "batch streams samples"]:
        """``log q(z | v)`` of every sample under the whole mixture."""
        each = log_density(
            z.unsqueeze(3), means[:, None, None], log_variances[:, None, None]
        ).masked_fill(~present[:, None, None], NEVER)
        return each.logsumexp(dim=3) - present.sum(dim=1).clamp(min=1).log()[:, None, None]
