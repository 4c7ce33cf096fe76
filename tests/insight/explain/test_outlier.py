"""Distances against scikit-learn's neighbours, and what is far from all rows seen."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from plait.insight.explain.outlier import BANK_ROWS, NEIGHBOURS, Neighbourhood


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_it_is_the_distance_to_the_tenth_neighbour(rng):
    bank, new = (
        rng.normal(size=(80, 6)).astype(np.float32),
        rng.normal(size=(30, 6)).astype(np.float32),
    )
    found = Neighbourhood.fit(bank)
    trees = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(unit(bank))
    own = np.sort(trees.kneighbors(unit(bank))[0][:, NEIGHBOURS])  # the first is the row itself
    np.testing.assert_allclose(found.distances, own, atol=1e-3)
    away = trees.kneighbors(unit(new), n_neighbors=NEIGHBOURS)[0][:, -1]
    right = [100 * np.mean(own < one) for one in away]
    np.testing.assert_allclose(found.percentile(new), right, atol=2.6)


def test_rows_of_the_same_source_have_a_uniform_percentile():
    # Percentiles of one neighbourhood vary together; over many of them their mean is that of the source.
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = rng.normal((3, 0, 0, 0), size=(140, 4)).astype(np.float32)
        found.append(Neighbourhood.fit(rows[:100]).percentile(rows[100:]))
    whole = np.concatenate(found)
    assert whole.mean() == pytest.approx(50, abs=3)
    for share in (10, 50, 90):
        assert (whole < share).mean() == pytest.approx(share / 100, abs=0.05)


def test_what_lies_elsewhere_is_further_than_all(rng):
    here = (rng.normal(size=(200, 4)) * 0.2 + [1, 0, 0, 0]).astype(np.float32)
    there = (rng.normal(size=(20, 4)) * 0.2 + [-1, 0, 0, 0]).astype(np.float32)
    assert (Neighbourhood.fit(here).percentile(there) == 100).all()


def test_few_rows_and_many(rng):
    assert Neighbourhood.fit(rng.normal(size=(2, 4)).astype(np.float32)) is None
    three = Neighbourhood.fit(rng.normal(size=(3, 4)).astype(np.float32))
    assert three.k == 2 and len(three.distances) == 3
    many = Neighbourhood.fit(rng.normal(size=(BANK_ROWS + 300, 4)).astype(np.float32))
    assert many.bank.shape == (BANK_ROWS, 4) and many.k == NEIGHBOURS
    assert many.percentile(np.zeros((0, 4), np.float32)).shape == (0,)
    assert np.isfinite(many.percentile(np.zeros((2, 4), np.float32))).all()


def test_the_bundle_keeps_it(several, braid):
    import plait

    model, folder = several
    again = plait.load(folder)
    one, two = model.held.outlier, again.held.outlier
    assert one.k == two.k and np.array_equal(one.bank, two.bank)
    vectors = model.embed(braid / "test.csv")
    assert np.array_equal(one.percentile(vectors), two.percentile(vectors))
