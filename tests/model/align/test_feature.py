"""The feature maps against scikit-learn and scipy, and against their definitions."""

import json

import numpy as np
import pytest
import scipy.linalg
from sklearn import cross_decomposition, decomposition
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from plait.errors import AlignError
from plait.model.align import CCA, LDA, PCA, LinearMap, Procrustes


@pytest.fixture
def rows(rng):
    return rng.normal(size=(60, 5)) @ rng.normal(size=(5, 8)) + 0.1 * rng.normal(size=(60, 8)) + 3


@pytest.fixture
def classes(rng):
    return rng.integers(4, size=60)


@pytest.fixture
def pair(rng):
    """Two views that share two causes, one loud and one faint."""
    cause = rng.normal(size=(200, 2))
    noise = rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
    a = np.hstack([cause + [0.3, 0.8] * rng.normal(size=(200, 2)), noise[0]])
    b = np.hstack([cause * [2, -1], noise[1]])
    return a @ rng.normal(size=(5, 5)), b @ rng.normal(size=(4, 4)) + 7


def same_up_to_sign(got, want, atol=1e-9):
    sign = np.sign((got * want).sum(axis=0))
    np.testing.assert_allclose(got * sign, want, atol=atol)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("components", [None, 3])
def test_pca_is_that_of_sklearn(rows, components, whiten):
    ours, theirs = (
        PCA(components, whiten=whiten).fit(rows),
        decomposition.PCA(components, whiten=whiten),
    )
    want = theirs.fit_transform(rows)
    same_up_to_sign(ours.transform(rows), want)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_)
    np.testing.assert_allclose(ours.restore(ours.transform(rows)), theirs.inverse_transform(want))


@pytest.mark.parametrize("shape", [(12, 400), (400, 12)])
def test_pca_of_few_rows_or_few_features(rng, shape):
    rows = rng.normal(size=shape)
    same_up_to_sign(PCA(4).fit(rows).transform(rows), decomposition.PCA(4).fit_transform(rows))


def test_the_randomised_solver_finds_the_same_leading_directions(rng):
    rows = rng.normal(size=(300, 6)) * [9, 7, 5, 4, 3, 2] @ rng.normal(size=(6, 250))
    rows += 0.01 * rng.normal(size=rows.shape)
    quick, full = PCA(5).fit(rows), PCA(5, solver="full").fit(rows)
    assert not np.array_equal(quick.basis, full.basis)  # it was the randomised one
    np.testing.assert_allclose(quick.basis, full.basis, atol=1e-8)
    np.testing.assert_allclose(quick.variance, full.variance, rtol=1e-8)
    np.testing.assert_allclose(PCA(5, solver="randomised").fit(rows).basis, quick.basis)


def test_whitening_leaves_directions_without_variance_alone(rng):
    rows = rng.normal(size=(20, 1)) * [1.0, 2.0, 0.0]
    z = PCA(whiten=True).fit(rows).transform(rows)
    np.testing.assert_allclose(z.std(axis=0, ddof=1), [1, 0, 0], atol=1e-9)
    flat = PCA(1, whiten=True).fit(np.ones((4, 3)))
    assert (flat.transform(np.ones((2, 3))) == 0).all()
    assert (flat.explained == 0).all()


def test_the_largest_entry_of_a_direction_is_positive(rows):
    basis = PCA().fit(-rows).basis
    assert (basis[np.abs(basis).argmax(axis=0), range(basis.shape[1])] > 0).all()


def test_lda_is_that_of_sklearn(rows, classes):
    ours, theirs = LDA().fit(rows, classes), LinearDiscriminantAnalysis(solver="svd")
    want = theirs.fit(rows, classes).transform(rows)
    # scikit-learn divides the scatter within classes by the rows, we by the rows less the classes.
    same_up_to_sign(ours.transform(rows), want * np.sqrt((60 - 4) / 60), atol=1e-7)
    share = ours.separation / ours.separation.sum()
    np.testing.assert_allclose(share, theirs.explained_variance_ratio_)


