"""Vectors in two dimensions, for the eye."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MAX_TSNE_ROWS = 1500
"""Rows that t-SNE is asked to lay out at most; it takes some 3 ms a row. More get PCA alone."""

MIN_TSNE_ROWS = 10
"""Below so many rows there are no neighbourhoods to keep, and PCA alone is used."""

PCA_DIMENSIONS = 50
"""Principal components that t-SNE sees."""

TSNE_STEPS = 500
"""Of t-SNE; the map hardly changes after that."""

TSNE, PCA = "t-SNE", "PCA"


@dataclass(frozen=True)
class Plane:
    """Where each row lies, and how that was found.

    Attributes:
        places: ``[rows, 2]``; distances between far-away groups mean nothing under t-SNE.
        method: `TSNE` or `PCA`.
        kept: share of the vectors' variance in the components used: the plane's own two under PCA, those
            that t-SNE sees otherwise; NaN where all vectors are the same.
    """

    places: Float[np.ndarray, "rows 2"]
    method: str
    kept: float


def flatten(vectors: Float[np.ndarray, "rows width"], *, seed: int = 0) -> Plane:
    """PCA, then t-SNE (van der Maaten & Hinton 2008); PCA alone for few or many rows.

    t-SNE's perplexity is 30, or a third of the rows where there are fewer than 90, and it starts from
    the first two principal components, so that the same vectors give the same map.

    Cost: about 2 s for 1000 rows on one core; it grows as ``rows · log rows``.
    """
    rows = len(vectors)
    parts, shares = _principal(vectors.astype(np.float64))
    kept = float(shares[:2].sum()) if len(shares) else float("nan")
    if not MIN_TSNE_ROWS <= rows <= MAX_TSNE_ROWS or not len(shares):
        places = np.zeros((rows, 2))
        places[:, : min(2, parts.shape[1])] = parts[:, :2]
        return Plane(places, PCA, kept)
    from sklearn.manifold import TSNE as Layout  # noqa: N811

    seen = parts[:, :PCA_DIMENSIONS]
    start = np.zeros((rows, 2))
    start[:, : min(2, seen.shape[1])] = seen[:, :2]
    # scikit-learn scales its own PCA start so; a larger one keeps t-SNE from moving the points.
    start *= 1e-4 / start[:, 0].std()
    layout = Layout(
        n_components=2,
        init=start.astype(np.float32),
        perplexity=min(30.0, (rows - 1) / 3),
        max_iter=TSNE_STEPS,
        random_state=seed,
    )
    placed = layout.fit_transform(seen.astype(np.float32))
    return Plane(placed.astype(np.float64), TSNE, float(shares[:PCA_DIMENSIONS].sum()))


def _principal(
    vectors: Float[np.ndarray, "rows width"],
) -> tuple[Float[np.ndarray, "rows parts"], Float[np.ndarray, " parts"]]:
    """Scores on the components that vary, and each one's share of the variance; none if none does."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 0)), np.zeros(0)
    centred = vectors - vectors.mean(axis=0)
    left, size, axes = np.linalg.svd(centred, full_matrices=False)
    real = size > 1e-6 * max(1.0, float(np.abs(vectors).max(initial=0)))
    # A component's sign is free; it is chosen so that its largest loading is positive.
    largest = np.abs(axes).argmax(axis=1)
    sign = np.sign(axes[np.arange(len(axes)), largest])
    scores = (left * size * sign)[:, real]
    variance = size[real] ** 2
    return scores, variance / variance.sum() if real.any() else variance
