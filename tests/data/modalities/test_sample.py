"""Samples for `fit`, and what `matches` shares."""

import pytest

from plait.data.media import Media
from plait.data.modalities import evidence
from plait.data.modalities.base import Evidence, Settings, is_missing
from plait.data.modalities.sample import sample


def test_few_cells_are_all_taken() -> None:
    assert sample([3, None, 1, "", 2], 5) == [3, 1, 2]


def test_many_cells_are_sampled_fairly_and_always_alike() -> None:
    chosen = sample(range(10_000), 200)
    assert chosen == sorted(chosen) == sample(iter(range(10_000)), 200)
    assert len(set(chosen)) == 200
    assert 4000 < sum(chosen) / 200 < 6000


def test_missing() -> None:
    nothing = [None, float("nan"), "", " \n", {"bytes": None, "path": None}, {"path": ""}, {}]
    assert all(map(is_missing, nothing))
    something = [0, False, "nan", b"", [], {"bytes": b""}, {"path": "a"}, {"a": None}, object()]
    assert not any(map(is_missing, something))


def test_missing_values_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    assert is_missing(pandas.NaT) and is_missing(pandas.NA)


def test_a_look_inside_that_fails_is_told() -> None:
    def look(cell: object) -> None:
        raise ValueError("odd bytes")

    found = evidence.media_evidence(
        "image", ["a.png"], Settings(Media(None)), frozenset({".png"}), lambda _: True, look
    )
    assert found == Evidence(
        0.75,
        "the one sampled cell ends in .png, but none of the 1 opened could be read: "
        "'a.png': cannot be decoded (odd bytes)",
    )


def test_path_text() -> None:
    assert evidence.path_text({"path": "a.png"}) == "a.png"
    assert evidence.path_text("a\nb") is None and evidence.path_text(3) is None
