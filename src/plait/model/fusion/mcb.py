"""Compact bilinear fusion: the outer product of two streams, sketched."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from plait.model.fusion.bounds import at_least
from plait.model.fusion.pairwise import Pairwise, power_normalised


class Mcb(Pairwise):
    """``z = Σ_pq P_pq norm(Ψ(v_p) * Ψ(v_q)) + c`` over all pairs, with * the circular convolution.

    Multimodal compact bilinear pooling (Fukui et al. 2016, algorithm 1). Ψ is the count sketch
    ``Ψ(v)_j = Σ_{i: h(i) = j} s(i) v_i`` with a place h(i) and a sign s(i) drawn at random once for each
    stream and kept with the weights. The convolution of two sketches, ``irfft(rfft(a) ∘ rfft(b))``, is
    the count sketch of the outer product (Pham & Pagh 2013), whose ``width²`` numbers are never built.
    Signed root and l2 norm follow, as in the paper. There for two inputs; here for all pairs, a
    stream's sketch being shared by its pairs (see `Pairwise`).

    Cost: ``M²/2·size·(log size + width)``. The closer ``size`` is to ``width²``, the fewer products
    share a place; the paper has 8 times the width.

    Args:
        size: numbers in a sketch.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, size: int = 512, dropout: float = 0.1
    ) -> None:
        at_least(1, size=size)
        super().__init__(widths, width=width, size=width, joint=size, dropout=dropout)
        self.size = size
        self.places: Tensor
        self.signs: Tensor
        self.register_buffer("places", torch.randint(size, (len(widths), width)))
        self.register_buffer("signs", torch.randint(2, (len(widths), width)) * 2.0 - 1.0)

    def joint(
        self, vectors: Float[Tensor, "batch streams width"]
    ) -> Float[Tensor, "batch pairs size"]:
        """The sketch of each pair's outer product, normalised."""
        return power_normalised(self.sketch(vectors))

    def sketch(
        self, vectors: Float[Tensor, "batch streams width"]
    ) -> Float[Tensor, "batch pairs size"]:
        """The count sketch of each pair's outer product."""
        if vectors.shape[0] == 0:  # which the fast Fourier transforms of some builds refuse
            return vectors.new_zeros(0, self.pairs, self.size)
        signed = vectors * self.signs
        zeros = signed.new_zeros(*signed.shape[:2], self.size)
        sketches = zeros.scatter_add(2, self.places.expand_as(signed), signed)
        if torch.compiler.is_exporting():  # ONNX cannot choose among complex numbers
            left, right = (torch.fft.rfft(side) for side in self.sides(sketches))
        else:
            left, right = self.sides(torch.fft.rfft(sketches))
        return torch.fft.irfft(left * right, n=self.size)