def test_lda_whitens_within_classes(rows, classes):
    z = LDA(2).fit(rows, classes).transform(rows)
    within = z - np.stack([z[classes == c].mean(axis=0) for c in range(4)])[classes]
    np.testing.assert_allclose(within.T @ within / (60 - 4), np.eye(2), atol=1e-9)


def test_lda_solves_the_generalised_eigenproblem_with_shrinkage(rows, classes):
    means = np.stack([rows[classes == c].mean(axis=0) for c in range(4)])[classes]
    within = (rows - means).T @ (rows - means) / (60 - 4)
    shrunk = 0.7 * within + 0.3 * np.trace(within) / 8 * np.eye(8)
    spread = means - rows.mean(axis=0)
    values = scipy.linalg.eigh(spread.T @ spread / 3, shrunk, eigvals_only=True)
    got = LDA(shrinkage=0.3).fit(rows, classes).separation
    np.testing.assert_allclose(got, values[::-1][:3])


def test_lda_takes_texts_and_leaves_out_features_that_never_vary(rows):
    names = np.array(["cat", "dog"] * 30)
    wide = np.hstack([rows, np.ones((60, 2))])
    ours = LDA().fit(wide, names)
    assert ours.basis.shape == (10, 1)
    same_up_to_sign(ours.transform(wide), LDA().fit(rows, names).transform(rows), atol=1e-7)


def test_cca_is_the_generalised_eigenproblem(pair):
    a, b = (part - part.mean(axis=0) for part in pair)
    aa, bb, ab = a.T @ a, b.T @ b, a.T @ b
    values = scipy.linalg.eigh(ab @ np.linalg.solve(bb, ab.T), aa, eigvals_only=True)
    ours = CCA().fit(*pair)
    np.testing.assert_allclose(ours.correlations, np.sqrt(values[::-1][:4]))


def test_cca_variates_correlate_as_said_and_with_nothing_else(pair):
    ours = CCA().fit(*pair)
    both = np.hstack([ours.transform(pair[0]), ours.transform_b(pair[1])])
    want = np.eye(8)
    want[:4, 4:] = want[4:, :4] = np.diag(ours.correlations)
    np.testing.assert_allclose(np.cov(both.T), want, atol=1e-9)


def test_cca_finds_what_sklearn_finds(pair):
    theirs = cross_decomposition.CCA(2, tol=1e-12, max_iter=5000).fit_transform(*pair)
    want = [np.corrcoef(theirs[0][:, k], theirs[1][:, k])[0, 1] for k in range(2)]
    np.testing.assert_allclose(CCA(2).fit(*pair).correlations, want, atol=1e-6)


def test_cca_with_a_ridge_shrinks_the_correlations_of_few_rows(rng):
    a, b = rng.normal(size=(10, 20)), rng.normal(size=(10, 30))
    np.testing.assert_allclose(CCA(5).fit(a, b).correlations, 1)  # nine directions fit anything
    assert (CCA(5, ridge=1.0).fit(a, b).correlations < 0.97).all()


@pytest.mark.parametrize("centre", [False, True])
def test_procrustes_is_that_of_scipy(rng, centre):
    a, b = rng.normal(size=(30, 4)), rng.normal(size=(30, 4)) + 2
    first, second = (a - a.mean(axis=0), b - b.mean(axis=0)) if centre else (a, b)
    want, energy = scipy.linalg.orthogonal_procrustes(first, second)
    np.testing.assert_allclose(Procrustes(centre=centre).fit(a, b).rotation, want)
    scaled = Procrustes(centre=centre, scale=True).fit(a, b)
    np.testing.assert_allclose(scaled.size, energy / np.square(first).sum())


