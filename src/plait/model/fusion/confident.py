"""Late fusion in which every stream says for each row how sure it is: evidence, or energy."""

from collections.abc import Mapping

import torch
from torch import nn

from plait.model.blocks import masked_mean
from plait.model.fusion.voting import Voting
from plait.model.tokens import Fused, Tokens


class Dempster(Voting):
    """Trusted multi-view classification: streams give evidence, Dempster's rule combines it.

    Each stream's logits z give evidence ``e = softplus(z)``, a Dirichlet ``α = e + 1`` with belief
    ``b_k = e_k / S`` and uncertainty ``u = K / S``, ``S = Σ_k α_k``; the present streams' opinions are
    combined by the reduced rule ``b_k = (b¹_k b²_k + b¹_k u² + b²_k u¹) / (1 - C)``,
    ``u = u¹ u² / (1 - C)`` (Han et al. 2021, TMC), which over all of them at once is
    ``α_k = 1 + K (Π_m (1 + e_k^m / K) - 1)``. Probabilities are ``α_k / Σ_k α_k``, and a head's logits
    are ``log α``. Combined and alone, opinions are trained by the paper's evidential loss, with a
    constant weight on its second term (`plait.model.heads.rules.evidential_loss`).

    For classes only: labels and numbers have no such opinion. It gives no ``weights``; a row's
    uncertainty is ``K / Σ_k α_k``. Cost: that of `Late`.
    """

    heads = ("classify",)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``vector`` is the mean of the votes, for embeddings."""
        votes = self.voices(tokens)
        trust = votes.mask.to(votes.values.dtype)
        vector = masked_mean(votes.values, votes.mask)
        return Fused(vector, votes=votes, trust=trust, rule="dempster")


class Qmf(Voting):
    """Quality-aware fusion: each stream's logits weigh as much as their energy says, row by row.

    ``z = Σ_m s_m w_m z_m`` with ``w_m = log(1 + Σ_k e^{z_k^m})``, the negative free energy of stream m's
    own logits, held fixed there (Zhang et al. 2023, QMF; the 1 keeps w_m above zero). The
    paper sets one factor -s_m a stream by hand; here trust s_m > 0 is learned, as in `Late`. Each
    stream is also trained alone, and by the paper's regulariser w_m falls where stream m's loss rises
    (`plait.model.heads.rules.rank_loss`): the loss is that of the step, not of the row's whole
    history, which is no part of what a fusion sees.

    A label is a choice of two with logits ``±z / 2`` and has an energy of its own. Numbers have none and
    are averaged by trust. It gives no ``weights``: they differ from target to target. Cost: that of
    `Late`, and in training ``B²`` pairs of rows a stream.
    """

    def __init__(self, widths: Mapping[str, int], *, width: int, dropout: float = 0.1) -> None:
        super().__init__(widths, width=width, dropout=dropout)
        self.log_trust = nn.Parameter(torch.zeros(len(widths) + 1))

    def trusts(self) -> list[nn.Parameter]:
        """The log of the trust in each vote."""
        return [self.log_trust]

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``vector`` is the mean of the votes, for embeddings."""
        votes = self.voices(tokens)
        trust = self.log_trust.exp() * votes.mask
        vector = masked_mean(votes.values, votes.mask)
        return Fused(vector, votes=votes, trust=trust, rule="energy")
