"""FHIR's dates and times as what they are: spans of time, as long as their precision leaves open.

`1970` is a whole year, `1970-05-02T10:00Z` a minute (https://hl7.org/fhir/R4/search.html#date). What has no time zone
is taken as UTC.
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
    """Nanoseconds since 1970, from `low` to just before `high`."""

    low: int
    high: int

    def holds(self, other: "Span") -> bool:
        """Return whether the other span lies within this one."""
        return self.low <= other.low and other.high <= self.high


def span(text: str) -> Span | None:
    """The span of a date, a dateTime, an instant or a time to the minute; None for what is none or does not exist."""
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


def compares(prefix: Prefix, asked: Span, held: Span) -> bool:
    """Return whether a resource's date matches a search value (https://hl7.org/fhir/R4/search.html#prefix)."""
    if prefix is Prefix.EQ:
        return asked.holds(held)
    if prefix is Prefix.GT:
        return held.high > asked.high
    if prefix is Prefix.LT:
        return held.low < asked.low
    if prefix is Prefix.GE:
        return held.high > asked.high or asked.holds(held)
    return held.low < asked.low or asked.holds(held)


def reach(prefix: Prefix, asked: Span) -> tuple[int | None, int | None]:
    """A window, from the one nanosecond to just before the other, into which all that compares has to extend.

    None where it is open.
    """
    low = {Prefix.EQ: asked.low, Prefix.GE: asked.low, Prefix.GT: asked.high}.get(prefix)
    high = {Prefix.EQ: asked.high, Prefix.LE: asked.high, Prefix.LT: asked.low}.get(prefix)
    return low, high


def year_of(nanoseconds: int) -> int:
    """The year of an instant, between 1 and 9999."""
    return date.fromordinal(_EPOCH + min(max(nanoseconds // DAY, _FIRST_DAY), _LAST_DAY)).year


def _day(year: int, month: int, day: int) -> int | None:
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def _after(year: int, month: str | None, day: int | None) -> int:
    """The day after a day, a month or a year."""
    if day is not None:
        return day + 1
    year, number = (year + 1, 1) if month in {None, "12"} else (year, int(month or 0) + 1)
    # The year 10000 is beyond `date`.
    return date(year, number, 1).toordinal() - _EPOCH if year <= date.max.year else _LAST_DAY + 1