def test_procrustes_finds_a_similarity_again(rng):
    a = rng.normal(size=(12, 3))
    turn = scipy.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    b = 2.5 * a @ turn + [1, 2, 3]
    np.testing.assert_allclose(Procrustes(scale=True).fit(a, b).transform(a), b)
    np.testing.assert_allclose(Procrustes(scale=True, reflect=False).fit(a, b).transform(a), b)


def test_procrustes_without_a_mirror_only_turns(rng):
    a = rng.normal(size=(12, 3))
    b = a * [1, 1, -1]
    assert np.linalg.det(Procrustes().fit(a, b).rotation) == pytest.approx(-1)
    ours = Procrustes(reflect=False, centre=False).fit(a, b)
    assert np.linalg.det(ours.rotation) == pytest.approx(1)
    want = scipy.spatial.transform.Rotation.align_vectors(b, a)[0].as_matrix()
    np.testing.assert_allclose(ours.rotation.T, want, atol=1e-9)


def test_procrustes_of_nothing_keeps_its_size():
    assert Procrustes(scale=True).fit(np.ones((3, 2)), np.ones((3, 2))).size == 1


@pytest.mark.parametrize("ridge", [0.0, 2.5])
@pytest.mark.parametrize("features", [6, 90])
def test_the_linear_map_is_ridge_regression(rng, ridge, features):
    a, b = rng.normal(size=(40, features)) + 1, rng.normal(size=(40, 3)) - 2
    want = Ridge(alpha=ridge or 1e-11, solver="svd").fit(a, b)
    np.testing.assert_allclose(
        LinearMap(ridge=ridge).fit(a, b).transform(a), want.predict(a), atol=1e-7
    )


def test_the_linear_map_of_constant_rows_is_the_mean():
    ours = LinearMap(ridge=0).fit(np.ones((3, 2)), np.arange(3.0)[:, None])
    assert ours.transform(np.zeros((1, 2))).tolist() == [[1.0]]


def fitted(pair, classes):
    a, b = pair
    few = a[:60]
    return [
        (PCA(2, whiten=True).fit(few), few),
        (LDA(2).fit(few, classes), few),
        (CCA(2).fit(a, b), a),
        (Procrustes(scale=True).fit(a[:, :4], b), a[:, :4]),
        (LinearMap().fit(a, b), a),
    ]


def test_arrays_survive_json(pair, classes):
    for part, rows in fitted(pair, classes):
        text = json.dumps({name: value.tolist() for name, value in part.to_arrays().items()})
        twin = type(part).from_arrays(json.loads(text))
        np.testing.assert_array_equal(twin.transform(rows), part.transform(rows))
        assert {value.dtype for value in part.to_arrays().values()} == {np.dtype(np.float64)}
    twin = CCA.from_arrays(CCA().fit(*pair).to_arrays())
    np.testing.assert_array_equal(twin.transform_b(pair[1]), CCA().fit(*pair).transform_b(pair[1]))
    twin = PCA.from_arrays(PCA().fit(pair[0]).to_arrays())
    np.testing.assert_allclose(twin.restore(twin.transform(pair[0])), pair[0])


def gap(rows):
    rows = rows.copy()
    rows[3, 1] = np.nan
    rows[5, 0] = np.inf
    return rows


