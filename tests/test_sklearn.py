"""The estimators keep scikit-learn's rules, and work in its tools on tables of media."""

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from plait.errors import ConfigError
from plait.sklearn import MultimodalClassifier, MultimodalRegressor

pytestmark = pytest.mark.usefixtures("few_resamples")

TINY = {"batch_size": 32, "threads": 1, "options": {"golden_rows": 0}}
AT_ONCE = {"golden_rows": 0, "ema": None, "modality_dropout": 0.0}
"""Learns in few steps: no average of weights to wait for."""


LEARNS = ("check_classifiers_train", "check_regressors_train")
"""The checks that ask for a score; for all others one epoch is as good as many."""


def nearly(left, right, **_):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("default::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        MultimodalClassifier(epochs=2, **TINY),
        MultimodalRegressor(epochs=8, lr=0.005, **{**TINY, "batch_size": 16, "options": AT_ONCE}),
    ],
)
def test_the_rules_of_scikit_learn(estimator, check, unwatched, monkeypatch):
    if check.func.__name__ == "check_methods_subset_invariance":
        # It asks for float64's 1e-7; float32 sums differ in the seventh digit with the batch they are in.
        monkeypatch.setattr(estimator_checks, "assert_allclose", nearly)
    if check.func.__name__ not in LEARNS:
        estimator = clone(estimator).set_params(epochs=1)  # it is shared by all checks
    check(estimator)


@pytest.fixture(scope="module")
def frame(maker, tmp_path_factory):
    """A frame with a column of image paths and one of notes, and where the images are."""
    folder = tmp_path_factory.mktemp("frame")
    rows = maker.rows(folder, 30)
    return pandas.DataFrame(rows)[["photo", "note", "price", "label", "score"]], str(folder)


def test_cross_validation_over_media(frame):
    table, root = frame
    model = MultimodalClassifier(epochs=2, root=root, **TINY)
    scores = cross_val_score(model, table[["photo", "note"]], table["label"], cv=2)
    assert scores.shape == (2,)
    assert ((scores >= 0) & (scores <= 1)).all()
    model = MultimodalRegressor(epochs=1, root=root, **TINY)
    scores = cross_val_score(model, table[["photo", "price"]], table["score"], cv=2)
    assert np.isfinite(scores).all()


def test_grid_search_over_media(frame):
    table, root = frame
    search = GridSearchCV(
        MultimodalClassifier(epochs=1, root=root, **TINY), {"fusion": ["concat", "late"]}, cv=2
    )
    search.fit(table[["photo", "note"]], table["label"])
    assert search.best_params_["fusion"] in ("concat", "late")
    assert search.best_estimator_.model_.config.fusion == search.best_params_["fusion"]
    assert search.predict(table[["photo", "note"]]).shape == (30,)


def test_parameters_come_back_and_clone(frame):
    model = MultimodalClassifier(fusion="late", epochs=1, columns={"note": "text"}, **TINY)
    assert model.get_params() == {
        "preset": "fast",
        "fusion": "late",
        "epochs": 1,
        "batch_size": 32,
        "lr": None,
        "columns": {"note": "text"},
        "root": None,
        "seed": 0,
        "threads": 1,
        "options": {"golden_rows": 0},
    }
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert twin.set_params(epochs=2, lr=0.1).get_params()["lr"] == 0.1
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        model.set_params(epoch=1)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        model.predict(frame[0])


LABELS = {
    "text": np.array(["no", "yes"]),
    "object": np.array(["no", "yes"], dtype=object),
    "int": np.array([-1, 7]),
    "bool": np.array([False, True]),
    "float": np.array([0.0, 1.0]),
    "odd": np.array(["=1+1", "<b>"]),
    "three": np.array([3, 1, 2]),
}


@pytest.fixture(scope="module")
def numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    X[:, 0] += np.arange(30) % 3
    return X


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were_given(numbers, kind):
    choices = LABELS[kind]
    y = choices[np.arange(30) % len(choices)]
    model = MultimodalClassifier(epochs=1, **TINY).fit(numbers, y)
    assert model.classes_.tolist() == sorted(choices.tolist())
    answers = model.predict(numbers)
    assert answers.dtype == y.dtype
    assert set(answers.tolist()) <= set(y.tolist())
    chances = model.predict_proba(numbers)
    assert chances.shape == (30, len(choices))
    assert chances.sum(axis=1) == pytest.approx(np.ones(30), abs=1e-5)
    assert (model.classes_[chances.argmax(axis=1)] == answers).all()
    assert 0 <= model.score(numbers, y) <= 1


