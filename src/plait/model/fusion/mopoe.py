"""Generative fusion by a mixture of products of experts, which may impute a missing stream."""

from collections.abc import Mapping
from itertools import combinations, islice

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plait.model.fusion.gaussians import divergence, draw, product_of_gaussians
from plait.model.fusion.pooled import shared_mean
from plait.model.fusion.variational import Variational, pick
from plait.model.tokens import Fused, Tokens


class Mopoe(Variational):
    """``q(z | v) = 1/|P| Σ_{S ∈ P} q_S(z | v_S)``, ``q_S ∝ Π_{m ∈ S} q_m``, P all subsets of streams.

    MoPoE-VAE (Sutter et al. 2021, ICLR, section 3): the products of `Mvae` and the mixture of `Mmvae` as
    its special cases. P holds the non-empty subsets of the row's present streams, without a prior
    expert. The fused vector is the mixture's mean, in training a sample of it.

    Loss ``elbo``: ``Σ_m ½‖v_m − D_m(z)‖² + β/|P| Σ_S KL(q_S ‖ p)`` over the present streams, with one z
    from the mixture: the mean bounds the divergence of the mixture. See `Variational`.

    Cost: ``2^streams − 1`` products, at most ``subsets`` of them: with more streams the first of the
    whole set, single streams, all but one, pairs, all but two and so on are kept. With the default that
    is no limit up to five streams.

    Args:
        subsets: so many subsets at most, no less than ``streams + 1``.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        weight: float = 0.1,
        beta: float = 1.0,
        subsets: int = 31,
    ) -> None:
        super().__init__(widths, width=width, dropout=dropout, weight=weight, beta=beta)
        if subsets < len(widths) + 1:
            raise ValueError(
                f"subsets must be at least streams + 1 = {len(widths) + 1}, so that the whole and "
                f"each single stream are among them, got {subsets}"
            )
        self.subsets: Tensor
        self.register_buffer("subsets", _subsets(len(widths), subsets), persistent=False)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        means, log_variances = self.posteriors(vectors)
        if not self.training:
            return Fused(self.joint_mean(means, log_variances, present.unsqueeze(1)).squeeze(1))
        allowed = self._within(present)
        mean, log_variance = self._products(means, log_variances)
        z = pick(draw(mean, log_variance), allowed)
        into = z.unsqueeze(1).expand(-1, present.shape[1], -1)
        error = torch.where(present, self.errors(into, vectors), 0.0).sum(dim=1)
        bound = error + self.beta * shared_mean(divergence(mean, log_variance), allowed)
        return Fused(z, losses={"elbo": self.weight / self.width * bound})

    def joint_mean(
        self,
        means: Float[Tensor, "batch streams width"],
        log_variances: Float[Tensor, "batch streams width"],
        sets: Bool[Tensor, "batch sets streams"],
    ) -> Float[Tensor, "batch sets width"]:
        """The mean over the products of each set's subsets."""
        mean, _ = self._products(means, log_variances)
        allowed = self._within(sets)
        kept = torch.where(allowed.unsqueeze(-1), mean.unsqueeze(1), 0.0)
        return kept.sum(dim=2) / allowed.sum(dim=2, keepdim=True).clamp(min=1)

    def _within(self, sets: Bool[Tensor, "*batch streams"]) -> Bool[Tensor, "*batch subsets"]:
        """Which subsets hold none but members of each set."""
        return (sets.unsqueeze(-2) | ~self.subsets).all(dim=-1)

    def _products(self, means: Tensor, log_variances: Tensor) -> tuple[Tensor, Tensor]:
        every = self.subsets.expand(means.shape[0], -1, -1)
        return product_of_gaussians(means, log_variances, every, prior=False)


def _subsets(streams: int, most: int) -> Bool[Tensor, "subsets streams"]:
    """The first subsets by size: all, one, all but one, two, all but two, ..."""
    sizes = sorted(range(1, streams + 1), key=lambda size: min(2 * (streams - size), 2 * size - 1))
    every = (members for size in sizes for members in combinations(range(streams), size))
    return torch.tensor([[m in members for m in range(streams)] for members in islice(every, most)])
