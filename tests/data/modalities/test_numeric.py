"""Numbers, however they are written."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.data.modalities.numeric import NumericModality, to_number
from plait.errors import CellError

NUMERIC = NumericModality()
FREE = Settings(Media(None))


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        (1, 1), (2.5, 2.5), (True, 1), (False, 0), (np.int8(-3), -3), (np.float32(0.5), 0.5),
        (np.bool_(True), 1), (Decimal("1.5"), 1.5), (Fraction(1, 4), 0.25), (np.array([7]), 7),
        ("1.5", 1.5), (" -2 ", -2), ("+3e2", 300), ("1,234.5", 1234.5), ("1,234,567", 1234567),
        ("1.234,5", 1234.5), ("1.234.567", 1234567), ("1,5", 1.5), ("0,123", 0.123),
        ("12,34567", 12.34567), ("\u22125", -5), ("٣", 3), ("1.234", 1.234),
        ("NA", None), ("n/a", None), ("nan", None), ("NULL", None), ("None", None), ("?", None),
        ("-", None), (" ", None), (None, None), (float("nan"), None), (np.float64("nan"), None),
        (Decimal("nan"), None),
    ],
)  # fmt: skip
def test_reads(cell: object, number: float | None) -> None:
    assert to_number(cell) == number


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("seven", "'seven' is not a number"),
        ("12 kg", "'12 kg' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("x" * 99, f"'{'x' * 79}…' is not a number"),
        ("9" * 500, f"'{'9' * 79}…' is not a number"),
        ("a\nb", "'a·b' is not a number"),
        ("1,234", "'1,234' could be 1.234 or 1234: write it without the comma"),
        (float("inf"), "'inf' is infinite, expected a finite number"),
        ("-Infinity", "'-Infinity' is infinite, expected a finite number"),
        (np.float32("inf"), "'inf' is infinite, expected a finite number"),
        ("1e999", "'1e999' is infinite, expected a finite number"),
        (10**400, f"'1{'0' * 78}…' is too large for a number"),
        (1j, "is a complex, expected a number"),
        ([1, 2], "is a list, expected a number"),
        (np.array([1, 2]), "is an array of 2 values, expected one number"),
        (b"1", "is a bytes, expected a number"),
        (np.datetime64("2024-01-01"), "is a datetime64, expected a number"),
    ],
)
def test_refuses(cell: object, reason: str) -> None:
    with pytest.raises(CellError) as caught:
        to_number(cell)
    assert str(caught.value) == reason


def test_scaled_by_median_and_quartiles() -> None:
    numbers = np.random.default_rng(0).normal(50, 4, 5000)
    state = NUMERIC.fit(numbers.tolist(), FREE)
    assert state["center"] == pytest.approx(50, abs=0.2) and state["scale"] == pytest.approx(
        4, abs=0.2
    )
    prepared = NUMERIC.prepare([54, "46", 1e12], state, FREE)
    assert prepared.values.dtype == np.float32 and prepared.values.shape == (3, 1)
    np.testing.assert_allclose(prepared.values[:, 0], [1, -1, 10], atol=0.1)
    assert len(state["quantiles"]) == 33 and state["quantiles"] == sorted(state["quantiles"])
    assert NUMERIC.describe(state).endswith(f"median {state['center']:.4g}")


def test_one_wild_value_does_not_squeeze_the_others() -> None:
    state = NUMERIC.fit([*range(100), 1e300], FREE)
    assert 30 < state["scale"] < 50


def test_mostly_zero() -> None:
    state = NUMERIC.fit([0] * 95 + [10] * 5, FREE)
    assert not state["constant"] and state["scale"] == pytest.approx(np.std([0] * 95 + [10] * 5))


@pytest.mark.parametrize("cells", [[5, 5, 5], [5], [0, 0]])
def test_constant(cells: list[object]) -> None:
    state = NUMERIC.fit(cells, FREE)
    assert state["constant"] and NUMERIC.describe(state) == f"always {cells[0]}"
    assert NUMERIC.prepare(cells, state, FREE).values.tolist() == [[0.0]] * len(cells)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_numbers_stay_finite(cells: list[float], other: float) -> None:
    state = NUMERIC.fit(cells, FREE)
    values = NUMERIC.prepare([*cells, other], state, FREE).values
    assert np.isfinite(values).all() and np.abs(values).max() <= 10


def test_matches() -> None:
    found = NUMERIC.matches("x", [1.5] * 50, FREE)
    assert (found.strength, found.reason) == (0.9, "all 50 sampled cells are numbers")
    found = NUMERIC.matches("x", ["1", "2", "3", "4", "five"], FREE)
    assert found.reason == "4 of 5 sampled cells are numbers"
    assert NUMERIC.matches("x", ["1", "NA", "3"], FREE).strength == 0.9
    assert NUMERIC.matches("x", ["NA", "?"], FREE) is None
    assert NUMERIC.matches("x", ["a", "1"], FREE) is None
    assert NUMERIC.matches("x", [True, False], FREE).strength == 0.5
