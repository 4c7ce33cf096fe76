"""Dates and times: a position in time, and where in the year, month, week and day it falls."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import numpy as np

from plait.data.modalities.base import (
    Evidence,
    Modality,
    Prepared,
    Problem,
    Settings,
    State,
    is_missing,
)
from plait.data.modalities.evidence import be, quantity
from plait.errors import CellError, printable

ORDERS = {"dmy": "day first", "mdy": "month first"}
MISSING_WORDS = frozenset({"na", "n/a", "nat", "nan", "null", "none", "?", "-"})
MAX_DEVIATIONS = 10.0
"""Positions in time are cut at this many deviations: a typo cannot drown the rest."""

ASSUMED_SPREAD_SECONDS = 86400.0
"""Deviation, a day, of a column whose dates are all the same."""

SEARCHED_DAYS = 366
"""Days around the position in time that are looked at for a date that fits its other features: a year,
after which the turns of the calendar come back."""

EPOCH = datetime(1970, 1, 1)
_CLOCK = (
    r"(?:[ T,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([AaPp]\.?[Mm]\.?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?"
)
_YEAR_FIRST = re.compile(r"(\d{4})[-/.年](\d{1,2})(?:[-/.月](\d{1,2})日?)?月?" + _CLOCK)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})" + _CLOCK)
_DAY_NAME = re.compile(r"(?:\w+,? +)?(\d{1,2})\.?[ -]+([^\W\d]{3,12})\.?,?[ -]+(\d{4})" + _CLOCK)
_MONTH_NAME = re.compile(
    r"(?:\w+,? +)?([^\W\d]{3,12})\.? +(\d{1,2})(?:st|nd|rd|th)?,? +(\d{4})" + _CLOCK
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip


class DatetimeModality(Modality):
    """Dates to ``float32 [rows, 7]``, or 9 where the column has times of the day.

    Features: position in time, scaled by the training cells; then sine and cosine of the day of the
    year, of the day of the month, of the weekday and, with times, of the hour. What names a zone is
    brought to UTC; what does not is taken as it stands. Numbers are never guessed to be seconds since
    1970.

    State: ``order``, ``dmy`` or ``mdy``, for dates such as 03/04/2024; ``decided``, whether the data
    showed which; ``times``; ``mean`` and ``std`` in seconds since 1970.
    """

    name: ClassVar[str] = "datetime"
    tabular: ClassVar[bool] = True
    perturbable: ClassVar[bool] = False
    measure: ClassVar[str | None] = "time"

    def matches(self, name: str, cells: Sequence[object], settings: Settings) -> Evidence | None:
        """Dates, or text that reads as dates."""
        if not cells:
            return None
        order, _ = _find_order(cells)
        read = sum(_moment_or_none(cell, order) is not None for cell in cells)
        if read < 0.8 * len(cells):
            return None
        what = f"{quantity(read, len(cells))} {be(read, len(cells))} dates"
        return Evidence(0.95 * read / len(cells), what)

    def fit(self, cells: Iterable[object], settings: Settings) -> State:
        """Day or month first, whether there are times, and the middle and spread of the dates."""
        kept = [cell for cell in cells if not is_missing(cell)]
        order, decided = _find_order(kept)
        moments = [read for read in (_moment_or_none(cell, order) for cell in kept) if read]
        seconds = np.array([_seconds(moment) for moment in moments] or [0.0])
        return {
            "order": order,
            "decided": decided,
            "times": any(moment.time() != EPOCH.time() for moment in moments),
            "mean": float(seconds.mean()),
            "std": float(seconds.std()) or ASSUMED_SPREAD_SECONDS,
        }

    def prepare(self, cells: Sequence[object], state: State, settings: Settings) -> Prepared:
        """Read every date and compute its features."""
        width = 9 if state["times"] else 7
        values = np.zeros((len(cells), width), np.float32)
        present = np.zeros(len(cells), bool)
        problems: list[Problem] = []
        rows: list[int] = []
        moments: list[datetime] = []
        for row, cell in enumerate(cells):
            try:
                moment = to_moment(cell, state["order"])
            except CellError as error:
                problems.append(Problem(row, str(error)))
                continue
            if moment is not None:
                rows.append(row)
                moments.append(moment)
        if rows:
            values[rows] = moment_features(moments, state)[:, :width]
            present[rows] = True
        return Prepared(values, None, present, problems)

    def describe(self, state: State) -> str:
        """For instance ``dates around 2021-04-05, day first``."""
        middle = EPOCH + timedelta(seconds=state["mean"])
        kind = "dates and times" if state["times"] else "dates"
        order = (
            ORDERS[state["order"]] if state["decided"] else f"{ORDERS[state['order']]} if unclear"
        )
        return f"{kind} around {middle:%Y-%m-%d}, {order}"

    def compared(self, cell: object, state: State, settings: Settings) -> Any:
        """The moment, by the column's order of day and month; ``dmy`` where there is no state."""
        return to_moment(cell, state.get("order", "dmy"))

    def _restore(self, prepared: Prepared, state: State) -> list[Any]:
        """`date`, or `datetime` where the column has times."""
        return [_nearest(features, state) for features in prepared.values.astype(np.float64)]


