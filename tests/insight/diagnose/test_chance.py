"""Tests of significance against figures from the literature."""

import math

import numpy as np
import pytest

from plait.insight.diagnose.chance import adjusted, larger, too_many


def test_adjusted_on_benjamini_and_hochbergs_example():
    """Fifteen p-values of section 4.1 (1995): at 0.05 the first four are findings."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    q = adjusted(np.array(p))
    np.testing.assert_allclose(q[:5], [0.0015, 0.0030, 0.0095, 0.035625, 0.0603])
    assert (q <= 0.05).sum() == 4 and q[-1] == 1.0


def test_adjusted_leaves_nan_out():
    np.testing.assert_allclose(adjusted(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    assert np.isnan(adjusted(np.full(2, np.nan))).all()
    assert adjusted(np.zeros(0)).shape == (0,)


def test_too_many_on_the_lady_tasting_tea():
    assert too_many(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert too_many(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert too_many(0, 4, 4, 4) == 1.0  # one-sided: too few are no finding


def test_larger_on_hollander_and_wolfes_example():
    """Permeability of membranes (1999, p. 110): W = 35 of 50, spread √(10 · 5 · 16 / 12)."""
    here = np.array([0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46])
    there = np.array([1.15, 0.88, 0.90, 0.74, 1.21])
    z = (35 - 25 - 0.5) / math.sqrt(10 * 5 * 16 / 12)
    assert larger(here, there) == pytest.approx(math.erfc(z / math.sqrt(2)) / 2)
    assert larger(there, here) > 0.5  # one-sided


def test_larger_corrects_for_ties():
    here, there = np.array([1.0, 2.0, 2.0]), np.array([0.0, 1.0, 1.0, 2.0])
    pairs = [(a > b) + (a == b) / 2 for a in here for b in there]
    tied = (3**3 - 3 + 3**3 - 3) / (7 * 6)  # three ones, three twos
    z = (sum(pairs) - 6 - 0.5) / math.sqrt(12 / 12 * (8 - tied))
    assert larger(here, there) == pytest.approx(math.erfc(z / math.sqrt(2)) / 2)
    assert larger(np.ones(5), np.ones(9)) == 1.0
