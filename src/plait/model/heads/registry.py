"""The visible dictionary of heads, in plait only; a kind of target names the one that answers it."""

from typing import Any

import numpy as np
import torch

from plait.model.heads.base import Head
from plait.model.heads.classify import Classify, MultiLabel
from plait.model.heads.regress import Regress

HEADS: dict[str, type[Head]] = {
    "classify": Classify,
    "labels": MultiLabel,
    "regress": Regress,
}
"""`plait.data.targets.target.Target.head` → the head."""


def build_head(
    name: str, *, width: int, outputs: int, dropout: float, votes: int = 0, **options: Any
) -> Head:
    """The head for one target.

    Args:
        votes: those of a fusion that stacks them.
        options: the head's own, `plait.data.targets.target.Target.loss_options`.
    """
    own = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }
    return HEADS[name](width=width, outputs=outputs, dropout=dropout, votes=votes, **own)
