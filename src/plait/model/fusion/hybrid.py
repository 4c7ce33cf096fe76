"""Hybrid fusion: every stream answers for itself, and so does one joint view of them all."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.fusion.base import Fusion
from plait.model.fusion.concat import Concat
from plait.model.fusion.late import Late
from plait.model.tokens import Fused, Tokens


class Hybrid(Fusion):
    """`Late` with one more voter: the joint vector of `Concat`.

    ``p(y) ∝ p_joint(y)^{s_0} Π_m p_m(y)^{s_m}`` with learned trust s > 0: feature-level and
    decision-level fusion together (hybrid fusion in Atrey et al. 2010, section 3.1.3). The streams'
    own votes keep every encoder trained and missing streams harmless; the joint vote sees what only
    several streams together show. Each vote is trained alone and in the pool.

    Cost: that of both. ``vector`` is the joint one.
    """

    voting = True

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width)
        self.late = Late(widths, width=width, dropout=dropout)
        self.joint = Concat(widths, width=width, dropout=dropout)
        self.log_trust = nn.Parameter(torch.zeros(()))

    def trusts(self) -> list[nn.Parameter]:
        """The logs of the trust in the joint vote and in each stream's."""
        return [self.log_trust, *self.late.trusts()]

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``weights`` are the shares of the streams' own votes."""
        voices, trust = self.late.votes(tokens)
        vector = self.joint(tokens).vector
        answerable = ~voices.mask[:, -1:]  # the last vote is that for "nothing is there"
        votes = Tokens(
            torch.cat([voices.values, vector.unsqueeze(1)], dim=1),
            torch.cat([voices.mask, answerable], dim=1),
        )
        streams = trust[:, : len(self.widths)]
        weights = streams / streams.sum(dim=1, keepdim=True).clamp(min=1e-9)
        trust = torch.cat([trust, self.log_trust.exp() * answerable], dim=1)
        return Fused(vector, votes=votes, trust=trust, weights=weights)
