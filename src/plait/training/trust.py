"""How far to trust each stream's own prediction, learnt on rows that no encoder was trained on."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.heads.base import Head
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import Tokens, stack_batches

STEPS, RATE = 60, 0.05
"""Steps of Adam and its rate: each log of a trust can move by 3 at most, a factor of 20 either way."""

RIDGE = 0.1
"""Pull towards the trained values, so that few rows cannot change much: a trust that is to triple has to
lower the mean loss by 0.12."""

MAX_ROWS = 512
"""Rows that are read: plenty for a handful of numbers, and memory stays flat as tables grow."""

BATCH = 64
"""Rows encoded at a time, as in training; batches of 256 clips took the memory (lab notes, "Why did
memory grow with the table?")."""


def fit_trust(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: np.ndarray,
    targets: Mapping[str, Tensor],
) -> list[list[float]]:
    """Fit the trust parameters of a fusion to held-out rows, everything else staying as it is.

    An encoder that has memorised its training rows looks better on them than it is, and late fusion
    would believe it. A handful of numbers fitted to held-out rows put that right (stacking, Wolpert
    1992, with one weight a stream; or with whole matrices, where the heads have them). Fusions without
    such parameters stay as they are.

    Args:
        rows: the held-out rows.
        targets: target → encoded goals of those rows.

    Returns:
        Of each of the fusion's trusts (`Fusion.trusts`), ``exp`` of the fitted values.
    """
    trusts = model.fusion.trusts()
    stacks = [weight for head in model.heads for weight in cast(Head, head).stack_weights()]
    fitted = [*trusts, *stacks]
    if not fitted:
        return []
    # Dropout would make the fit of a few numbers noisy.
    model.eval()
    fixed = [p for p in model.parameters() if p.requires_grad and not _among(p, fitted)]
    for parameter in fixed:  # no gradient, no memory for it
        parameter.requires_grad_(False)
    # Spread over the rows, since tables are often sorted by class.
    spread = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(np.int64))
    # Encoded once: only fusion and heads change while the trust is fitted.
    tokens = _encoded(model, columns, rows[spread])
    goals = {name: target[torch.from_numpy(spread)] for name, target in targets.items()}
    before = [value.detach().clone() for value in fitted]
    optimizer = torch.optim.Adam(fitted, lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        fused = model.fuse(tokens)
        losses = [
            head.loss(head(fused), goals[name]).mean()  # type: ignore[operator]
            for name, head in zip(model.targets, model.heads, strict=True)
        ]
        moved = [(p - old).square().sum() for p, old in zip(fitted, before, strict=True)]
        (torch.stack(losses).sum() + RIDGE * torch.stack(moved).sum()).backward()
        optimizer.step()
    model.zero_grad()
    for parameter in fixed:
        parameter.requires_grad_(True)
    return [trust.detach().exp().flatten().tolist() for trust in trusts]


def _among(parameter: Tensor, fitted: Sequence[Tensor]) -> bool:
    return any(parameter is other for other in fitted)


@torch.no_grad()
def _encoded(
    model: Model, columns: Mapping[str, PreparedColumn], rows: np.ndarray
) -> dict[str, Tokens]:
    """All rows' tokens, encoded in batches and padded to one length a stream."""
    parts = [
        model.encode(collate(columns, part))
        for part in np.array_split(rows, -(-len(rows) // BATCH))
    ]
    return {name: stack_batches([part[name] for part in parts]) for name in parts[0]}
