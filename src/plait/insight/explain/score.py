"""One number a row that says how much the model stands behind its answer."""

import numpy as np
from jaxtyping import Float

from plait.data.targets.target import Target


def row_scores(
    target: Target, scores: Float[np.ndarray, "*subsets rows outputs"]
) -> Float[np.ndarray, "*subsets rows"]:
    """The score of the answer that the last subset gives, for every subset.

    * Classes: the probability of the answered class.
    * Labels: the mean over the labels of the probability of what was answered, yes or no.
    * Numbers: the number, in the target's own units.

    Args:
        scores: of every subset, the last being all streams; or of all streams alone.
    """
    scores = scores.astype(np.float64)
    fused = scores[-1] if scores.ndim == 3 else scores
    if target.kind == "regression":
        return target.original(scores[..., 0])
    if target.kind == "multilabel":
        return np.where(fused >= 0.5, scores, 1 - scores).mean(axis=-1)
    answered = np.broadcast_to(fused.argmax(axis=-1)[:, None], (*scores.shape[:-1], 1))
    return np.take_along_axis(scores, answered, axis=-1)[..., 0]


def unit(target: Target) -> float:
    """How much of a row's score counts as one: a probability's whole range, or one deviation."""
    return target.scale if target.kind == "regression" else 1.0
