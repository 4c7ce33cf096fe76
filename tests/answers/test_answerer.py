"""Which streams a caller may ask for."""

from typing import Any

import pytest

from plait.answers.answerer import check_streams
from plait.errors import ConfigError


def test_names_in_any_collection_are_a_list():
    assert check_streams(None, ["note"]) is None
    for names in (("note",), {"note"}, {"note": 1}.keys()):
        assert check_streams(names, ["note", "photo"]) == ["note"]


@pytest.mark.parametrize(
    ("streams", "shown"),
    [
        ("note", "'note'"),
        ([], "[]"),
        ((), "()"),
        ([1], "[1]"),
        (["note", None], "['note', None]"),
        (5, "5"),
    ],
)
def test_what_is_no_list_of_names_is_refused_in_one_line(streams: Any, shown: str):
    with pytest.raises(ConfigError) as caught:
        check_streams(streams, ["note"])
    assert str(caught.value).endswith(f"streams: expected a list of names, got {shown}")
    assert str(caught.value).count("streams:") == 1
