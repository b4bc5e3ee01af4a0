"""Parse FHIR's dates and times as spans of time, and compare them as searches do.

The length of a span is the precision: `1970` is a year, `1970-05-02T10:00Z` a minute
(https://hl7.org/fhir/R4/search.html#date). Dates without a time zone are in UTC.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

NANOSECONDS: Final = 1_000_000_000  # in a second
DAY: Final = 24 * 60 * 60 * NANOSECONDS

_EPOCH: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date.max.toordinal() - _EPOCH
_FIRST_DAY: Final = date.min.toordinal() - _EPOCH
_DATE: Final = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]|60)(?:\.([0-9]+))?)?"
    r"(?:(Z)|([+-])(?:(0[0-9]|1[0-3]):([0-5][0-9])|(14):(00))))?)?)?"
)


class Prefix(StrEnum):
    """A comparison operator of a date search."""

    EQ = "eq"
    GE = "ge"
    LE = "le"
    GT = "gt"
    LT = "lt"


@dataclass(frozen=True)
class Span:
    """A span of nanoseconds since 1970, from `low` (inclusive) to `high` (exclusive)."""

    low: int
    high: int

    def contains(self, other: "Span") -> bool:
        """Return whether the other span lies within this one."""
        return self.low <= other.low and other.high <= self.high


def span(text: str) -> Span | None:
    """Return the span of a date, dateTime, instant or time to the minute, None for a text that is none of them."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, *zone = match.groups()
    first = _day(int(year), int(month or 1), int(day or 1))
    if first is None:
        return None
    if hour is None:
        return Span(first * DAY, _after(int(year), month, first if day else None) * DAY)
    seconds = (int(hour) * 60 + int(minute)) * 60 + int(second or 0)
    digits = (fraction or "")[:9]
    low = first * DAY + seconds * NANOSECONDS + int(digits.ljust(9, "0"))
    if sign:
        hours, minutes = (int(part) for part in zone if part is not None)
        low -= (hours * 60 + minutes) * 60 * NANOSECONDS * (-1 if sign == "-" else 1)
    length = 60 * NANOSECONDS if second is None else 10 ** (9 - len(digits))
    return Span(low, low + length)


def date_matches(prefix: Prefix, value: Span, element: Span) -> bool:
    """Return whether a resource's date matches a search value (https://hl7.org/fhir/R4/search.html#prefix)."""
    if prefix is Prefix.EQ:
        return value.contains(element)
    if prefix is Prefix.GT:
        return element.high > value.high
    if prefix is Prefix.LT:
        return element.low < value.low
    if prefix is Prefix.GE:
        return element.high > value.high or value.contains(element)
    return element.low < value.low or value.contains(element)


def reach(prefix: Prefix, value: Span) -> tuple[int | None, int | None]:
    """Return the nanoseconds, end excluded, into which every matching span extends. None leaves a side open."""
    low = {Prefix.EQ: value.low, Prefix.GE: value.low, Prefix.GT: value.high}.get(prefix)
    high = {Prefix.EQ: value.high, Prefix.LE: value.high, Prefix.LT: value.low}.get(prefix)
    return low, high


def year_of(nanoseconds: int) -> int:
    """Return the year of a time, between 1 and 9999."""
    return date.fromordinal(_EPOCH + min(max(nanoseconds // DAY, _FIRST_DAY), _LAST_DAY)).year


def _day(year: int, month: int, day: int) -> int | None:
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def _after(year: int, month: str | None, day: int | None) -> int:
    """Return the day after a day, or the first day after a month or a year."""
    if day is not None:
        return day + 1
    year, number = (year + 1, 1) if month in {None, "12"} else (year, int(month or 0) + 1)
    # `date` ends with the year 9999.
    return date(year, number, 1).toordinal() - _EPOCH if year <= date.max.year else _LAST_DAY + 1
