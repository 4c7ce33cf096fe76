"""Maps between two feature spaces, fitted in closed form: CCA, Procrustes, a linear map.

Plain numpy in float64, no torch. Rows are samples. Each has ``fit``, ``transform`` and
``to_arrays``/``from_arrays``: a dict of arrays that goes into safetensors as it is and into JSON by
``tolist()``; nothing is pickled. Signs, which no such method determines, are chosen so that the largest
entry of each direction is positive.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Shaped
from numpy.linalg import eigh, svd

from plait.errors import AlignError
from plait.model.align.checks import same_rows, table, width

Rows = Shaped[np.ndarray, "..."]
"""``[rows, features]``; `plait.model.align.checks.table` checks it, and says what is wrong."""


class FeatureMap:
    """What the maps below share: their fitted arrays, in and out.

    Attributes:
        arrays: the names of what ``fit`` learns.
    """

    arrays: ClassVar[tuple[str, ...]]

    def to_arrays(self) -> dict[str, Float[np.ndarray, "..."]]:
        """What was fitted, by name.

        Raises:
            AlignError: nothing was fitted yet.
        """
        self._check_fitted()
        return {name: np.asarray(getattr(self, name), dtype=np.float64) for name in self.arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "FeatureMap":
        """The fitted map that ``to_arrays`` was called on; nested lists, as from JSON, will do.

        Raises:
            AlignError: an array is missing.
        """
        missing = [name for name in cls.arrays if name not in arrays]
        if missing:
            raise AlignError(
                f"{cls.__name__} is made of the arrays {', '.join(cls.arrays)}; "
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
            )
        made = cls()
        for name in cls.arrays:
            setattr(made, name, np.asarray(arrays[name], dtype=np.float64))
        return made

    @abstractmethod
    def transform(self, a: Rows) -> Float[np.ndarray, "rows out"]:
        """Map rows of the fitted kind."""

    def _check_fitted(self) -> None:
        if not hasattr(self, self.arrays[0]):
            raise AlignError(f"this {type(self).__name__} is not fitted yet; call fit first.")

    def _rows(self, name: str, values: Rows, features: int) -> np.ndarray:
        rows = table(name, values)
        width(name, rows, features)
        return rows


def upright(basis: Float[np.ndarray, "features out"]) -> Float[np.ndarray, " out"]:
    """+1 or -1 a column, so that its largest entry becomes positive."""
    largest = np.abs(basis).argmax(axis=0)
    return np.where(basis[largest, np.arange(basis.shape[1])] < 0, -1.0, 1.0)


def at_most(components: int | None, most: int, why: str) -> int:
    """How many components, checked against how many there can be."""
    if components is None:
        return most
    if not 1 <= components <= most:
        raise AlignError(f"components={components}; choose from 1 to {most}, {why}.")
    return components


class CCA(FeatureMap):
    """Canonical correlations (Hotelling 1936): directions of two views that correlate most.

    With ``Sxx``, ``Syy``, ``Sxy`` the covariances, ``A = Sxx^-½ U`` and ``B = Syy^-½ V`` for
    ``Sxx^-½ Sxy Syy^-½ = U ρ Vᵀ``. That is the eigenproblem ``Sxx⁻¹ Sxy Syy⁻¹ Syx a = ρ² a``: the
    singular values are themselves the correlations, with no root to take of single entries. ``ridge``
    times the mean variance is added to both diagonals (Vinod 1976), which as many features as rows
    need; without it, directions that have no variance are left out.

    Costs ``O(rows · f² + f³)`` with f the features of both.

    Attributes:
        mean_a: ``[features of a]``; mean_b of b.
        basis_a: ``[features of a, components]``; basis_b of b. Variates have variance 1 (without ridge).
        correlations: ``[components]``, falling. With a ridge they are those of the ridged problem.
    """

    arrays = ("mean_a", "mean_b", "basis_a", "basis_b", "correlations")

    def __init__(self, components: int | None = None, *, ridge: float = 0.0) -> None:
        if not (np.isfinite(ridge) and ridge >= 0):
            raise AlignError(f"ridge={ridge}; choose a number that is not negative.")
        self.components = components
        self.ridge = ridge

    def fit(self, a: Rows, b: Rows) -> "CCA":
        """Learn from paired rows, ``[rows, features of a]`` and ``[rows, features of b]``."""
        first, second = table("a", a, 3), table("b", b, 3)
        same_rows(first, second)
        self.mean_a, self.mean_b = first.mean(axis=0), second.mean(axis=0)
        first, second = first - self.mean_a, second - self.mean_b
        white_a, white_b = (self._whitening(n, v) for n, v in (("a", first), ("b", second)))
        cross = white_a.T @ (first.T @ second / (len(first) - 1)) @ white_b
        left, values, right = svd(cross, full_matrices=False)
        count = at_most(
            self.components,
            len(values),
            f"a and b vary in {white_a.shape[1]} and {white_b.shape[1]} directions",
        )
        basis = white_a @ left[:, :count]
        sign = upright(basis)
        self.basis_a = basis * sign
        self.basis_b = white_b @ right[:count].T * sign
        self.correlations = values[:count].clip(0, 1)
        return self

    def _whitening(self, name: str, centred: np.ndarray) -> np.ndarray:
        """``S^-½``, without the directions in which there is no variance."""
        scatter = centred.T @ centred / (len(centred) - 1)
        level = np.trace(scatter) / len(scatter)
        if level <= 0:
            raise AlignError(f"no feature of {name} varies; CCA has nothing to correlate.")
        values, vectors = eigh(scatter + self.ridge * level * np.eye(len(scatter)))
        kept = values > 1e-10 * values[-1]
        return vectors[:, kept] / np.sqrt(values[kept])

    def transform(self, a: Rows) -> Float[np.ndarray, "rows components"]:
        """The variates of rows like ``a``."""
        self._check_fitted()
        return (self._rows("a", a, len(self.mean_a)) - self.mean_a) @ self.basis_a

    def transform_b(self, b: Rows) -> Float[np.ndarray, "rows components"]:
        """The variates of rows like ``b``."""
        self._check_fitted()
        return (self._rows("b", b, len(self.mean_b)) - self.mean_b) @ self.basis_b


class Procrustes(FeatureMap):
    """The rotation that lays one space on another (Schönemann 1966).

    ``Q = argmin ‖a Q - b‖_F`` over orthogonal Q: ``Q = U Vᵀ`` with ``aᵀ b = U S Vᵀ``. ``centre`` moves
    both means to zero first, ``scale`` also fits one size, ``tr(S) / ‖a‖²`` (Schönemann & Carroll
    1970), and ``reflect=False`` allows turning only, no mirror (Kabsch 1976). Costs
    ``O(rows · features² + features³)``.

    Attributes:
        mean_a, mean_b: ``[features]``.
        rotation: ``[features, features]``.
        size: one number.
    """

    arrays = ("mean_a", "mean_b", "rotation", "size")

    def __init__(self, *, centre: bool = True, scale: bool = False, reflect: bool = True) -> None:
        self.centre = centre
        self.scale = scale
        self.reflect = reflect

    def fit(self, a: Rows, b: Rows) -> "Procrustes":
        """Learn from paired rows of the same number of features."""
        first, second = table("a", a), table("b", b)
        same_rows(first, second)
        if first.shape[1] != second.shape[1]:
            raise AlignError(
                f"a has {first.shape[1]} features and b has {second.shape[1]}; a rotation needs as many "
                "in both. LinearMap maps between unequal ones."
            )
        zero = np.zeros(first.shape[1])
        self.mean_a = first.mean(axis=0) if self.centre else zero
        self.mean_b = second.mean(axis=0) if self.centre else zero
        first, second = first - self.mean_a, second - self.mean_b
        left, values, right = svd(first.T @ second)
        if not self.reflect and np.linalg.det(left @ right) < 0:
            left[:, -1] *= -1
            values[-1] *= -1
        self.rotation = left @ right
        energy = float(np.square(first).sum())
        self.size = np.asarray(values.sum() / energy if self.scale and energy > 0 else 1.0)
        return self

    def transform(self, a: Rows) -> Float[np.ndarray, "rows features"]:
        """Rows of ``a``'s space in ``b``'s."""
        self._check_fitted()
        rows = self._rows("a", a, len(self.mean_a)) - self.mean_a
        return self.size * rows @ self.rotation + self.mean_b


class LinearMap(FeatureMap):
    """Ridge regression from one space to another (Hoerl & Kennard 1970; Mikolov et al. 2013).

    ``W = (XᵀX + ridge I)⁻¹ XᵀY`` on centred rows, so the intercept is not held back. Solved through the
    singular values of X, ``O(rows · features · min(rows, features))``, whatever their ratio.

    Attributes:
        mean_a: ``[features of a]``; mean_b of b.
        matrix: ``[features of a, features of b]``.
    """

    arrays = ("mean_a", "mean_b", "matrix")

    def __init__(self, *, ridge: float = 1.0) -> None:
        if not (np.isfinite(ridge) and ridge >= 0):
            raise AlignError(f"ridge={ridge}; choose a number that is not negative.")
        self.ridge = ridge

    def fit(self, a: Rows, b: Rows) -> "LinearMap":
        """Learn from paired rows."""
        first, second = table("a", a, 2), table("b", b, 2)
        same_rows(first, second)
        self.mean_a, self.mean_b = first.mean(axis=0), second.mean(axis=0)
        left, values, right = svd(first - self.mean_a, full_matrices=False)
        kept = values > 1e-12 * max(values[0], 1e-300)
        gain = values[kept] / (values[kept] ** 2 + self.ridge)
        self.matrix = right[kept].T * gain @ (left[:, kept].T @ (second - self.mean_b))
        return self

    def transform(self, a: Rows) -> Float[np.ndarray, "rows out"]:
        """What ``b`` would be for rows of ``a``."""
        self._check_fitted()
        return (self._rows("a", a, len(self.mean_a)) - self.mean_a) @ self.matrix + self.mean_b
