"""Fusion of what the streams share and what each has of its own."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.blocks import TransformerBlock
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import perceptron
from plait.model.fusion.pooled import PooledVectors, in_full, shared_mean, stream_pairs
from plait.model.tokens import Fused, Tokens

MOMENTS = 5
"""How many moments two distributions are compared by, as in the paper."""


class Misa(Fusion):
    """``z = MLP(flat(Transformer([c_1; ...; c_M; p_1; ...; p_M])))``, of shared c and private p.

    MISA (Hazarika et al. 2020, ACM MM): ``c_m = σ(W_c v_m + b_c)`` by one map for all streams,
    ``p_m = σ(W_m v_m + b_m)`` by one each, mixed by self-attention. A missing stream's two vectors are
    neither attended to nor shown to the MLP.

    Losses: ``similarity``, the central moment discrepancy of two streams' shared vectors
    (`moment_discrepancy`); ``difference``, the soft orthogonality of every c_m to p_m and of the p_m to
    each other (`overlap`); ``reconstruction``, ``‖D_m(c_m + p_m) − v_m‖² / width`` with v_m held fixed
    and D_m linear. The first two are batch statistics over the rows that have the streams; every row
    that takes part in a pair carries the pair's value, and the mean over its pairs.

    Cost: one transformer block over ``2 · streams`` vectors; in training ``batch · width²`` a pair.

    Args:
        heads: of the self-attention.
        similarity: weight of that loss.
        difference: weight of that loss.
        reconstruction: weight of that loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        heads: int = 4,
        similarity: float = 0.3,
        difference: float = 0.3,
        reconstruction: float = 0.3,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, heads=heads)
        at_least(0, similarity=similarity)
        at_least(0, difference=difference)
        at_least(0, reconstruction=reconstruction)
        self.similarity = similarity
        self.difference = difference
        self.reconstruction = reconstruction
        self.vectors = PooledVectors(widths, width=width)
        self.shared = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())
        self.private = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Sigmoid()) for _ in widths
        )
        self.decoders = nn.ModuleList(nn.Linear(width, width) for _ in widths)
        self.block = TransformerBlock(width=width, heads=heads, dropout=dropout)
        self.mix = perceptron(2 * len(widths) * width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        shared = self.shared(vectors)
        own = [encode(vectors[:, index]) for index, encode in enumerate(self.private)]
        private = torch.stack(own, dim=1)
        mask = present.repeat(1, 2)
        seen = self.block(torch.cat([shared, private], dim=1), mask)
        fused = Fused(self.mix(torch.where(mask.unsqueeze(-1), seen, 0.0).flatten(1)))
        if not self.training:
            return fused
        both = shared + private
        again = [decode(both[:, index]) for index, decode in enumerate(self.decoders)]
        wrong = (torch.stack(again, dim=1) - vectors.detach()).square().mean(dim=-1)
        losses = {
            "similarity": self.similarity * moment_discrepancy(shared, present),
            "difference": self.difference * overlap(shared, private, present),
            "reconstruction": self.reconstruction * shared_mean(wrong, present),
        }
        return fused._replace(losses=losses)


def moment_discrepancy(
    values: Float[Tensor, "batch streams width"], present: Bool[Tensor, "batch streams"]
) -> Float[Tensor, " batch"]:
    """``CMD(a, b) = ‖E a − E b‖ + Σ_{k=2..5} ‖C_k(a) − C_k(b)‖``, C_k each number's central moment.

    Zellinger et al. 2017, ICLR, for numbers between 0 and 1. Moments of a stream are over the
    rows that have it. A row takes part in a pair when it has either stream; a pair counts when the
    batch has both.
    """
    values = in_full(values)
    real = present.unsqueeze(-1).to(values.dtype)
    count = real.sum(dim=0).clamp(min=1)
    mean = (values * real).sum(dim=0) / count
    centred = (values - mean) * real
    power, moments = centred, [mean]
    for _ in range(2, MOMENTS + 1):
        power = power * centred
        moments.append(power.sum(dim=0) / count)
    stacked = torch.stack(moments)
    first, second = stream_pairs(values.shape[1])
    gaps = torch.linalg.vector_norm(stacked[:, first] - stacked[:, second], dim=-1).sum(dim=0)
    seen = present.any(dim=0)
    taking_part = (present[:, first] | present[:, second]) & (seen[first] & seen[second])
    return shared_mean(gaps.expand(taking_part.shape), taking_part)


def overlap(
    shared: Float[Tensor, "batch streams width"],
    private: Float[Tensor, "batch streams width"],
    present: Bool[Tensor, "batch streams"],
) -> Float[Tensor, " batch"]:
    """``‖AᵀB / n‖_F²`` for shared and private of a stream, and for the private of two streams.

    The rows of A and B are centred over the batch and then of unit length. n counts the rows that have
    both, whose products alone enter: the paper's sum grows with the batch, this does not. A row takes
    part in the pairs of which it has both.
    """
    streams = shared.shape[1]
    everything = in_full(torch.cat([shared, private], dim=1))
    there = present.repeat(1, 2)
    real = there.unsqueeze(-1).to(everything.dtype)
    mean = (everything * real).sum(dim=0) / real.sum(dim=0).clamp(min=1)
    centred = (everything - mean) * real
    unit = centred * (centred.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()
    left, right = stream_pairs(streams)
    first = [*range(streams), *(streams + index for index in left)]
    second = [*range(streams, 2 * streams), *(streams + index for index in right)]
    both = there[:, first] & there[:, second]
    crossed = torch.einsum("npi,npj->pij", unit[:, first] * both.unsqueeze(-1), unit[:, second])
    crossed = crossed / both.sum(dim=0).clamp(min=1)[:, None, None]
    return shared_mean(crossed.square().sum(dim=(1, 2)).expand(both.shape), both)
