"""Fusion by a symmetric function of the streams' vectors: sum, mean, maximum, Deep Sets."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from plait.model.blocks import attendable, masked_mean
from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.parts import perceptron
from plait.model.tokens import Fused, Tokens


class Sum(Fusion):
    """``z = g(Σ_m v_m)``, with v_m the pooled vector of stream m, or its absent vector.

    Element-wise addition (as in Baltrušaitis et al. 2019, section 3.1, a joint representation), with g
    a perceptron. Each v_m has a linear map of its own, so the sum is a concatenation followed by one
    linear map, at the cost of g alone. Cost: linear in the streams, g does not grow with them.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.out = perceptron(width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, _ = self.vectors(tokens)
        return Fused(self.out(vectors.sum(dim=1)))


class Mean(Fusion):
    """``z = g(mean over present m of v_m)``, with v_m the pooled vector of stream m.

    Unlike `Sum` a missing stream leaves the mean, so the scale is the same for any number of streams.
    Where all are missing the mean is that of the absent vectors. g is a perceptron. Each present
    stream has the same share, so no weights are given. Cost: that of `Sum`. (Averaging modalities'
    embeddings: Choi & Lee 2019 compare with it; Baltrušaitis et al. 2019, section 3.1.)
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.out = perceptron(width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        return Fused(self.out(masked_mean(vectors, attendable(present))))


class Max(Fusion):
    """``z = g(max over present m of v_m)``, number by number, with v_m the pooled vector of stream m.

    The symmetric function of Qi et al. 2017 (PointNet, eq. 1), over streams: each number of the fused
    vector is that of the stream which shows it most. Where all are missing the maximum is that of the
    absent vectors. g is a perceptron. ``weights`` are the share of the numbers that each stream gave.

    Cost: that of `Sum`; a gradient reaches one stream a number.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.out = perceptron(width, width, dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        seen = vectors.masked_fill(~attendable(present).unsqueeze(-1), float("-inf"))
        most, giver = seen.max(dim=1)
        given = functional.one_hot(giver, len(self.widths)).to(most.dtype).mean(dim=1)
        return Fused(self.out(most), weights=given * present)


class DeepSets(Fusion):
    """``z = ρ(Σ over present m of φ(v_m))``: the streams as a set (Zaheer et al. 2017, theorem 2).

    Any function of a set that does not depend on order has this form. φ and ρ are perceptrons shared
    by all streams; what a stream is can be told from its v_m, which has a linear map of its own. A
    missing stream is no member of the set; where all are missing the absent vectors are the set.

    `Sum` has no φ, so it adds linear maps only; `Mapping` has φ and no ρ, so it sees no joint effect.

    Cost: φ a stream and ρ once.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.phi = perceptron(width, width, dropout)
        self.rho = nn.Sequential(nn.GELU(), perceptron(width, width, dropout))

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        members = attendable(present).to(vectors.dtype)
        return Fused(self.rho(torch.einsum("bm,bmw->bw", members, self.phi(vectors))))
