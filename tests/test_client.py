"""What the client refuses before it asks anybody; how it asks is in tests/serve."""

from decimal import Decimal
from pathlib import Path

import pytest

from plait.client import Client, ServerError, to_value

PLACE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://a", "http://a:99999", 5, "http://me:word@a"]
)
def test_addresses_that_are_none(url, unchecked_shapes):
    with pytest.raises(ServerError, match="expected http://host:port"):
        Client(url)


def test_tokens():
    assert Client(PLACE, token="  a-token\n")._headers == {"Authorization": "Bearer a-token"}
    for token in ("", " \n", "a b", "a\nb", "秘密"):
        with pytest.raises(ServerError, match="token: expected ASCII characters") as caught:
            Client(PLACE, token=token)
        assert token not in str(caught.value) or not token.strip()


def test_a_time_limit_of_nothing():
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ServerError, match="expected seconds above 0"):
            Client(PLACE, timeout=seconds)


@pytest.mark.parametrize("rows", [{"text": "six"}, "abc", [1], ["six"]])
def test_rows_that_are_none(rows, unchecked_shapes):
    with pytest.raises(ServerError, match="rows: expected a list of dicts, one per row"):
        Client(PLACE).predict(rows)


def test_streams_in_one_text(unchecked_shapes):
    with pytest.raises(ServerError, match="streams='text': expected a list of names"):
        Client(PLACE).predict([{}], streams="text")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (Decimal(3), "Object of type Decimal is not JSON serializable"),
        ({1, 2}, "Object of type set"),
        ([float("inf")], "Out of range float values"),
    ],
)
def test_cells_that_cannot_be_sent_are_named(cell, told):
    with pytest.raises(ServerError, match=f"row 1, column 'price': {told}"):
        Client(PLACE).predict([{"price": 1.0}, {"price": cell}])


def test_values():
    assert to_value(float("nan")) is None  # as pandas has it
    assert to_value(2.5) == 2.5
    assert to_value(b"ab") == {"base64": "YWI="}
    assert to_value({"bytes": b"ab", "path": Path("x.png")}) == {"base64": "YWI=", "name": "x.png"}


def test_nobody_is_there():
    with pytest.raises(ServerError, match="127.0.0.1:9 did not respond"):
        Client(PLACE).predict([{"price": float("nan")}])
