"""The visible dictionary of heads, by kind of target."""

from typing import Literal

from torch import Tensor

from plait.heads.base import Head
from plait.heads.classify import Classify, MultiLabel
from plait.heads.regress import Regress

HEADS: dict[str, type[Head]] = {
    "binary": Classify,
    "multiclass": Classify,
    "multilabel": MultiLabel,
    "regression": Regress,
}


def build_head(
    kind: str,
    *,
    width: int,
    outputs: int,
    dropout: float,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    regression_loss: Literal["mse", "huber"] = "huber",
) -> Head:
    """The head for one target."""
    if kind == "regression":
        return Regress(width=width, outputs=outputs, dropout=dropout, kind=regression_loss)
    head = MultiLabel if kind == "multilabel" else Classify
    return head(width=width, outputs=outputs, dropout=dropout, weights=weights, smoothing=smoothing)
