"""Categories: the same value however it is typed, and values never seen before."""

import numpy as np
import pytest

from plait.data.media import Limits, Media
from plait.data.modalities import categorical as module
from plait.data.modalities.base import Settings
from plait.data.modalities.categorical import CategoricalModality, to_category

CATEGORICAL = CategoricalModality()
FREE = Settings(Media(None))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "1"), (1.0, "1"), ("1.0", "1"), ("1", "1"), (np.int64(1), "1"), (np.float32(1), "1"),
        (-2.0, "-2"), ("-2.00", "-2"), (1.5, "1.5"), ("1.50", "1.50"), (True, "True"),
        (np.bool_(False), "False"), (" red ", "red"), ("红", "红"), ("v1.0", "v1.0"), (1e300, "1e+300"),
        (b"red", "red"),
    ],
)  # fmt: skip
def test_values_become_text(cell: object, text: str) -> None:
    assert to_category(cell, Limits()) == text


def test_commonest_first_then_by_name() -> None:
    state = CATEGORICAL.fit(["b", "a", "c", "c", None, ""], FREE)
    assert state == {"values": ["c", "a", "b"], "dropped": 0}
    assert CATEGORICAL.describe(state) == "3 categories: c, a, b"
    prepared = CATEGORICAL.prepare(["a", "c", "new", None, 7], state, FREE)
    assert prepared.values.tolist() == [2, 1, 0, 0, 0]
    assert prepared.present.tolist() == [True, True, True, False, True]
    assert prepared.values.dtype == np.int64 and not prepared.problems


def test_refusals(reasons) -> None:
    cells = [["a"], ("a",), {"a": 1}, np.array([1]), "\udfff", "x" * 1_000_001]
    assert reasons(CATEGORICAL, ["a"], cells) == [
        "is a list, expected one category",
        "is a tuple, expected one category",
        "is a dict, expected one category",
        "is a ndarray, expected one category",
        "holds half a character (lone surrogate)",
        "holds 1 MB of text, more than the cap of 1 MB (max_text_mb)",
    ]


def test_no_more_than_the_commonest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CATEGORIES", 2)
    state = CATEGORICAL.fit(["a", "b", "b", "c", "c"], FREE)
    assert state == {"values": ["b", "c"], "dropped": 1}
    assert CATEGORICAL.describe(state) == "2 categories: b, c (1 rarer ones count as unseen)"


def test_describe() -> None:
    assert CATEGORICAL.describe({"values": ["x" * 50], "dropped": 0}) == f"1 category: {'x' * 19}…"
    assert CATEGORICAL.describe({"values": [], "dropped": 0}) == "0 categories"
    many = {"values": list("abcdefg"), "dropped": 0}
    assert CATEGORICAL.describe(many) == "7 categories: a, b, c, d, e, …"


def strength(cells: list[object]) -> float:
    found = CATEGORICAL.matches("x", cells, FREE)
    return found.strength if found else 0.0


def test_matches() -> None:
    found = CATEGORICAL.matches("x", ["red", "blue"] * 20, FREE)
    assert (found.strength, found.reason) == (0.9, "2 different values in all 40 sampled cells")
    assert CATEGORICAL.matches("x", [True, False], FREE).reason == (
        "all 2 sampled cells are true or false"
    )
    assert strength([1, 2, 3] * 10) == 0.5
    assert strength([1.5, 2.25, 3.125]) == 0
    assert strength([f"name{n % 25}" for n in range(100)]) == 0.75
    assert strength([f"a b c d {n % 25}" for n in range(100)]) == 0.4
    assert strength([f"name{n}" for n in range(30)]) == 0.3
    assert strength(["a", "b"]) == 0.5
    assert strength([f"a/{n}.png" for n in range(30)]) == 0.2
    assert strength([["a"]]) == strength([b"\xff"]) == strength(["2024", None, "x", object()]) == 0
    assert strength(["x", np.array(1)]) == 0
