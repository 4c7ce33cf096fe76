"""Soft dynamic time warping: a distance of two sequences that a model can be trained on."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.errors import AlignError


class SoftDTW(nn.Module):
    """Soft-DTW (Cuturi & Blondel 2017), a batch at once, differentiable in both sequences.

    ``R(i, j) = |a_i - b_j|² + softmin(R(i-1, j-1), R(i-1, j), R(i, j-1))`` with
    ``softmin(x) = -γ log Σ exp(-x/γ)`` (their eq. 1); the answer is R at both ends. The gradient is
    their algorithm 2, not autograd through the recursion, so it keeps two tables and no graph; it cannot
    be differentiated again. Towards γ = 0 it is `plait.model.align.dtw` with ``metric="squared"``.

    With ``divergence`` it gives ``R(a, b) - ½ R(a, a) - ½ R(b, b)`` (Blondel, Mensch & Vert 2021), which
    is zero for equal sequences and never negative; plain soft-DTW can be negative.

    Costs ``O(steps of a · steps of b)`` in time and memory a sample; all samples and all cells of one
    anti-diagonal are computed together, so there are steps of a + steps of b operations in a row.

    Args:
        gamma: how soft the minimum is, in units of a squared distance; above 0.
    """

    def __init__(self, *, gamma: float = 1.0, divergence: bool = False) -> None:
        super().__init__()
        if not 0 < gamma < float("inf"):
            raise AlignError(f"gamma={gamma}; choose a number above 0.")
        self.gamma = gamma
        self.divergence = divergence

    def forward(
        self,
        a: Float[Tensor, "batch steps_a channels"],
        b: Float[Tensor, "batch steps_b channels"],
        mask_a: Bool[Tensor, "batch steps_a"] | None = None,
        mask_b: Bool[Tensor, "batch steps_b"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The distance of each pair; 0 where one of them has no real step.

        Args:
            mask_a: True where a step of ``a`` is real; None: all are. Gaps are closed up.
        """
        _check(a, b, mask_a, mask_b)
        first, second = _packed(a, mask_a), _packed(b, mask_b)
        value = self._distance(first, second)
        if self.divergence:
            both = (first[1] > 0) & (second[1] > 0)
            own = self._distance(first, first) + self._distance(second, second)
            value = value - 0.5 * own * both
        return value

    def _distance(self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        (first, length_a), (second, length_b) = a, b
        # Not torch.cdist: its gradient is not defined where two steps are equal.
        apart = (
            first.square().sum(dim=-1).unsqueeze(2)
            + second.square().sum(dim=-1).unsqueeze(1)
            - 2 * first @ second.transpose(1, 2)
        )
        return _Recursion.apply(apart, length_a, length_b, self.gamma)  # type: ignore[no-untyped-call]


def _packed(values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Real steps first, in their order, in float32 or better; and how many there are."""
    values = values if values.dtype == torch.float64 else values.to(torch.float32)
    if mask is None:
        return values, torch.full((len(values),), values.shape[1], device=values.device)
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True).unsqueeze(-1)
    real = mask.unsqueeze(-1)
    packed = torch.where(real, values, 0.0).gather(1, order.expand_as(values))
    return packed, mask.sum(dim=1)


def _check(a: Tensor, b: Tensor, mask_a: Tensor | None, mask_b: Tensor | None) -> None:
    """Refuse what cannot be compared."""
    for name, series, mask in (("a", a, mask_a), ("b", b, mask_b)):
        if series.ndim != 3 or not series.shape[1]:
            raise AlignError(
                f"{name} is {list(series.shape)}; SoftDTW compares [batch, steps, channels] with at "
                "least one step. One series of numbers is values[None, :, None]."
            )
        if not bool((series if mask is None else series[mask]).isfinite().all()):
            raise AlignError(f"{name} holds NaN or infinity; fill it, or hide those steps.")
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[2] or a.dtype != b.dtype:
        raise AlignError(
            f"a is {list(a.shape)} ({a.dtype}) and b {list(b.shape)} ({b.dtype}); they need one batch "
            "size, one number of channels and one dtype."
        )


class _Recursion(torch.autograd.Function):
    """R at both ends from the cost of each cell, and its gradient.

    Tables are skewed: row k holds the anti-diagonal ``i + j = k``, entry i its cell of row i, with
    i and j counted from 1 and a border at 0.
    """

    @staticmethod
    def forward(
        ctx: Any, costs: Tensor, length_a: Tensor, length_b: Tensor, gamma: float
    ) -> Tensor:
        batch, n, m = costs.shape
        skewed = _skew(costs)
        table = torch.full_like(skewed, float("inf"))
        # The one way in: all other borders are infinite.
        table[:, 0, 0] = 0
        for k in range(2, n + m + 1):
            before, last = table[:, k - 2], table[:, k - 1]
            three = torch.stack([before[:, :-1], last[:, :-1], last[:, 1:]])
            table[:, k, 1:] = skewed[:, k, 1:] - gamma * torch.logsumexp(-three / gamma, dim=0)
        ctx.save_for_backward(skewed, table, length_a, length_b)
        ctx.gamma = gamma
        rows = torch.arange(batch, device=costs.device)
        distance = table[rows, length_a + length_b, length_a]
        return torch.where((length_a > 0) & (length_b > 0), distance, 0.0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        skewed, table, length_a, length_b = ctx.saved_tensors
        batch, diagonals, entries = skewed.shape
        n, m = entries - 1, diagonals - entries
        rows = torch.arange(batch, device=skewed.device)
        # What softmin gave at each cell; -inf off the table, where no share may go.
        soft = torch.where(table.isfinite() & skewed.isfinite(), table - skewed, float("-inf"))
        flow = torch.zeros(
            batch, diagonals + 2, entries + 1, dtype=skewed.dtype, device=skewed.device
        )
        there = ((length_a > 0) & (length_b > 0)).to(skewed.dtype)
        flow[rows, length_a + length_b, length_a] = gradient * there
        soft = nn.functional.pad(soft, (0, 1, 0, 2), value=float("-inf"))
        for k in range(n + m - 1, 1, -1):
            here = table[:, k]
            for further, shift in ((k + 1, 1), (k + 1, 0), (k + 2, 1)):
                place = slice(shift, shift + entries)
                share = torch.exp((soft[:, further, place] - here) / ctx.gamma)
                flow[:, k, :entries] += flow[:, further, place] * share
        # By costs alone: lengths and γ are not learnt.
        return _straighten(flow[:, :diagonals, :entries], n, m), None, None, None


def _places(n: int, m: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For the skewed table: row and column of each entry's cell, from 0, and whether it is one."""
    i = torch.arange(n + 1, device=device) - 1
    j = torch.arange(n + m + 1, device=device).unsqueeze(1) - i - 2
    inside = (i >= 0) & (j >= 0) & (j < m)
    return i.clamp(min=0).expand_as(j), j.clamp(0, m - 1), inside


def _skew(costs: Tensor) -> Float[Tensor, "batch diagonals entries"]:
    i, j, inside = _places(costs.shape[1], costs.shape[2], costs.device)
    return torch.where(inside, costs[:, i, j], float("inf"))


def _straighten(skewed: Tensor, n: int, m: int) -> Float[Tensor, "batch n m"]:
    i = torch.arange(n, device=skewed.device).unsqueeze(1) + 1
    j = torch.arange(m, device=skewed.device) + 1
    return skewed[:, i + j, i.expand(n, m)]
