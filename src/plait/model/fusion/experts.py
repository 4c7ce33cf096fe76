"""A sparse mixture of experts over the streams together."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.bounds import at_least
from plait.model.tokens import Fused, Tokens


class Experts(Fusion):
    """A gate chooses ``top`` of ``count`` expert perceptrons for each row, and mixes their answers.

    ``z = Σ_i G_i(x) E_i(x)``, ``G = softmax(KeepTop(x W_g + ε ⊙ softplus(x W_n)))`` with ε standard
    normal in training and zero in use (Shazeer et al. 2017, eq. 1, 3-5). Gate and experts see the same
    x: all streams' pooled vectors side by side, a learned absent vector for each missing one, so rows
    can be routed by what they say and by what they lack. With ``top`` = 1 that softmax would always be 1
    and the gate never learn; then G_i is the chosen expert's share among all (Fedus et al. 2022, Switch,
    eq. 2).

    In training ``losses["balance"]`` is ``balance · count · Σ_i f_i p_i`` a row, f_i the share of the
    batch's choices that fell on expert i, p_i its probability for this row (over the batch the mean is
    eq. 4 of Fedus et al.). It keeps a few experts from taking all rows. No expert has a capacity, so no
    row is dropped, and a row's answer does not depend on its neighbours.

    Cost: linear in ``count`` times ``M · width`` for M streams, in two matrix products for all experts
    and rows at once. All experts are computed and all but ``top`` get zero weight: at the sizes of a
    fusion (a vector a row) that is quicker than sorting rows by expert. The sparsity is in what each
    expert learns from.

    Args:
        count: experts.
        top: experts a row.
        balance: weight of the load-balancing loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        count: int = 4,
        top: int = 2,
        balance: float = 0.01,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, count=count, top=top)
        if top > count:
            raise ValueError(f"top must be at most count, which is {count}, got {top}")
        if balance < 0:
            raise ValueError(f"balance must be at least 0, got {balance}")
        self.count = count
        self.top = top
        self.balance = balance
        self.vectors = StreamVectors(widths, width=width)
        size = len(widths) * width
        self.gate = nn.Linear(size, count, bias=False)
        self.noise = nn.Linear(size, count, bias=False)
        nn.init.zeros_(
            self.gate.weight
        )  # so that noise alone chooses at first (Shazeer, appendix A)
        nn.init.zeros_(self.noise.weight)
        self.inner = nn.Linear(size, count * width)
        self.outer = nn.Linear(count * width, width, bias=False)
        nn.init.uniform_(self.outer.weight, -(width**-0.5), width**-0.5)  # as if apart
        self.bias = nn.Parameter(torch.zeros(count, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        inputs = self.vectors(tokens)[0].flatten(1)
        scores = self.gate(inputs)
        if self.training:
            scores = scores + torch.randn_like(scores) * functional.softplus(self.noise(inputs))
        best, which = scores.topk(self.top, dim=1)
        probability = scores.softmax(dim=1)
        shares = best.softmax(dim=1) if self.top > 1 else probability.gather(1, which)
        gates = torch.zeros_like(scores).scatter(1, which, shares)
        hidden = self.dropout(functional.gelu(self.inner(inputs))).unflatten(1, (self.count, -1))
        vector = self.outer((hidden * gates.unsqueeze(-1)).flatten(1)) + gates @ self.bias
        return Fused(vector, losses=self._losses(probability, which) if self.training else None)

    def _losses(
        self, probability: Float[Tensor, "batch experts"], which: Int64[Tensor, "batch top"]
    ) -> dict[str, Tensor]:
        chosen = torch.zeros_like(probability).scatter(1, which, 1.0).mean(dim=0) / self.top
        return {"balance": self.balance * self.count * (probability @ chosen)}
