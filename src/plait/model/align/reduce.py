"""Fewer features, fitted in closed form: PCA and LDA. Plain numpy; see `plait.model.align.feature`."""

import numpy as np
from jaxtyping import Float, Shaped
from numpy.linalg import eigh, svd

from plait.errors import AlignError
from plait.model.align.checks import table
from plait.model.align.feature import FeatureMap, Rows, at_most, upright


class PCA(FeatureMap):
    """Principal components (Pearson 1901): the directions of greatest variance.

    ``z = (x - mean) V``, with V from the singular value decomposition ``X - mean = U S Vᵀ`` and
    ``variance = S² / (rows - 1)``. ``whiten`` divides each component by its deviation.

    Costs ``O(rows · features · min(rows, features))``. Where far fewer components are asked for than
    there could be, ``solver="auto"`` takes the randomised one (Halko, Martinsson & Tropp 2011,
    algorithms 4.4 and 5.1, seven power iterations), ``O(rows · features · components)`` and always the
    same for the same rows.

    Attributes:
        mean: ``[features]``.
        basis: ``[features, components]``, orthonormal columns.
        variance: ``[components]``, falling.
        total: the variance of all components there could be.
    """

    arrays = ("mean", "basis", "variance", "total", "scale")

    def __init__(
        self,
        components: int | None = None,
        *,
        whiten: bool = False,
        solver: str = "auto",
    ) -> None:
        if solver not in ("auto", "full", "randomised"):
            raise AlignError(f"solver={solver!r}; choose from auto, full, randomised.")
        self.components = components
        self.whiten = whiten
        self.solver = solver

    def fit(self, a: Rows) -> "PCA":
        """Learn the components of ``[rows, features]``, at least two rows."""
        rows = table("a", a, 2)
        most = min(len(rows) - 1, rows.shape[1])
        count = at_most(
            self.components,
            most,
            f"the least of the {rows.shape[1]} features and one less than the {len(rows)} rows",
        )
        self.mean = rows.mean(axis=0)
        centred = rows - self.mean
        few = 4 * (count + 10) < most
        if self.solver == "randomised" or (self.solver == "auto" and few):
            values, directions = _leading(centred, count)
        else:
            _, values, directions = svd(centred, full_matrices=False)
        basis = directions[:count].T
        self.basis = basis * upright(basis)
        self.variance = values[:count] ** 2 / (len(rows) - 1)
        self.total = np.asarray(np.square(centred).sum() / (len(rows) - 1))
        # A direction without variance has nothing to whiten.
        flat = self.variance <= 1e-12 * max(float(self.total), 1e-300)
        deviation = np.where(flat, 1.0, np.sqrt(self.variance))
        self.scale = 1 / deviation if self.whiten else np.ones(count)
        return self

    @property
    def explained(self) -> Float[np.ndarray, " components"]:
        """The share of the variance in each component."""
        self._check_fitted()
        return self.variance / max(float(self.total), 1e-300)

    def transform(self, a: Rows) -> Float[np.ndarray, "rows components"]:
        """The components of ``[rows, features]``."""
        self._check_fitted()
        return (self._rows("a", a, len(self.mean)) - self.mean) @ self.basis * self.scale

    def restore(self, z: Rows) -> Float[np.ndarray, "rows features"]:
        """Back from components: the nearest rows that the components can say."""
        self._check_fitted()
        return self._rows("z", z, len(self.scale)) / self.scale @ self.basis.T + self.mean