A, B = np.random.default_rng(1).normal(size=(6, 3)), np.random.default_rng(2).normal(size=(6, 2))
ERRORS = {
    "shape": (lambda: PCA().fit(np.zeros(3)), "a has shape [3]; expected [rows, features]."),
    "empty": (
        lambda: PCA().fit(np.zeros((0, 3))),
        "a has shape [0, 3] and so holds nothing; pass [rows, features].",
    ),
    "text": (
        lambda: PCA().fit(np.array([["x", "y"]])),
        "a has dtype <U1; pass real numbers, [rows, features].",
    ),
    "nan": (
        lambda: PCA().fit(gap(A)),
        "a holds 2 NaN or infinite values, the first at [3, 1]. "
        "Leave those rows or steps out, or fill them in, first.",
    ),
    "one nan": (
        lambda: PCA().fit(np.array([[1.0, np.nan]])),
        "a holds 1 NaN or infinite value, the first at [0, 1]. "
        "Leave those rows or steps out, or fill them in, first.",
    ),
    "one row": (lambda: PCA().fit(A[:1]), "a has 1 row; at least 2 are needed to fit."),
    "two rows": (lambda: CCA().fit(A[:2], B[:2]), "a has 2 rows; at least 3 are needed to fit."),
    "components": (
        lambda: PCA(4).fit(A),
        "components=4; choose from 1 to 3, the least of the 3 features and one less than the 6 rows.",
    ),
    "no components": (
        lambda: CCA(0).fit(A, B),
        "components=0; choose from 1 to 2, a and b vary in 3 and 2 directions.",
    ),
    "solver": (
        lambda: PCA(solver="fast"),
        "solver='fast'; choose from auto, full, randomised.",
    ),
    "not fitted": (lambda: PCA().transform(A), "this PCA is not fitted yet; call fit first."),
    "nothing to save": (lambda: LDA().to_arrays(), "this LDA is not fitted yet; call fit first."),
    "other features": (
        lambda: PCA().fit(A).transform(B),
        "a has 2 features; this was fitted to 3. Pass rows of the same kind as in fit.",
    ),
    "missing": (
        lambda: LDA.from_arrays({"mean": [0]}),
        "LDA is made of the arrays mean, basis, separation; basis, separation are missing.",
    ),
    "one missing": (
        lambda: LinearMap.from_arrays({"mean_a": [0], "mean_b": [0]}),
        "LinearMap is made of the arrays mean_a, mean_b, matrix; matrix is missing.",
    ),
    "shrinkage": (lambda: LDA(shrinkage=2.0), "shrinkage=2.0; choose from 0 to 1."),
    "classes": (
        lambda: LDA().fit(A, np.zeros((6, 1))),
        "classes has shape [6, 1]; pass one class for each of the 6 rows.",
    ),
    "nan class": (
        lambda: LDA().fit(A, np.full(6, np.nan)),
        "classes holds nan in row 0; leave out the rows that have no class.",
    ),
    "one class": (
        lambda: LDA().fit(A, np.full(6, 7)),
        "all 6 rows are of class 7; LDA needs two classes.",
    ),
    "too many classes": (
        lambda: LDA().fit(A, np.arange(6)),
        "6 rows of 6 classes; LDA needs more rows than classes.",
    ),
    "discriminants": (
        lambda: LDA(2).fit(A, np.array([0, 1] * 3)),
        "components=2; choose from 1 to 1, 2 classes of 3 features give no more.",
    ),
    "nothing varies": (
        lambda: LDA().fit(np.repeat([[0.0], [1.0]], 3, axis=0), np.repeat([0, 1], 3)),
        "no feature varies within a class; LDA has nothing to compare with.",
    ),
    "rows": (
        lambda: CCA().fit(A, B[:5]),
        "a has 6 rows and b has 5; row i of both must belong to one sample.",
    ),
    "constant": (
        lambda: CCA().fit(A, np.ones((6, 2))),
        "no feature of b varies; CCA has nothing to correlate.",
    ),
    "cca ridge": (
        lambda: CCA(ridge=-1.0),
        "ridge=-1.0; choose a number that is not negative.",
    ),
    "ridge": (
        lambda: LinearMap(ridge=float("nan")),
        "ridge=nan; choose a number that is not negative.",
    ),
    "unequal": (
        lambda: Procrustes().fit(A, B),
        "a has 3 features and b has 2; a rotation needs as many in both. "
        "LinearMap maps between unequal ones.",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_is_wrong_and_how_to_mend_it(case):
    make, message = ERRORS[case]
    with pytest.raises(AlignError) as caught:
        make()
    assert str(caught.value) == message
