"""Concatenation helped by deep canonical correlation between the streams."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from plait.model.fusion.base import Fusion, StreamVectors
from plait.model.fusion.bounds import at_least
from plait.model.fusion.pooled import in_full, shared_mean, stream_pairs
from plait.model.tokens import Fused, Tokens


class Dcca(Fusion):
    """``z = MLP([v_1; ...; v_M; a_1; ...; a_M])``, ``a_m = f_m(v_m)`` trained to correlate.

    Deep CCA (Andrew et al. 2013, ICML), composed over pairs of streams: the loss ``correlation`` is
    minus the sum of the ``top`` canonical correlations of a_m and a_n over the batch's rows that have
    both, see `canonical_correlations`; every such row carries the mean over its pairs. A pair with fewer
    than ``2 · components + 1`` such rows gives zero: so few rows correlate fully by chance. Batch
    statistics enter this loss alone. f_m is a perceptron to a few numbers, so that a batch can tell
    their covariances; the vectors v_m themselves, or an absent one, stay beside them.

    Cost: `Concat`, and in training per pair ``batch · components²`` and a singular value decomposition
    of ``components × components``.

    Args:
        components: numbers in a_m.
        top: how many correlations count, at most ``components``.
        ridge: added to the diagonal of the covariances.
        weight: of the loss.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        dropout: float = 0.1,
        components: int = 8,
        top: int = 8,
        ridge: float = 1e-3,
        weight: float = 0.1,
    ) -> None:
        super().__init__(widths, width=width)
        at_least(1, components=components)
        at_least(0, weight=weight)
        if not 1 <= top <= components:
            raise ValueError(f"top must be between 1 and components = {components}, got {top}")
        if not ridge > 0:
            raise ValueError(f"ridge must be above 0, so that covariances invert, got {ridge}")
        self.components = components
        self.top = top
        self.ridge = ridge
        self.weight = weight
        self.pairs = stream_pairs(len(widths))
        self.vectors = StreamVectors(widths, width=width)
        self.aligned = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.Linear(width, components),
            )
            for _ in widths
        )
        self.mix = nn.Sequential(
            nn.Linear(len(widths) * (width + components), 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Fuse one batch."""
        vectors, present = self.vectors(tokens)
        views = [view(vectors[:, index]) for index, view in enumerate(self.aligned)]
        fused = Fused(self.mix(torch.cat([vectors.flatten(1), *views], dim=1)))
        if not self.training or len(views) < 2:
            return fused
        return fused._replace(losses={"correlation": self._loss(torch.stack(views), present)})

    def _loss(
        self,
        views: Float[Tensor, "streams batch components"],
        present: Bool[Tensor, "batch streams"],
    ) -> Float[Tensor, " batch"]:
        first, second = self.pairs
        both = (present[:, first] & present[:, second]).T
        correlations = canonical_correlations(views[first], views[second], both, ridge=self.ridge)
        enough = both.sum(dim=1) > 2 * self.components
        total = torch.where(enough, correlations[:, : self.top].sum(dim=1), 0.0)
        counted = (both & enough.unsqueeze(1)).T
        return -self.weight * shared_mean(total.expand(counted.shape), counted)


def canonical_correlations(
    first: Float[Tensor, "pairs rows p"],
    second: Float[Tensor, "pairs rows q"],
    used: Bool[Tensor, "pairs rows"],
    *,
    ridge: float,
) -> Float[Tensor, "pairs least"]:
    """The canonical correlations of two views over the rows used, largest first.

    The singular values of ``T = S₁₁^(−1/2) S₁₂ S₂₂^(−1/2)``, where ``S₁₁ = XᵀX/(n − 1) + r I`` of the
    centred view (Andrew et al. 2013, sections 2 and 3), and the power is the matrix's, not its entries'.
    Here ``T = L₁^(−1) S₁₂ L₂^(−ᵀ)`` with Cholesky's ``S = L Lᵀ``: as ``L^(−1) = Q S^(−1/2)`` for an
    orthogonal Q, the singular values are the same. The gradient divides by no gap between eigenvalues
    and stays finite where they are equal.
    """
    with torch.autocast(first.device.type, enabled=False):  # covariances need their digits
        views = [in_full(first), in_full(second)]
        real = used.unsqueeze(-1).to(views[0].dtype)
        count = real.sum(dim=1, keepdim=True)
        means = [(view * real).sum(dim=1, keepdim=True) / count.clamp(min=1) for view in views]
        x, y = (
            (view - mean) * real / (count - 1).clamp(min=1).sqrt()
            for view, mean in zip(views, means, strict=True)
        )
        turned = torch.linalg.solve_triangular(_root(x, ridge), x.mT @ y, upper=False)
        return torch.linalg.svdvals(
            torch.linalg.solve_triangular(_root(y, ridge), turned.mT, upper=False)
        )


def _root(x: Tensor, ridge: float) -> Tensor:
    """Cholesky's lower factor of the regularised covariance."""
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.linalg.cholesky(x.mT @ x + ridge * identity)
