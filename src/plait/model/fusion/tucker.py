"""Bilinear fusion by Tucker decompositions: MUTAN and BLOCK."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.model.fusion.bounds import at_least
from plait.model.fusion.pairwise import Pairwise, power_normalised


class Mutan(Pairwise):
    """``z = Σ_pq P_pq h_pq + c``, ``h_pq = Σ_r (x_p M_pq^{(r)}) ∘ (x_q N_pq^{(r)})``, ``x = tanh(U v)``.

    Multimodal Tucker fusion (Ben-younes et al. 2017, section 3): a bilinear map whose weight tensor is
    a Tucker decomposition with factors U_p, U_q, P and a core of which every slice
    ``Σ_r m^{(r)} n^{(r)ᵀ}`` has rank ``rank``. There for two inputs; here for all pairs, each with a
    core of its own and U shared by a stream's pairs (see `Pairwise`). Where stream m is missing a
    learned vector stands for U_m v_m.

    Cost: ``M²/2·size·(2·rank·size + width)``.

    Args:
        size: numbers in x, and in the joint vector of a pair.
        rank: of the core's slices.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        size: int = 64,
        rank: int = 5,
        dropout: float = 0.1,
    ) -> None:
        at_least(1, size=size, rank=rank)
        super().__init__(widths, width=width, size=size, joint=size, dropout=dropout)
        self.rank = rank
        shape = (self.pairs, size, rank * size)
        self.left_core = nn.Parameter(torch.randn(shape) / size**0.5)
        self.right_core = nn.Parameter(torch.randn(shape) / size**0.5)

    def joint(
        self, vectors: Float[Tensor, "batch streams size"]
    ) -> Float[Tensor, "batch pairs size"]:
        """The core of each pair, applied to both streams."""
        left, right = (side.transpose(0, 1) for side in self.sides(torch.tanh(vectors)))
        products = (left @ self.left_core) * (right @ self.right_core)
        return products.unflatten(2, (self.rank, -1)).sum(dim=2).transpose(0, 1)


class Block(Pairwise):
    """``z = Σ_pq P_pq [h_1; ...; h_C] + c``, ``h_c = norm(Σ_r (x_pc M_c^{(r)}) ∘ (x_qc N_c^{(r)}))``.

    BLOCK (Ben-younes et al. 2019): a bilinear map whose weight tensor is a block-term
    decomposition. Each stream's ``x = U v`` is cut into C blocks; block c of one stream meets block c
    of the other only, in a core of its own whose slices have rank ``rank`` (M and N, one a pair and
    block). Between the rank of MLB (C = ``size``) and a Tucker core (C = 1). Signed root and l2 norm a
    block as in the authors' code. There for two inputs; here for all pairs, with U shared by a
    stream's pairs (see `Pairwise`). Where stream m is missing a learned vector stands for U_m v_m.

    Cost: ``M²/2·size·(2·rank·size/C + width)``.

    Args:
        size: numbers in x, and in the joint vector of a pair.
        blocks: C; divides ``size``.
        rank: of the cores' slices.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        size: int = 128,
        blocks: int = 8,
        rank: int = 5,
        dropout: float = 0.1,
    ) -> None:
        at_least(1, size=size, blocks=blocks, rank=rank)
        if size % blocks:
            raise ValueError(f"size {size} is not a multiple of blocks {blocks}")
        super().__init__(widths, width=width, size=size, joint=size, dropout=dropout)
        self.blocks, self.rank = blocks, rank
        part = size // blocks
        shape = (self.pairs * blocks, part, rank * part)
        self.left_core = nn.Parameter(torch.randn(shape) / part**0.5)
        self.right_core = nn.Parameter(torch.randn(shape) / part**0.5)

    def joint(
        self, vectors: Float[Tensor, "batch streams size"]
    ) -> Float[Tensor, "batch pairs size"]:
        """The cores of each pair, applied to both streams' blocks."""
        blocks = vectors.unflatten(2, (self.blocks, -1))
        left, right = (side.flatten(1, 2).transpose(0, 1) for side in self.sides(blocks))
        products = (left @ self.left_core) * (right @ self.right_core)
        joint = power_normalised(products.unflatten(2, (self.rank, -1)).sum(dim=2))
        return joint.transpose(0, 1).unflatten(1, (self.pairs, -1)).flatten(2)
