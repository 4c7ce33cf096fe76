"""Dates in the ways people write them."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.data.modalities.datetime import DatetimeModality, to_moment
from plait.errors import CellError

DATETIME = DatetimeModality()
FREE = Settings(Media(None))
DAY = datetime(2024, 1, 31)
TIME = datetime(2024, 1, 31, 13, 5)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        (DAY, DAY), (date(2024, 1, 31), DAY), (np.datetime64("2024-01-31"), DAY),
        (datetime(2024, 1, 31, 14, 5, tzinfo=timezone(timedelta(hours=1))), TIME),
        ("2024-01-31", DAY), ("2024/1/31", DAY), ("2024.01.31", DAY), ("2024年1月31日", DAY),
        ("2024-01", datetime(2024, 1, 1)), ("2024年1月", datetime(2024, 1, 1)),
        ("31/01/2024", DAY), ("31.01.2024", DAY), ("31-1-24", DAY),
        ("31.1.99", datetime(1999, 1, 31)),
        ("31 January 2024", DAY), ("31-Jan-2024", DAY), ("31. jan. 2024", DAY), ("Jan 31, 2024", DAY),
        ("January 31st 2024", DAY), ("Wed, 31 Jan 2024", DAY), ("Wednesday, Jan 31 2024", DAY),
        ("1 Sept 2024", datetime(2024, 9, 1)),
        ("2024-01-31T13:05", TIME), ("2024-01-31 13:05:00.000", TIME), ("31/01/2024 13:05", TIME),
        ("31/01/2024 1:05 PM", TIME), ("31/01/2024 12:05 a.m.", datetime(2024, 1, 31, 0, 5)),
        ("2024-01-31T14:05+01:00", TIME), ("2024-01-31T12:05:00-0100", TIME),
        ("2024-01-31T13:05Z", TIME), ("Wed, 31 Jan 2024 13:05:00 GMT", TIME),
        ("20240131T1305", TIME), ("2024-W05-3", DAY),
        ("NaT", None), ("n/a", None), (None, None), (np.datetime64("NaT"), None),
    ],
)  # fmt: skip
def test_reads(cell: object, moment: datetime | None) -> None:
    assert to_moment(cell, "dmy") == moment


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("tomorrow", "'tomorrow' is not a date, expected for instance 2024-01-31"),
        ("2024-13-01", "'2024-13-01' is not a date, expected for instance 2024-01-31"),
        ("2024-02-30", "'2024-02-30' is not a date, expected for instance 2024-01-31"),
        ("99 Foo 2024", "'99 Foo 2024' is not a date, expected for instance 2024-01-31"),
        (
            "31/01/2024 13:05 PM",
            "'31/01/2024 13:05 PM' is not a date, expected for instance 2024-01-31",
        ),
        ("20240131", "'20240131' is not a date, expected for instance 2024-01-31"),
        ("1" * 99, f"'{'1' * 79}…' is not a date, expected for instance 2024-01-31"),
        ("01/31/2024", "'01/31/2024' is month first, while the column's dates are day first"),
        (1706659200, "is a int, expected a date such as 2024-01-31"),
        (np.datetime64(10**9, "Y"), "is a int, expected a date such as 2024-01-31"),
    ],
)
def test_refuses(cell: object, reason: str) -> None:
    with pytest.raises(CellError) as caught:
        to_moment(cell, "dmy")
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("cells", "order", "decided", "words"),
    [
        (["31/01/2024", "03/04/2024"], "dmy", True, "day first"),
        (["01/31/2024", "03/04/2024"], "mdy", True, "month first"),
        (["03/04/2024", "05/06/2024"], "mdy", False, "month first if unclear"),
        (["03.04.2024", "05.06.2024"], "dmy", False, "day first if unclear"),
        (["31/01/2024", "01/31/2024"], "mdy", False, "month first if unclear"),
        (["2024-04-03"], "dmy", True, "day first"),
    ],
)
def test_the_data_decide_whether_the_day_is_first(
    cells: list[object], order: str, decided: bool, words: str
) -> None:
    state = DATETIME.fit(cells, FREE)
    assert (state["order"], state["decided"]) == (order, decided)
    assert DATETIME.describe(state).endswith(words)


def test_features() -> None:
    cells = ["2024-01-01", "2024-01-02", "2024-01-03"]
    state = DATETIME.fit(cells, FREE)
    assert state["times"] is False and state["std"] == pytest.approx(86400 * np.std([0, 1, 2]))
    assert DATETIME.describe(state) == "dates around 2024-01-02, day first"
    values = DATETIME.prepare(cells, state, FREE).values
    assert values.shape == (3, 7) and values.dtype == np.float32
    np.testing.assert_allclose(values[:, 0], [-1.2247, 0, 1.2247], atol=1e-3)
    np.testing.assert_allclose(values[0, 1:], [0, 1, 0, 1, 0, 1], atol=1e-6)  # a Monday, 1 January


def test_times_of_the_day_add_two_features() -> None:
    cells = ["2024-01-01 06:00", "2024-01-01 18:00"]
    state = DATETIME.fit(cells, FREE)
    values = DATETIME.prepare(cells, state, FREE).values
    assert state["times"] and DATETIME.describe(state).startswith("dates and times around")
    np.testing.assert_allclose(values[:, 7:], [[1, 0], [-1, 0]], atol=1e-6)


def test_one_date_and_dates_far_away() -> None:
    state = DATETIME.fit(["2024-01-01"], FREE)
    values = DATETIME.prepare(["2024-01-01", "9999-12-31", "0001-01-01"], state, FREE).values
    assert values[:, 0].tolist() == [0, 10, -10]


@given(st.datetimes(), st.sampled_from(["dmy", "mdy"]))
def test_iso_is_never_misread(moment: datetime, order: str) -> None:
    whole = moment.replace(microsecond=0)
    assert to_moment(whole.isoformat(), order) == whole
    assert to_moment(whole.replace(tzinfo=UTC), order) == whole


@given(st.dates(min_value=date(1000, 1, 1)))
def test_both_orders(day: date) -> None:
    moment = datetime(day.year, day.month, day.day)
    assert to_moment(f"{day:%d/%m/%Y}", "dmy") == to_moment(f"{day:%m/%d/%Y}", "mdy") == moment


@given(st.text(max_size=70))
def test_any_text_is_a_date_or_refused(text: str) -> None:
    try:
        to_moment(text, "dmy")
    except CellError as error:
        assert "is not a date" in str(error) or "while the column" in str(error)


def test_matches() -> None:
    found = DATETIME.matches("x", ["2024-01-31"] * 9 + ["soon"], FREE)
    assert found.strength == pytest.approx(0.855)
    assert found.reason == "9 of 10 sampled cells are dates"
    assert DATETIME.matches("x", ["12/31/2024", "1/2/2024"], FREE).strength == 0.95
    assert DATETIME.matches("x", [2023, 2024], FREE) is None
    assert DATETIME.matches("x", ["2023", "20240131"], FREE) is None
    assert DATETIME.matches("x", ["1.5", "2.25"], FREE) is None
