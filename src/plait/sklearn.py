"""scikit-learn estimators: `MultimodalClassifier` and `MultimodalRegressor`.

    from plait.sklearn import MultimodalClassifier

    model = MultimodalClassifier(fusion="late", epochs=5).fit(frame, labels)
    cross_val_score(MultimodalClassifier(), frame, labels, cv=3)

X is a pandas or polars frame whose columns hold media paths or bytes, text, dates and numbers, or a
plain array of numbers. Options are those of `plait.config.Config`; the most used are parameters by
name, the rest go in ``options``.
"""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

_TARGET = "plait target"
"""The name the answers get in the table; no column of X may have it."""

_MIN_ROWS = 4
"""Rows that can be split into training and validation."""


class _Multimodal(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: parameters, turning X and y into a table, and predicting."""

    def __init__(
        self,
        *,
        preset: str = "fast",
        fusion: str | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        lr: float | None = None,
        columns: dict[str, str] | None = None,
        root: str | None = None,
        seed: int = 0,
        threads: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.preset = preset
        self.fusion = fusion
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.columns = columns
        self.root = root
        self.seed = seed
        self.threads = threads
        self.options = options

    def _fit(self, X: Any, cells: list[Any], kind: str) -> None:
        from plait.pipeline import fit

        table, numbered = _columns(X, self)
        self.n_features_in_ = len(table)
        if numbered:
            self.__dict__.pop("feature_names_in_", None)
        else:
            self.feature_names_in_ = np.array(list(table), dtype=object)
        # Whoever passes an array of numbers has chosen its columns; a frame may hold anything.
        columns = {**(dict.fromkeys(table, "numeric") if numbered else {}), **(self.columns or {})}
        named = {
            "fusion": self.fusion,
            "epochs": self.epochs,
            "lr": self.lr,
            "threads": self.threads,
        }
        if _TARGET in table:
            raise ValueError(
                f"X has a column called '{_TARGET}', which plait uses for y; rename it."
            )
        options: dict[str, Any] = {
            "preset": self.preset,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "columns": columns,
            **{name: value for name, value in named.items() if value is not None},
            **(self.options or {}),
            "target_kinds": {_TARGET: kind},
        }
        table[_TARGET] = cells
        self.model_ = fit(table, _TARGET, root=self.root, **options)

    def _table(self, X: Any) -> dict[str, Any]:
        """X as a dict of columns, to be predicted."""
        table, numbered = _columns(X, self)
        if numbered and len(table) != self.n_features_in_:
            raise ValueError(
                f"X has {len(table)} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return table

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _columns(X: Any, estimator: BaseEstimator) -> tuple[dict[str, Any], bool]:
    """X as a dict of columns, and whether it is an array of numbers, whose columns are x0, x1, ...

    In an array NaN is a missing cell.
    """
    if _is_table(X):
        from plait.data.table.source import open_table

        table = open_table(X)
        return {name: table.cells(name) for name in table.columns}, False
    array = check_array(
        X, dtype=np.float64, ensure_all_finite="allow-nan", estimator=estimator, input_name="X"
    )
    return {f"x{index}": column.tolist() for index, column in enumerate(array.T)}, True


def _is_table(X: Any) -> bool:
    """Whether X has named columns; a sparse matrix may be a dict too, and has none."""
    if issparse(X):
        return False
    return hasattr(X, "__arrow_c_stream__") or isinstance(X, dict) or _is_rows(X)


def _is_rows(X: Any) -> bool:
    return isinstance(X, list) and bool(X) and isinstance(X[0], dict)


class MultimodalClassifier(ClassifierMixin, _Multimodal):  # type: ignore[misc]
    """A fused classifier over a table of media, text and numbers. See `plait.fit`."""

    def fit(self, X: Any, y: Any) -> "MultimodalClassifier":
        """Fit to a table and its labels, ``[rows]``."""
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes; the data contains one class"
            )
        check_consistent_length(_rows(X), y)
        kind = "binary" if len(self.classes_) == 2 else "multiclass"
        self._fit(X, [f"class {code}" for code in codes], kind)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``[rows, classes]`` in the order of ``classes_``."""
        check_is_fitted(self, "model_")
        scores = self.model_.predict_proba(self._table(X), root=self.root)
        order = {name: index for index, name in enumerate(self.model_.classes_)}
        whole = np.zeros((len(scores), len(self.classes_)), scores.dtype)
        for code in range(len(self.classes_)):
            if f"class {code}" in order:  # a class that fell to validation alone has no score
                whole[:, code] = scores[:, order[f"class {code}"]]
        return whole

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        check_is_fitted(self, "model_")
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class MultimodalRegressor(RegressorMixin, _Multimodal):  # type: ignore[misc]
    """A fused regressor over a table of media, text and numbers. See `plait.fit`."""

    def fit(self, X: Any, y: Any) -> "MultimodalRegressor":
        """Fit to a table and its numbers, ``[rows]``."""
        y = check_array(
            column_or_1d(y, warn=True),
            ensure_2d=False,
            dtype=np.float64,
            ensure_min_samples=_MIN_ROWS,
            estimator=self,
            input_name="y",
        )
        check_consistent_length(_rows(X), y)
        self._fit(X, y.tolist(), "regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each row."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict(self._table(X), root=self.root))


def _rows(X: Any) -> Any:
    """Something whose length is the number of rows."""
    if isinstance(X, dict) and not issparse(X):
        return next(iter(X.values()), [])
    return X
