"""How far to trust each stream's own prediction, learnt on rows that no encoder was trained on."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.loader import collate
from plait.model.model import Model
from plait.model.tokens import Tokens, stack_batches

STEPS = 60
MOST = 512
"""Rows looked at: plenty for a handful of numbers, and memory stays flat as tables grow."""

BATCH = 64
"""Rows encoded at a time, as in training."""

TRUST = "log_trust"
"""The name that every fusion gives such a parameter."""

STACK = "stack"
"""The name that every head gives the map it stacks votes with."""


def fit_trust(
    model: Model,
    columns: Mapping[str, PreparedColumn],
    rows: np.ndarray,
    targets: Mapping[str, Tensor],
    *,
    ridge: float = 0.1,
) -> dict[str, list[float]]:
    """Fit the trust parameters of a fusion to held-out rows, everything else staying as it is.

    An encoder that has memorised its training rows looks better on them than it is, and late fusion
    would believe it. A handful of numbers fitted to held-out rows put that right (stacking, Wolpert
    1992, with one weight a stream; or with whole matrices, where the heads have them). Fusions without
    such parameters stay as they are.

    Args:
        rows: the held-out rows.
        targets: target → encoded goals of those rows.
        ridge: pull towards the trained values, so that few rows cannot change much.

    Returns:
        Parameter → its trust, ``exp`` of the fitted value.
    """
    trusts = {name: p for name, p in model.fusion.named_parameters() if name.endswith(TRUST)}
    stacks = {name: p for name, p in model.heads.named_parameters() if f".{STACK}." in name}
    chosen = {**trusts, **stacks}
    if not chosen:
        return {}
    model.eval()
    fixed = [p for p in model.parameters() if p.requires_grad and not _among(p, chosen)]
    for parameter in fixed:  # no gradient, no memory for it
        parameter.requires_grad_(False)
    some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.int64))
    tokens = _encoded(model, columns, rows[some])
    goals = {name: target[torch.from_numpy(some)] for name, target in targets.items()}
    before = {name: value.detach().clone() for name, value in chosen.items()}
    optimizer = torch.optim.Adam(chosen.values(), lr=0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        fused = model.fuse(tokens)
        losses = [
            head.loss(head(fused), goals[name]).mean()  # type: ignore[operator]
            for name, head in zip(model.targets, model.heads, strict=True)
        ]
        pull = torch.stack([(p - before[name]).square().sum() for name, p in chosen.items()]).sum()
        (torch.stack(losses).sum() + ridge * pull).backward()
        optimizer.step()
    model.zero_grad()
    for parameter in fixed:
        parameter.requires_grad_(True)
    return {name: p.detach().exp().flatten().tolist() for name, p in trusts.items()}


def _among(parameter: Tensor, chosen: Mapping[str, Tensor]) -> bool:
    return any(parameter is one for one in chosen.values())


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
