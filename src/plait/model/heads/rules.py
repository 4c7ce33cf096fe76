"""The rules by which late fusion's votes become one answer, and the losses that come with two of them.

A vote is one stream's own logits; its ``trust`` is 0 where the stream is missing. With v the votes, s
their trust, z their logits and p what the logits mean:

=========== ======================================= ============================== ==================
rule        classes                                 labels                         numbers
=========== ======================================= ============================== ==================
``product`` ``p ∝ Π_v p_v^{s_v}``                   the same for each label        mean weighted by s
``mean``    ``p = Σ_v s_v p_v / Σ_v s_v``           the same for each label        mean weighted by s
``stacked`` ``z = c + Σ_v A_v log p_v``             ``z = c + Σ_v A_v z_v``        the same
``energy``  ``z = Σ_v s_v w_v z_v``                 the same, w for each label     mean weighted by s
``dempster`` Dempster's rule over Dirichlet opinions undefined                     undefined
=========== ======================================= ============================== ==================
"""

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional

PRODUCT, MEAN, STACKED, ENERGY, DEMPSTER = "product", "mean", "stacked", "energy", "dempster"
RULES = (PRODUCT, MEAN, STACKED, ENERGY, DEMPSTER)

NEVER = -1e4
"""The log of a weight that is zero: finite, so that a row without any vote stays finite."""

KL = 0.1
"""The weight of the evidential loss's pull of false evidence towards none."""

MAX_LOG_ALPHA = 16.0
"""The log of the largest Dirichlet parameter that the evidential loss looks at; beyond it, float32
cannot tell a difference of log-gammas from its rounding."""


def log_shares(trust: Float[Tensor, "batch votes"]) -> Float[Tensor, "batch votes"]:
    """The log of each vote's share in a row; `NEVER` for a missing vote."""
    shares = trust / trust.sum(dim=1, keepdim=True).clamp(min=1e-9)
    there = shares > 0
    # The inner where keeps log(0) out of the backward pass, where inf times 0 is NaN.
    return torch.where(there, torch.where(there, shares, 1.0).log(), NEVER)


def linear_pool(
    logs: Float[Tensor, "batch votes outputs"], trust: Float[Tensor, "batch votes"]
) -> Float[Tensor, "batch outputs"]:
    """``log Σ_v s_v p_v / Σ_v s_v`` of log-probabilities: a linear opinion pool (Stone 1961)."""
    return (logs + log_shares(trust).unsqueeze(-1)).logsumexp(dim=1)


def weighted_mean(
    values: Float[Tensor, "batch votes outputs"], trust: Float[Tensor, "batch votes"]
) -> Float[Tensor, "batch outputs"]:
    """``Σ_v s_v y_v / Σ_v s_v``."""
    shares = trust / trust.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return (values * shares.unsqueeze(-1)).sum(dim=1)


class Stack(nn.Module):
    """Stacked generalisation (Wolpert 1992): a learned linear map over all votes' answers.

    ``z = c + Σ_v A_v l_v`` with the votes' log-probabilities (logits for labels, answers for numbers)
    l. Where a vote is missing, the mean of the row's other votes stands in, so the map always sees a
    whole row. It starts as the mean: ``A_v = I / votes``, ``c = 0``.
    """

    def __init__(self, *, votes: int, outputs: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.eye(outputs).repeat(votes, 1, 1) / votes)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(
        self, values: Float[Tensor, "batch votes outputs"], trust: Float[Tensor, "batch votes"]
    ) -> Float[Tensor, "batch outputs"]:
        """One answer a row."""
        there = (trust > 0).unsqueeze(-1)
        stand_in = weighted_mean(values, there.squeeze(-1).to(values.dtype)).unsqueeze(1)
        whole = torch.where(there, values, stand_in)
        return torch.einsum("bvi,vio->bo", whole, self.maps) + self.bias