def to_moment(cell: object, order: str) -> datetime | None:
    """A cell as a moment without a zone, or None where it says that there is none.

    Args:
        cell: a datetime, a date or text.
        order: ``dmy`` or ``mdy``, for text such as 03/04/2024.

    Raises:
        CellError: when it is no date, or one that contradicts the order.
    """
    if is_missing(cell):
        return None
    if isinstance(cell, np.datetime64):
        cell = cell.astype("datetime64[us]").item()
    if isinstance(cell, datetime):
        return _without_zone(cell)
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, str):
        raise CellError(f"is a {type(cell).__name__}, expected a date such as 2024-01-31")
    text = cell.strip()
    if text.lower() in MISSING_WORDS:
        return None
    try:
        moment = _parse(text, order) if len(text) <= 64 else None
    except (ValueError, OverflowError):
        moment = None
    if moment is not None:
        return moment
    other = "mdy" if order == "dmy" else "dmy"
    if _YEAR_LAST.fullmatch(text) and _moment_or_none(text, other, retry=False):
        raise CellError(
            f"'{printable(text)}' is {ORDERS[other]}, while the column's dates are {ORDERS[order]}"
        )
    raise CellError(f"'{printable(text)}' is not a date, expected for instance 2024-01-31")


def _moment_or_none(cell: object, order: str, retry: bool = True) -> datetime | None:
    try:
        return to_moment(cell, order) if retry else _parse(str(cell), order)
    except (CellError, ValueError, OverflowError):
        return None


def _parse(text: str, order: str) -> datetime | None:
    """Text as a moment; None or ValueError when it is none."""
    if text.isdigit():
        # Bare digits are years, identifiers or seconds more often than dates.
        return None
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day, *clock = match.groups()
        return _build(int(year), int(month), int(day or 1), clock)
    if match := _YEAR_LAST.fullmatch(text):
        first, _, second, late, *clock = match.groups()
        year_number = int(late)
        if len(late) == 2:
            year_number += 2000 if year_number < 70 else 1900
        day, month = (first, second) if order == "dmy" else (second, first)
        return _build(year_number, int(month), int(day), clock)
    if match := _DAY_NAME.fullmatch(text):
        day, word, year, *clock = match.groups()
        return _build(int(year), _month(word), int(day), clock)
    if match := _MONTH_NAME.fullmatch(text):
        word, day, year, *clock = match.groups()
        return _build(int(year), _month(word), int(day), clock)
    return _without_zone(datetime.fromisoformat(text))


def _build(year: int, month: int, day: int, clock: Sequence[str | None]) -> datetime:
    hour, minute, second, half, zone = clock
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError(hours)
        hours = hours % 12 + (12 if half[0] in "Pp" else 0)
    moment = datetime(year, month, day, hours, int(minute or 0), int(second or 0))
    if zone and zone[0] in "+-":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment += -shift if zone[0] == "+" else shift
    return moment


def _month(word: str) -> int:
    word = word.lower()
    if word in _LONG:
        return _LONG.index(word) + 1
    return _MONTHS.index("sep" if word == "sept" else word) + 1


def _without_zone(moment: datetime) -> datetime:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None)


def _find_order(cells: Iterable[object]) -> tuple[str, bool]:
    """Day or month first, by the majority of dates that allow but one, and whether there were any.

    Without any, dates with points or hyphens are day first, and dates with slashes month first.
    """
    votes: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    for cell in cells:
        match = (
            _YEAR_LAST.fullmatch(cell.strip()) if isinstance(cell, str) and len(cell) < 80 else None
        )
        if match:
            first, second = int(match[1]), int(match[3])
            marks[match[2]] += 1
            if first > 12 >= second:
                votes["dmy"] += 1
            elif second > 12 >= first:
                votes["mdy"] += 1
    if votes["dmy"] != votes["mdy"]:
        return ("dmy" if votes["dmy"] > votes["mdy"] else "mdy"), True
    return ("mdy" if marks["/"] > marks["."] + marks["-"] else "dmy"), not marks


def _nearest(features: np.ndarray, state: State) -> date | datetime | None:
    """The day whose features lie nearest, among those within a year of the position in time.

    The time of the day is the angle of its sine and cosine. None where the position lies outside the
    years 1 to 9999.
    """
    clock = timedelta(0)
    if state["times"]:
        turn = np.arctan2(features[7], features[8]) / (2 * np.pi) % 1.0
        clock = timedelta(minutes=round(turn * 24 * 60) % (24 * 60))
    try:
        near = EPOCH + timedelta(seconds=state["mean"] + float(features[0]) * state["std"])
        midnight = near.replace(hour=0, minute=0, second=0, microsecond=0)
        offsets = range(-SEARCHED_DAYS, SEARCHED_DAYS + 1)
        days = [midnight + clock + timedelta(days=offset) for offset in offsets]
    except OverflowError:
        return None
    of_days = moment_features(days, state)[:, : len(features)]
    best = days[int(np.square(of_days - features).sum(axis=1).argmin())]
    return best if state["times"] else best.date()


def _seconds(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds()


def moment_features(moments: Sequence[datetime], state: State) -> np.ndarray:
    """``[rows, 9]``: position, then sine and cosine of year, month, week and day."""
    seconds = np.array([_seconds(moment) for moment in moments])
    position = np.clip((seconds - state["mean"]) / state["std"], -MAX_DEVIATIONS, MAX_DEVIATIONS)
    turns = np.array(
        [
            (
                (moment.timetuple().tm_yday - 1) / 365.25,
                (moment.day - 1) / 31,
                moment.weekday() / 7,
                (moment.hour + moment.minute / 60 + moment.second / 3600) / 24,
            )
            for moment in moments
        ]
    )
    angles = 2 * np.pi * turns
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(moments), -1)
    return np.concatenate([position[:, None], waves], axis=1).astype(np.float32)
