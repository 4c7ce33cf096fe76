"""The visible dictionary of heads, by kind of target."""

from typing import Literal

from torch import Tensor

from plait.model.heads.base import Head
from plait.model.heads.classify import Classify, MultiLabel
from plait.model.heads.regress import Regress

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
    votes: int = 0,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    regression_loss: Literal["mse", "huber"] = "huber",
) -> Head:
    """The head for one target; ``votes`` are those of a fusion that stacks them."""
    size = {"width": width, "outputs": outputs, "votes": votes}
    if kind == "regression":
        return Regress(**size, dropout=dropout, kind=regression_loss)
    head = MultiLabel if kind == "multilabel" else Classify
    return head(**size, dropout=dropout, weights=weights, smoothing=smoothing)
