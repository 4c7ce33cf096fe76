"""The bare PyTorch loop: no seeds a step, no checks, no checkpoints, arrays in RAM. A floor.

It is plain code on purpose: what plait's Trainer adds is what `training` measures.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from plait.data.store import PreparedColumn
from plait.model.model import Model
from plait.model.tokens import ColumnBatch

Vary = Callable[[dict[str, ColumnBatch]], dict[str, ColumnBatch]]


class Arrays:
    """Prepared columns as dense tensors in RAM; a batch is cut at its longest row."""

    def __init__(self, columns: Mapping[str, PreparedColumn]) -> None:
        self.columns: dict[str, tuple[Tensor, Tensor]] = {}
        self.lengths: dict[str, Tensor] = {}
        for name, column in columns.items():
            values, mask = column.batch(np.arange(len(column)))
            self.columns[name] = (torch.from_numpy(values), torch.from_numpy(mask))
            if mask.ndim == 2:
                self.lengths[name] = torch.from_numpy(mask.sum(axis=1))

    def batch(self, rows: Tensor) -> dict[str, ColumnBatch]:
        cut = {}
        for name, (values, mask) in self.columns.items():
            if name in self.lengths:
                longest = max(1, int(self.lengths[name][rows].max()))
                values, mask = values[:, :longest], mask[:, :longest]
            cut[name] = ColumnBatch(values[rows], mask[rows])
        return cut


class BareLoop:
    """AdamW with warm-up and cosine, clipping, and averaged weights when ``ema`` is given."""

    def __init__(
        self,
        model: Model,
        arrays: Arrays,
        goals: Mapping[str, np.ndarray],
        *,
        steps: int,
        lr: float,
        weight_decay: float,
        clip: float,
        warmup: float,
        ema: float | None = None,
        vary: Vary | None = None,
    ) -> None:
        self.model = model
        self.arrays = arrays
        self.goals = {name: torch.from_numpy(goal) for name, goal in goals.items()}
        self.weights = list(model.parameters())
        decayed = [weight for weight in self.weights if weight.ndim >= 2]
        others = [weight for weight in self.weights if weight.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=lr,
        )
        warm = max(1, int(warmup * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: (
                (step + 1) / warm
                if step < warm
                else 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))
            ),
        )
        self.clip = clip
        self.ema = ema
        self.state = [value for value in model.state_dict().values() if value.is_floating_point()]
        self.average = [value.clone() for value in self.state] if ema else []
        self.vary = vary

    def epoch(self, batches: Sequence[np.ndarray]) -> float:
        """One pass over the rows of ``batches``; returns the mean loss."""
        self.model.train()
        total = 0.0
        for rows in batches:
            total += self._step(torch.from_numpy(rows))
        return total / len(batches)

    def _step(self, rows: Tensor) -> float:
        columns = self.arrays.batch(rows)
        if self.vary is not None:
            columns = self.vary(columns)
        targets = {name: goal[rows] for name, goal in self.goals.items()}
        losses = self.model.row_losses(columns, targets)
        loss = torch.stack([row.mean() for row in losses.values()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimizer.step()
        self.schedule.step()
        if self.ema is not None:
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.state, 1 - self.ema)
        return loss.item()
