"""The map: groups stay apart, the same vectors give the same map, and odd tables have one too."""

import numpy as np
import pytest
from sklearn.decomposition import PCA as Principal  # noqa: N811

from plait.insight.diagnose.plane import MAX_TSNE_ROWS, MIN_TSNE_ROWS, PCA, TSNE, flatten


def groups(rng, rows):
    label = np.arange(rows) % 3
    return label, (np.eye(3, 20)[label] * 8 + rng.normal(size=(rows, 20))).astype(np.float32)


def test_groups_stay_apart_and_the_map_is_the_same_again(rng):
    label, vectors = groups(rng, 60)
    found = flatten(vectors)
    assert found.method == TSNE and found.places.shape == (60, 2)
    assert found.kept == pytest.approx(1)  # all 20 components are seen
    gaps = np.linalg.norm(found.places[:, None] - found.places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (label[gaps.argmin(axis=1)] == label).all()
    np.testing.assert_array_equal(flatten(vectors).places, found.places)


def test_few_rows_lie_on_their_principal_components(rng):
    _, vectors = groups(rng, MIN_TSNE_ROWS - 1)
    found, right = flatten(vectors), Principal(2).fit(vectors)
    assert found.method == PCA
    np.testing.assert_allclose(np.abs(found.places), np.abs(right.transform(vectors)), atol=1e-4)
    assert found.kept == pytest.approx(right.explained_variance_ratio_.sum(), abs=1e-4)


def test_many_rows_do_so_too(rng):
    found = flatten(rng.normal(size=(MAX_TSNE_ROWS + 1, 3)).astype(np.float32))
    assert found.method == PCA and np.isfinite(found.places).all()


@pytest.mark.parametrize("rows", [0, 1, 5, 40])
def test_vectors_that_are_all_the_same(rows):
    found = flatten(np.full((rows, 4), 0.1, np.float32))
    assert found.method == PCA and np.isnan(found.kept)
    np.testing.assert_array_equal(found.places, np.zeros((rows, 2)))


def test_vectors_of_one_dimension(rng):
    line = np.outer(rng.normal(size=5), np.ones(4)).astype(np.float32)
    found = flatten(line)
    assert found.kept == pytest.approx(1) and (found.places[:, 1] == 0).all()
    assert np.isfinite(flatten(np.repeat(line, 4, axis=0)).places).all()
