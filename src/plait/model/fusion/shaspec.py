"""Fusion of shared and specific features; the shared ones stand in for missing streams."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import perceptron
from plait.model.fusion.pooled import PooledVectors, shared_mean, stream_pairs
from plait.model.tokens import Fused, Tokens


class ShaSpec(Fusion):
    """``z = MLP([f_1; ...; f_M])``, ``f_m = W [r_m; s_m] + s_m`` of specific r_m and shared s_m.

    ShaSpec (Wang et al. 2023, CVPR): a residual fusion of ``s_m = E_s(v_m)``, by one encoder for all
    streams, and ``r_m = E_m(v_m)``. A missing stream's f_m is the mean of the shared features of the
    present ones; without any it is a learned vector.

    Losses, each a row's mean: ``alignment``, ``‖s_m − s_n‖₁ / width`` over its pairs of present streams
    (the distribution alignment objective in its L1 form); ``domain``, the cross-entropy of a linear map
    that tells the stream m from r_m (the domain classification objective).

    Cost: linear in the streams; in training ``pairs · width``.

    Args:
        alignment: weight of that loss.
        domain: weight of that loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        alignment: float = 0.1,
        domain: float = 0.02,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(0, alignment=alignment)
        at_least(0, domain=domain)
        self.alignment = alignment
        self.domain = domain
        self.vectors = PooledVectors(widths, width=width)
        self.shared = perceptron(width, width, dropout)
        self.specific = nn.ModuleList(perceptron(width, width, dropout) for _ in widths)
        self.join = nn.Linear(2 * width, width)
        self.tell = nn.Linear(width, len(widths))
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)
        self.mix = perceptron(len(widths) * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        shared = self.shared(vectors)
        own = [encode(vectors[:, index]) for index, encode in enumerate(self.specific)]
        specific = torch.stack(own, dim=1)
        features = self.join(torch.cat([specific, shared], dim=2)) + shared
        mean = masked_mean(shared, present)
        mean = torch.where(present.any(dim=1, keepdim=True), mean, self.nothing)
        complete = torch.where(present.unsqueeze(-1), features, mean.unsqueeze(1))
        fused = Fused(self.mix(complete.flatten(1)))
        if not self.training:
            return fused
        first, second = stream_pairs(len(own))
        gaps = (shared[:, first] - shared[:, second]).abs().mean(dim=-1)
        losses = {
            "alignment": self.alignment * shared_mean(gaps, present[:, first] & present[:, second]),
            "domain": self.domain * self._unlike(specific, present),
        }
        return fused._replace(losses=losses)

    def _unlike(
        self,
        specific: Float[Tensor, "batch streams width"],
        present: Bool[Tensor, "batch streams"],
    ) -> Float[Tensor, " batch"]:
        """How badly each stream is told from its specific features."""
        logits = self.tell(specific)
        named = torch.arange(present.shape[1], device=logits.device).expand(present.shape)
        each = functional.cross_entropy(logits.flatten(0, 1), named.flatten(), reduction="none")
        return shared_mean(each.unflatten(0, present.shape), present)
