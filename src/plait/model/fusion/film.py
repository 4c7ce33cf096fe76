"""Fusion by feature-wise modulation: each stream scales and shifts the others' features (FiLM)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.model.blocks import AttentionPool, attendable, masked_mean
from plait.model.fusion.base import Fusion
from plait.model.fusion.bounds import at_least
from plait.model.fusion.parts import StreamLinear, StreamMaps
from plait.model.tokens import Fused, Tokens


class Film(Fusion):
    """``FiLM(F | γ, β) = γ ⊙ F + β`` (Perez et al. 2018, eq. 2), each stream given all others.

    The paper conditions an image on a question. Here this is composed over ordered pairs: stream m is
    modulated by every other stream n, whose effects add up, ``γ_m = 1 + b_m + Σ_{n≠m} A_{mn} c_n`` and
    ``β_m = b'_m + Σ_{n≠m} B_{mn} c_n``, with c_n the attention-pooled tokens of stream n. Each of
    ``layers`` blocks has its γ and β from the same c, as in the paper, and refines every token:
    ``X_m ← X_m + ReLU(γ_m ⊙ norm(V_m X_m) + β_m)``. The paper's convolutions are linear maps a token
    here, as streams are no grids, and its batch normalisation is layer normalisation, since a row must
    not depend on its neighbours. ``z`` is the mean over present streams of their pooled tokens.

    A missing stream conditions by a learned absent token and leaves the mean; where all are missing
    the absent tokens answer.

    Cost: linear in the tokens, and ``2·M·(M-1)·width²`` a block for γ and β.

    Args:
        layers: FiLM blocks.
    """

    def __init__(
        self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1, layers: int = 2
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, layers=layers)
        count = len(widths)
        self.maps = StreamMaps(widths, width=width)
        self.look = nn.ModuleList(AttentionPool(width=width) for _ in widths)
        self.generate = nn.ModuleList(
            StreamLinear(count, (count - 1) * width, 2 * width) for _ in range(layers)
        )
        self.inner = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, width) for _ in widths) for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.ModuleList(AttentionPool(width=width) for _ in widths)
        self.others: Tensor
        others = [[n for n in range(count) if n != m] for m in range(count)]
        self.register_buffer("others", torch.tensor(others, dtype=torch.long), persistent=False)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        maps, present = self.maps(tokens)
        conditions = self._pooled(self.look, maps)[:, self.others].flatten(2)
        for generate, inner in zip(self.generate, self.inner, strict=True):
            assert isinstance(inner, nn.ModuleList)
            gamma, beta = generate(conditions).unsqueeze(2).chunk(2, dim=-1)
            refined = []
            for index, ((values, mask), linear) in enumerate(zip(maps, inner, strict=True)):
                features = functional.layer_norm(linear(values), (self.width,))
                change = torch.addcmul(beta[:, index], 1 + gamma[:, index], features).relu()
                refined.append(Tokens(values + self.dropout(change), mask))
            maps = refined
        return Fused(masked_mean(self._pooled(self.pool, maps), attendable(present)))

    @staticmethod
    def _pooled(pools: nn.ModuleList, maps: list[Tokens]) -> Tensor:
        return torch.cat([pool(stream) for pool, stream in zip(pools, maps, strict=True)], dim=1)