def _leading(centred: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading singular values and right vectors, by the randomised method."""
    generator = np.random.default_rng(0)
    many = min(count + 10, *centred.shape)
    span, _ = np.linalg.qr(centred @ generator.standard_normal((centred.shape[1], many)))
    for _ in range(7):
        back, _ = np.linalg.qr(centred.T @ span)
        span, _ = np.linalg.qr(centred @ back)
    _, values, directions = svd(span.T @ centred, full_matrices=False)
    return values, directions


def _check_classes(labels: np.ndarray) -> None:
    """Every row must have a class, and classes be of one kind, so that they have an order."""
    cells = labels.tolist()
    gaps = [row for row, cell in enumerate(cells) if cell is None or cell != cell]
    if gaps or (labels.dtype.kind == "f" and not np.isfinite(labels).all()):
        offender = f"{cells[gaps[0]]} in row {gaps[0]}" if gaps else "infinity"
        raise AlignError(f"classes holds {offender}; leave out the rows that have no class.")
    kinds = sorted({type(cell).__name__ for cell in cells})
    if labels.dtype.kind == "O" and len(kinds) > 1:
        raise AlignError(
            f"classes mixes {' and '.join(kinds)}; pass all of one kind: [str(c) for c in classes]."
        )


class LDA(FeatureMap):
    """Linear discriminants (Fisher 1936, Rao 1948): the directions that part the classes best.

    ``W`` maximises ``|Wᵀ B W| / |Wᵀ S W|`` with S the covariance within the classes and B that of
    their means: S is whitened, then the means' principal directions are taken. So ``z = (x - mean) W``
    has identity covariance within classes. There are at most ``classes - 1`` components.

    ``shrinkage`` replaces S by ``(1 - s) S + s tr(S)/features I`` (Friedman 1989), which few rows and
    many features need; without it, directions in which S is zero are left out. Costs
    ``O(rows · features² + features³)``; reduce many features with `PCA` first (Belhumeur et al. 1997).

    Attributes:
        mean: ``[features]``.
        basis: ``[features, components]``.
        separation: ``[components]``, the variance between classes over that within, falling.
    """

    arrays = ("mean", "basis", "separation")

    def __init__(self, components: int | None = None, *, shrinkage: float = 0.0) -> None:
        if not 0 <= shrinkage <= 1:
            raise AlignError(f"shrinkage={shrinkage}; choose from 0 to 1.")
        self.components = components
        self.shrinkage = shrinkage

    def fit(self, a: Rows, classes: Shaped[np.ndarray, "..."]) -> "LDA":
        """Learn from ``[rows, features]`` and one class a row (numbers or texts)."""
        rows = table("a", a, 2)
        labels = np.asarray(classes)
        if labels.shape != (len(rows),):
            raise AlignError(
                f"classes has shape {list(labels.shape)}; pass one class for each of the "
                f"{len(rows)} rows."
            )
        _check_classes(labels)
        names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(names) < 2:
            raise AlignError(
                f"all {len(rows)} rows are of class {names[0]}; LDA needs two classes."
            )
        if len(rows) <= len(names):
            raise AlignError(
                f"{len(rows)} rows of {len(names)} classes; LDA needs more rows than classes."
            )
        means = np.zeros((len(names), rows.shape[1]))
        np.add.at(means, codes, rows)
        means /= counts[:, None]
        self.mean = rows.mean(axis=0)
        within = rows - means[codes]
        whitening = self._whitening(within.T @ within / (len(rows) - len(names)))
        between = np.sqrt(counts / (len(names) - 1))[:, None] * (means - self.mean) @ whitening
        _, values, directions = svd(between, full_matrices=False)
        most = max(1, min(len(names) - 1, int((values > 1e-10 * values[0]).sum())))
        count = at_most(
            self.components, most, f"{len(names)} classes of {rows.shape[1]} features give no more"
        )
        basis = whitening @ directions[:count].T
        self.basis = basis * upright(basis)
        self.separation = values[:count] ** 2
        return self

    def _whitening(self, scatter: np.ndarray) -> np.ndarray:
        features = len(scatter)
        level = np.trace(scatter) / features
        if level <= 0:
            raise AlignError("no feature varies within a class; LDA has nothing to compare with.")
        shrunk = (1 - self.shrinkage) * scatter + self.shrinkage * level * np.eye(features)
        values, vectors = eigh(shrunk)
        kept = values > 1e-10 * values[-1]
        return vectors[:, kept] / np.sqrt(values[kept])

    def transform(self, a: Rows) -> Float[np.ndarray, "rows components"]:
        """The discriminants of ``[rows, features]``."""
        self._check_fitted()
        return (self._rows("a", a, len(self.mean)) - self.mean) @ self.basis
