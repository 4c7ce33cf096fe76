"""Bilinear fusion of low rank by Hadamard products (MLB, MFB)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from plait.model.fusion.bounds import at_least
from plait.model.fusion.pairwise import Pairwise, power_normalised


class Mlb(Pairwise):
    """``z = Σ_pq P_pq (tanh(U_p v_p) ∘ tanh(U_q v_q)) + c`` over all pairs of streams.

    Low-rank bilinear pooling with the Hadamard product (Kim et al. 2017, section 3), there for two
    inputs; here for all pairs, with U shared by a stream's pairs (see `Pairwise`). U_m has a bias and
    follows the pooling's layer norm directly; where stream m is missing a learned vector stands for
    U_m v_m.

    Cost: ``M·width·size + M²/2·size·width``.

    Args:
        size: numbers in the joint vector of a pair, the rank of each bilinear form.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, size: int = 128, dropout: float = 0.1
    ) -> None:
        at_least(1, size=size)
        super().__init__(widths, width=width, size=size, joint=size, dropout=dropout)

    def joint(
        self, vectors: Float[Tensor, "batch streams size"]
    ) -> Float[Tensor, "batch pairs size"]:
        """The product of two streams, number by number."""
        left, right = self.sides(torch.tanh(vectors))
        return left * right


class Mfb(Pairwise):
    """``z = Σ_pq P_pq norm(sumpool_k(U_p v_p ∘ U_q v_q)) + c`` over all pairs of streams.

    Multimodal factorised bilinear pooling (Yu et al. 2017, section 3): number i of the joint vector is
    ``v_pᵀ A_i B_iᵀ v_q`` with matrices of k columns, a sum over k neighbouring products; then signed
    root and l2 norm, as in the paper. There for two inputs; here for all pairs, with U shared by a
    stream's pairs (see `Pairwise`). Where stream m is missing a learned vector stands for U_m v_m.

    Cost: ``M·width·size·factors + M²/2·size·(factors + width)``.

    Args:
        size: numbers in the joint vector of a pair.
        factors: k, the rank of each bilinear form.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        size: int = 128,
        factors: int = 5,
        dropout: float = 0.1,
    ) -> None:
        at_least(1, size=size, factors=factors)
        super().__init__(widths, width=width, size=size * factors, joint=size, dropout=dropout)
        self.factors = factors

    def joint(
        self, vectors: Float[Tensor, "batch streams wide"]
    ) -> Float[Tensor, "batch pairs size"]:
        """Products of two streams, summed k by k and normalised."""
        left, right = self.sides(vectors)
        return power_normalised((left * right).unflatten(2, (-1, self.factors)).sum(dim=3))
