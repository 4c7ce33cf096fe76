"""Late fusion: every stream predicts for itself, and the predictions are combined."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.errors import unknown
from plait.model.blocks import masked_mean
from plait.model.fusion.voting import Voting
from plait.model.tokens import Fused, Tokens

MODES = {"weighted": "product", "mean": "mean", "stacked": "stacked"}
"""Mode of `Late` → the rule by which heads combine the votes."""


class Late(Voting):
    """Each stream has its own perceptron and answers for itself; the answers are pooled.

    By ``mode``:

    * ``weighted``: ``p(y) ∝ Π_m p_m(y)^{s_m}`` over the present streams m, with learned trust s_m > 0: a
      logarithmic opinion pool (Genest & Zidek 1986, eq. 3.13). Numbers: the mean weighted by s_m.
    * ``mean``: ``p(y) = Σ_m p_m(y) / M`` over the M present streams: a linear opinion pool (Stone 1961).
      Numbers: the mean.
    * ``stacked``: ``z = c + Σ_m A_m log p_m`` with a learned matrix for each stream: stacked
      generalisation (Wolpert 1992). For labels it reads their logits, for numbers the numbers. The mean
      of the present streams stands in for a missing one. The matrices are the heads' (see ``stacks``);
      a fit trains them with the rest and then once more on held-out rows, as Wolpert asks.

    The pool and each present stream alone are trained together. Robust to missing streams; blind to any
    effect that only two streams together show, except in ``stacked``, which sees it in their answers.
    Where all are missing a learned vector votes alone. Cost: linear in the streams; ``stacked`` adds
    ``M K²`` numbers for K answers.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        mode: str = "weighted",
    ) -> None:
        super().__init__(widths, width=width, dropout=dropout)
        if mode not in MODES:
            raise ValueError(unknown("mode", mode, MODES))
        self.rule = MODES[mode]
        self.stacks = len(widths) + 1 if mode == "stacked" else 0
        self.log_trust = nn.Parameter(torch.zeros(len(widths) + 1)) if mode == "weighted" else None

    def trusts(self) -> list[nn.Parameter]:
        """The log of the trust in each vote, in the mode ``weighted``."""
        return [] if self.log_trust is None else [self.log_trust]

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``vector`` is the mean of the votes, for embeddings."""
        votes, trust = self.votes(tokens)
        weights = trust[:, :-1] / trust[:, :-1].sum(dim=1, keepdim=True).clamp(min=1e-9)
        return Fused(
            masked_mean(votes.values, votes.mask),
            votes=votes,
            trust=trust,
            weights=None if self.stacks else weights,
            rule=self.rule,
        )

    def votes(self, tokens: dict[str, Tokens]) -> tuple[Tokens, Float[Tensor, "batch votes"]]:
        """The streams' votes, then the one for "nothing is there", with the trust in each."""
        votes = self.voices(tokens)
        if self.log_trust is None:
            return votes, votes.mask.to(votes.values.dtype)
        return votes, self.log_trust.exp() * votes.mask


class Product(Voting):
    """A product of experts: the streams' answers multiplied, none trusted more than another.

    ``p(y) ∝ Π_m p_m(y)`` over the present streams m (Hinton 2002, eq. 1; the product rule of Kittler et
    al. 1998, eq. 7, with equal priors): exact where streams are independent given a class and classes
    are equally frequent. It is `Late` with all trusts 1, and more confident than any of its streams.
    Numbers: the mean, the product of Gaussians of one variance. Cost: that of `Late`.
    """

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch; ``vector`` is the mean of the votes, for embeddings."""
        votes = self.voices(tokens)
        trust = votes.mask.to(votes.values.dtype)
        weights = trust[:, :-1] / trust[:, :-1].sum(dim=1, keepdim=True).clamp(min=1e-9)
        vector = masked_mean(votes.values, votes.mask)
        return Fused(vector, votes=votes, trust=trust, weights=weights)
