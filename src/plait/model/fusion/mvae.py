"""Generative fusion by a product of experts, which may impute a missing stream."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plait.model.fusion.bounds import at_least
from plait.model.fusion.gaussians import divergence, draw, product_of_gaussians
from plait.model.fusion.pooled import shared_mean
from plait.model.fusion.variational import Variational
from plait.model.tokens import Fused, Tokens


class Mvae(Variational):
    """``q(z | v) ∝ p(z) Π_m q_m(z | v_m)`` over the present streams, with ``p(z) = N(0, 1)``.

    MVAE (Wu & Goodman 2018, NeurIPS). With precisions ``T_m = 1/σ_m²`` and the prior expert,
    ``μ = Σ_m T_m μ_m / (1 + Σ_m T_m)``; the fused vector is μ, in training a sample of z. A missing
    stream leaves the product; without any stream z is the prior's.

    Loss ``elbo``: sub-sampled training (section 2.2): the mean of the negative ELBOs
    ``Σ_{m ∈ S} ½‖v_m − D_m(z)‖² + β KL(q(z | v_S) ‖ p)`` of the row's whole set S, of each of its
    streams alone, and of ``subsets`` random subsets. The paper adds them up; the mean has the same
    scale for any number of streams. See `Variational`.

    Cost: in training ``1 + streams + subsets`` products and ``2 + subsets`` decodings of all streams; in
    use the experts alone. ``weights`` are the streams' shares of the precision, the prior's left out.

    Args:
        subsets: random subsets a row and step.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        weight: float = 0.1,
        beta: float = 1.0,
        subsets: int = 1,
    ) -> None:
        super().__init__(widths, width=width, dropout=dropout, weight=weight, beta=beta)
        at_least(0, subsets=subsets)
        self.subsets = subsets

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        means, log_variances = self.posteriors(vectors)
        shares = (-log_variances).exp().mean(dim=-1) * present
        shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-9)
        if not self.training:
            vector = self.joint_mean(means, log_variances, present.unsqueeze(1)).squeeze(1)
            return Fused(vector, weights=shares)
        sets = self._sets(present)
        mean, log_variance = product_of_gaussians(means, log_variances, sets, prior=True)
        z = draw(mean, log_variance)
        bounds = self._errors(z, vectors, sets) + self.beta * divergence(mean, log_variance)
        loss = self.weight / self.width * shared_mean(bounds, sets.any(dim=2))
        # The first set is the whole one: the head learns from all streams of the row.
        return Fused(z[:, 0], weights=shares, losses={"elbo": loss})

    def joint_mean(
        self,
        means: Float[Tensor, "batch streams width"],
        log_variances: Float[Tensor, "batch streams width"],
        sets: Bool[Tensor, "batch sets streams"],
    ) -> Float[Tensor, "batch sets width"]:
        """The mean of the product of the prior and each set's experts."""
        return product_of_gaussians(means, log_variances, sets, prior=True)[0]

    def _errors(
        self,
        z: Float[Tensor, "batch sets width"],
        vectors: Float[Tensor, "batch streams width"],
        sets: Bool[Tensor, "batch sets streams"],
    ) -> Float[Tensor, "batch sets"]:
        """Each set's error; of a stream alone its own z alone is decoded, into it alone."""
        several = 1 + self.subsets
        streams = sets.shape[2]
        into = torch.cat(
            [z[:, :several, None].expand(-1, -1, streams, -1), z[:, None, several:]], dim=1
        )
        errors = self.errors(into, vectors)
        together = torch.where(sets[:, :several], errors[:, :several], 0.0).sum(dim=2)
        return torch.cat([together, errors[:, several]], dim=1)

    def _sets(self, present: Bool[Tensor, "batch streams"]) -> Bool[Tensor, "batch sets streams"]:
        """All of a row's streams, some at random, and each alone."""
        rows, streams = present.shape
        alone = torch.eye(streams, dtype=torch.bool, device=present.device)
        at_random = torch.rand(rows, self.subsets, streams, device=present.device) < 0.5
        whole = torch.ones(rows, 1, streams, dtype=torch.bool, device=present.device)
        return present.unsqueeze(1) & torch.cat(
            [whole, at_random, alone.expand(rows, -1, -1)], dim=1
        )
