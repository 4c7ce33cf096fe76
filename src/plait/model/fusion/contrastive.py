"""Fusion in a space where the streams of one sample are pulled together, those of others apart."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import perceptron
from plait.model.fusion.pooled import PooledVectors, in_full, shared_mean, stream_pairs
from plait.model.tokens import Fused, Tokens

NEVER = -1e9
"""A logit so low that it takes no share."""
MAX_LOG_SCALE = math.log(100.0)
"""The largest log of the inverse temperature (Radford et al. 2021, section 2.5)."""


class Contrastive(Fusion):
    """``h_m = P_m v_m / ‖P_m v_m‖``, aligned between streams; ``z = MLP([h_1; ...; h_M])``.

    CLIP's objective (Radford et al. 2021, figure 3) as an aid to fusion, composed over pairs of streams.
    The streams share one space, so the mean of the present h stands in for a missing one; without
    any a learned vector does. h enters the perceptron times ``sqrt(width)``.

    Loss ``contrast``: symmetric InfoNCE, for row i with both of the streams a, b
    ``½ (−log softmax_j(s h_a^i · h_b^j)_i − log softmax_j(s h_b^i · h_a^j)_i)`` over the rows j with
    both, with learned ``s = exp(t)``, at most 100. A row carries the mean over its pairs. Rows of one
    class count as different, as in the paper.

    Cost: `Concat`, and in training ``pairs · batch² · width``.

    Args:
        join: "concat" of the aligned vectors, or their "mean".
        temperature: 1/s at first.
        weight: of the loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        join: str = "concat",
        temperature: float = 0.07,
        weight: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        if join not in ("concat", "mean"):
            raise ValueError(f'join must be "concat" or "mean", got {join!r}')
        if not 0.01 <= temperature <= 1:
            raise ValueError(f"temperature must be between 0.01 and 1, got {temperature}")
        at_least(0, weight=weight)
        self.join = join
        self.weight = weight
        self.pairs = stream_pairs(len(widths))
        self.vectors = PooledVectors(widths, width=width)
        self.project = nn.ModuleList(nn.Linear(width, width) for _ in widths)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)
        self.mix = perceptron(len(widths) * width if join == "concat" else width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        placed = [project(vectors[:, index]) for index, project in enumerate(self.project)]
        aligned = functional.normalize(torch.stack(placed, dim=1), dim=-1)
        mean = masked_mean(aligned, present)
        mean = torch.where(present.any(dim=1, keepdim=True), mean, self.nothing)
        shown = mean.unsqueeze(1)
        if self.join == "concat":
            shown = torch.where(present.unsqueeze(-1), aligned, shown)
        fused = Fused(self.mix(shown.flatten(1) * self.width**0.5))
        if not self.training or len(placed) < 2:
            return fused
        first, second = self.pairs
        both = present[:, first] & present[:, second]
        scale = self.log_scale.clamp(max=MAX_LOG_SCALE).exp()
        each = info_nce(aligned[:, first], aligned[:, second], both, scale)
        return fused._replace(losses={"contrast": self.weight * shared_mean(each, both)})


def info_nce(
    first: Float[Tensor, "batch pairs width"],
    second: Float[Tensor, "batch pairs width"],
    both: Bool[Tensor, "batch pairs"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, "batch pairs"]:
    """Each row's symmetric InfoNCE among the rows that have both; meaningless where it lacks one."""
    logits = scale * in_full(torch.einsum("ipw,jpw->pij", first, second))
    there = logits.masked_fill(~both.T.unsqueeze(1), NEVER)
    back = logits.mT.masked_fill(~both.T.unsqueeze(1), NEVER)
    true = logits.diagonal(dim1=1, dim2=2)
    return (0.5 * (there.logsumexp(dim=2) + back.logsumexp(dim=2)) - true).T
