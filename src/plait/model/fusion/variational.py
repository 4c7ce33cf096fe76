"""Multimodal variational autoencoders over the streams' vectors: the parts they share."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.pooled import PooledVectors, in_full
from plait.model.tokens import Tokens

LOG_VARIANCE = 8.0
"""A posterior's log variance stays between minus this and this."""


class Variational(Fusion):
    """A latent z for all streams: an expert ``q_m(z | v_m)`` and a decoder ``D_m(z)`` for each.

    The experts are diagonal Gaussians. The likelihood is ``log p(v_m | z) = −½ ‖v_m − D_m(z)‖²`` (unit
    variance, constant left out), over present streams only. v_m is the stream's pooled vector with
    mean 0 and variance 1 over its numbers; as a target it is held fixed, so that an encoder cannot
    lower the objective by telling less. What is decoded are these vectors; cells are rebuilt from them
    elsewhere.

    Args:
        weight: of the negative bound, in nats divided by ``width``, among the losses.
        beta: of the divergence in the bound (Higgins et al. 2017).
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        weight: float = 0.1,
        beta: float = 1.0,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(0, weight=weight)
        at_least(0, beta=beta)
        self.weight = weight
        self.beta = beta
        self.vectors = PooledVectors(widths, width=width)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, 2 * width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(2 * width, 2 * width),
            )
            for _ in widths
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in widths
        )

    @abstractmethod
    def joint_mean(
        self,
        means: Float[Tensor, "batch streams width"],
        log_variances: Float[Tensor, "batch streams width"],
        sets: Bool[Tensor, "batch sets streams"],
    ) -> Float[Tensor, "batch sets width"]:
        """The mean of the joint posterior given each set of streams; zeros for the empty set."""

    def posteriors(
        self, vectors: Float[Tensor, "batch streams width"]
    ) -> tuple[Float[Tensor, "batch streams width"], Float[Tensor, "batch streams width"]]:
        """The experts' means and log variances."""
        said = [expert(vectors[:, index]) for index, expert in enumerate(self.experts)]
        means, log_variances = in_full(torch.stack(said, dim=1)).chunk(2, dim=-1)
        return means, log_variances.clamp(-LOG_VARIANCE, LOG_VARIANCE)

    def errors(
        self,
        z: Float[Tensor, "batch *sets streams width"],
        vectors: Float[Tensor, "batch streams width"],
    ) -> Float[Tensor, "batch *sets streams"]:
        """``½ ‖v_m − D_m(z_m)‖²`` for every stream m, whose z lies at ``[..., m, :]``."""
        said = [decoder(z[..., index, :]) for index, decoder in enumerate(self.decoders)]
        targets = vectors.detach().unflatten(0, (-1, *(1 for _ in z.shape[1:-2])))
        return 0.5 * (torch.stack(said, dim=-2) - targets).square().sum(dim=-1)

    def impute(self, tokens: dict[str, Tokens]) -> dict[str, Float[Tensor, "batch width"]]:
        """Each stream's vector as the *other* present streams tell it: ``D_m(E[z | v_n, n ≠ m])``.

        At the level of representations: what it estimates is ``self.vectors(tokens)``. Where no other
        stream is there, it decodes the prior's mean. Use it in eval mode.
        """
        vectors, present = self.vectors(tokens)
        others = ~torch.eye(len(self.widths), dtype=torch.bool, device=present.device)
        z = self.joint_mean(*self.posteriors(vectors), present.unsqueeze(1) & others)
        return {
            name: decoder(z[:, index])
            for index, (name, decoder) in enumerate(zip(self.streams, self.decoders, strict=True))
        }


def pick(
    values: Float[Tensor, "batch sets width"], allowed: Bool[Tensor, "batch sets"]
) -> Float[Tensor, "batch width"]:
    """One of each row's allowed values at random; a draw from N(0, 1) where none is allowed."""
    luck = torch.where(allowed, torch.rand(allowed.shape, device=allowed.device), -1.0)
    chosen = values[torch.arange(len(values), device=values.device), luck.argmax(dim=1)]
    return torch.where(allowed.any(dim=1, keepdim=True), chosen, torch.randn_like(chosen))
