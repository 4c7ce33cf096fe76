"""What bilinear fusions made for two streams share: every pair of streams, and their normalisation."""

from abc import abstractmethod
from collections.abc import Mapping
from itertools import combinations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.tokens import Fused, Tokens

SOFT = 1e-4


def power_normalised(values: Float[Tensor, "*any size"]) -> Float[Tensor, "*any size"]:
    """``r / ‖r‖`` with the signed root ``r = x / sqrt(|x| + 1e-4)``.

    That is ``sign(x) sqrt(|x|)`` (power and l2 normalisation of Fukui et al. 2016 and Yu et al. 2017)
    but for tiny x, where the slope of the root itself would be infinite.
    """
    return functional.normalize(values * values.abs().add_(SOFT).rsqrt_(), dim=-1)


class Pairwise(Fusion):
    """A fusion made for two streams, over all pairs of streams p < q: ``z = Σ_pq P_pq h_pq + c``.

    A subclass says what the joint vector ``h_pq`` of a pair is. With two streams there is one pair and
    z is the paper's; a single stream is paired with itself. What a stream goes through before it meets
    another is learned once a stream and shared by its pairs.

    A missing stream takes its learned absent vector, so that the pair is a learned map of the other one
    alone; the absent vector starts as large as a stream's, since a product with next to nothing would
    hide the other one. A pair that lacks both is left out of the sum, and where every stream is missing
    the answer is c.

    The vector is a sum over pairs: an effect that only three streams together show is for
    `TensorFusion`, `LowRank` or `Multiplicative`.

    Args:
        size: numbers in a stream's vector.
        joint: numbers in a pair's joint vector.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, size: int, joint: int, dropout: float
    ) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=size)
        nn.init.normal_(self.vectors.absent, std=0.5)
        pairs = list(combinations(range(len(widths)), 2)) or [(0, 0)]
        self.left: Tensor
        self.right: Tensor
        for side, members in zip(("left", "right"), zip(*pairs, strict=True), strict=True):
            self.register_buffer(side, torch.tensor(members), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(len(pairs) * joint, width)

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.left)

    def sides(self, values: Shaped[Tensor, "batch streams ..."]) -> tuple[Tensor, Tensor]:
        """The left and the right member of every pair, ``[batch, pairs, ...]`` each."""
        return values.index_select(1, self.left), values.index_select(1, self.right)

    @abstractmethod
    def joint(
        self, vectors: Float[Tensor, "batch streams size"]
    ) -> Float[Tensor, "batch pairs joint"]:
        """Each pair's joint vector."""

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        left, right = self.sides(present)
        joint = self.dropout(self.joint(vectors)) * (left | right).unsqueeze(2)
        return Fused(self.out(joint.flatten(1)))
