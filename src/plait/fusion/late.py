"""Late fusion: every stream predicts for itself, and the predictions are combined."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.blocks import masked_mean
from plait.fusion.base import Fusion, StreamVectors
from plait.tokens import Fused, Tokens


class Late(Fusion):
    """Each stream has its own perceptron and answers for itself; the answers are pooled.

    ``p(y) ∝ Π_m p_m(y)^{s_m}`` over the present streams m, with learned trust s_m > 0: a logarithmic
    opinion pool (Genest & Zidek 1986, eq. 3.13; with all s_m = 1 the product rule of Kittler et al.
    1998, eq. 7, exact where streams are independent given the class). Numbers are pooled by a mean
    weighted with s_m. The pool and each present stream alone are trained together.

    Robust to missing streams; blind to any effect that only two streams together show. Where all are
    missing a learned vector votes alone. Cost: linear in the streams.
    """

    voting = True

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.vectors = StreamVectors(widths, width=width)
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(width, width),
            )
            for _ in widths
        )
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)
        self.log_trust = nn.Parameter(torch.zeros(len(widths) + 1))

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``vector`` is the mean of the votes, for embeddings."""
        votes, trust = self.votes(tokens)
        weights = trust[:, :-1] / trust[:, :-1].sum(dim=1, keepdim=True).clamp(min=1e-9)
        vector = masked_mean(votes.values, votes.mask)
        return Fused(vector, votes=votes, trust=trust, weights=weights)

    def votes(self, tokens: dict[str, Tokens]) -> tuple[Tokens, Float[Tensor, "batch votes"]]:
        """The streams' votes, then the one for "nothing is there", with the trust in each."""
        vectors, present = self.vectors(tokens)
        voices = [tower(vectors[:, index]) for index, tower in enumerate(self.towers)]
        values = torch.stack([*voices, self.nothing.expand_as(voices[0])], dim=1)
        mask = torch.cat([present, ~present.any(dim=1, keepdim=True)], dim=1)
        return Tokens(values, mask), self.log_trust.exp() * mask