def test_frames_of_every_kind_give_the_same_answers(frame):
    table, root = frame
    X = table[["note", "price"]]
    model = MultimodalClassifier(epochs=1, root=root, **TINY).fit(X, table["label"])
    assert model.feature_names_in_.tolist() == ["note", "price"]
    assert model.n_features_in_ == 2
    expected = model.predict_proba(X)
    for other in (
        polars.DataFrame(X.to_dict("list")),
        X.to_dict("records"),
        X.to_dict("list"),
        X[["price", "note"]],
        X.set_index(np.arange(30) + 7),
    ):
        np.testing.assert_allclose(model.predict_proba(other), expected, atol=1e-6)
    again = MultimodalClassifier(epochs=1, root=root, **TINY).fit(X.to_dict("list"), table["label"])
    np.testing.assert_allclose(again.predict_proba(X), expected, atol=1e-6)


def test_a_column_of_a_frame_may_be_called_x0(frame):
    table, _ = frame
    X = table[["note", "price"]].rename(columns={"note": "x0"})
    model = MultimodalClassifier(epochs=1, **TINY).fit(X, table["label"])
    assert model.feature_names_in_.tolist() == ["x0", "price"]
    assert model.model_.schema.inputs == {"x0": "text", "price": "numeric"}


def test_arrays_may_have_gaps_and_constant_columns(numbers):
    X = numbers.copy()
    X[::4, 1], X[:, 2] = np.nan, 5.0
    y = np.arange(30) % 2
    model = MultimodalClassifier(epochs=1, **TINY).fit(X, y)
    assert model.model_.schema.inputs == dict.fromkeys(["x0", "x1", "x2"], "numeric")
    assert not hasattr(model, "feature_names_in_")
    assert np.isfinite(model.predict_proba(X)).all()
    with pytest.raises(ValueError, match="Input X contains infinity"):
        model.predict(np.where(np.isnan(X), np.inf, X))
    with pytest.raises(
        ValueError, match="X has 2 features, but MultimodalClassifier is expecting 3 features"
    ):
        model.predict(X[:, :2])


def test_what_cannot_be_fitted(numbers):
    classifier, regressor = (
        MultimodalClassifier(epochs=1, **TINY),
        MultimodalRegressor(epochs=1, **TINY),
    )
    y = np.arange(30) % 2
    with pytest.raises(
        ValueError, match="needs samples of at least 2 classes; the data contains one class"
    ):
        classifier.fit(numbers, np.zeros(30))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier.fit(numbers, y[:20])
    with pytest.raises(
        ValueError, match=r"Found array with 3 sample\(s\) .* while a minimum of 4 is required"
    ):
        regressor.fit(numbers[:3], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        classifier.fit(numbers, [np.nan, *y[1:]])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        classifier.fit(numbers, numbers[:, 0])
    with pytest.raises(TypeError, match="Sparse data was passed"):
        regressor.fit(scipy.sparse.dok_matrix(numbers), y)
    with pytest.raises(
        ConfigError, match=r"there is no option 'dropuot'. Did you mean 'dropout'\?"
    ):
        MultimodalClassifier(options={"dropuot": 1}).fit(numbers, y)
    with pytest.raises(ConfigError, match=r"unknown fusion 'lat'. Did you mean 'late'\?"):
        MultimodalRegressor(fusion="lat").fit(numbers, y * 1.5)


def test_numbers_are_in_the_units_given(numbers):
    y = 1e6 + 1e4 * numbers[:, 0]
    model = MultimodalRegressor(epochs=10, lr=0.01, batch_size=4, options=AT_ONCE).fit(numbers, y)
    answers = model.predict(numbers)
    assert answers.dtype == np.float64
    assert abs(answers.mean() - y.mean()) < 1e4
    assert model.score(numbers, y) > 0.3