def energy(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """The confidence ``w = log(1 + Σ_k e^{z_k})``: the negative free energy (Liu et al. 2020).

    The 1 is a logit of zero for "none of these". It keeps confidence above zero, where the plain
    log-sum could turn negative and count a vote against itself.
    """
    return functional.softplus(logits.logsumexp(dim=-1))


def label_energy(logits: Float[Tensor, "*batch labels"]) -> Float[Tensor, "*batch labels"]:
    """`energy` of each label, a choice between two classes with logits ``±z / 2``."""
    return energy(torch.stack([logits / 2, -logits / 2], dim=-1))


def rank_loss(
    confidence: Float[Tensor, "batch votes"],
    losses: Float[Tensor, "batch votes"],
    mask: Bool[Tensor, "batch votes"],
) -> Float[Tensor, " batch"]:
    """Confidence should fall where loss rises (Zhang et al. 2023, QMF's regulariser).

    ``max(0, sign(κ_i - κ_j) (w_i - w_j) + |κ_i - κ_j|)`` for rows i and j, each vote by itself; the mean
    over the pairs that have it. The paper's κ is a row's loss averaged over the epochs so far; here it
    is that of this step, since a head knows no row's history.

    Args:
        mask: votes that are there, of rows that have a target.
    """
    # Detached: confidence is to follow the losses, not the losses the confidence.
    apart = losses.detach().unsqueeze(0) - losses.detach().unsqueeze(1)  # [j, i, votes]
    gap = confidence.unsqueeze(0) - confidence.unsqueeze(1)
    pairs = mask.unsqueeze(0) & mask.unsqueeze(1)
    each = (apart.sign() * gap + apart.abs()).clamp(min=0) * pairs
    per_vote = each.sum(dim=0) / pairs.sum(dim=0).clamp(min=1)
    return per_vote.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def dempster(
    logits: Float[Tensor, "batch votes classes"], trust: Float[Tensor, "batch votes"]
) -> Float[Tensor, "batch classes"]:
    """The log of the Dirichlet parameters that Dempster's rule makes of all votes' opinions.

    A vote's evidence ``e = softplus(z)`` is an opinion: belief ``b_k = e_k / S`` in class k and
    uncertainty ``u = K / S`` with ``S = Σ_k e_k + K``. The reduced combination rule
    ``b_k = (b¹_k b²_k + b¹_k u² + b²_k u¹) / (1 - C)``, ``u = u¹ u² / (1 - C)`` (Han et al. 2021)
    is associative. Over all votes at once ``b_k ∝ Π_v (b_k^v + u^v) - Π_v u^v`` and
    ``u ∝ Π_v u^v``, so ``e_k = K (Π_v (1 + e_k^v / K) - 1)``, and the parameters are ``α = e + 1``.
    A missing vote is an opinion without belief, which changes nothing.
    """
    classes = logits.shape[-1]
    # Float32: products of evidence leave the range of half precision soon.
    evidence = functional.softplus(logits.float()) * (trust > 0).unsqueeze(-1)
    grown = torch.log1p(evidence / classes).sum(dim=1)
    # log(1 + K (e^g - 1)), written so that it overflows for no g.
    return grown + torch.log(classes - (classes - 1) * torch.exp(-grown))


def evidential_loss(
    logits: Float[Tensor, "batch classes"], target: Int64[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The expected cross-entropy under a Dirichlet, and a pull of false evidence towards none.

    ``ψ(S) - ψ(α_y) + λ KL(Dir(α̃) ‖ Dir(1))`` with ``α̃ = y + (1 - y) ⊙ α`` (Han et al. 2021;
    Sensoy et al. 2018). The paper raises λ from 0 to 1 over the epochs; here it is `KL` throughout,
    small enough that evidence can grow from the start.

    Args:
        logits: the log of α, as `dempster` gives it.
        target: a class each; no row may lack one.
    """
    alpha = logits.float().clamp(max=MAX_LOG_ALPHA).exp()
    classes = alpha.shape[1]
    # The evidence of the true class is taken out, so the pull meets false evidence alone.
    true = functional.one_hot(target, classes).to(alpha.dtype)
    fit = alpha.sum(dim=1).digamma() - (true * alpha.digamma()).sum(dim=1)
    false = true + (1 - true) * alpha
    total = false.sum(dim=1)
    spread = torch.lgamma(total) - torch.lgamma(torch.full_like(total, float(classes)))
    spread = spread - torch.lgamma(false).sum(dim=1)
    pull = ((false - 1) * (false.digamma() - total.digamma().unsqueeze(1))).sum(dim=1)
    return fit + KL * (spread + pull)


def known_rows(target: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
    """Which rows have this target: a class (or a step of a sequence) of 0 or more, or no NaN."""
    if not target.is_floating_point():
        return target >= 0 if target.ndim == 1 else (target >= 0).any(dim=1)
    return ~target.isnan() if target.ndim == 1 else ~target.isnan().any(dim=1)
