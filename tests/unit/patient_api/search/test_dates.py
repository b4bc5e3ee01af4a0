from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.fhir.dates import DAY, NANOSECONDS, Prefix, Span, date_matches, reach, span, year_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DATES = st.dates()
ZONES = st.integers(-14 * 60, 14 * 60)
TIMES = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31))  # noqa: DTZ001 - the zone comes later
SPANS = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))


def nanoseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1) * 1000


def offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


@given(DATES)
def test_partial_date_spans_all_its_days(day: date) -> None:
    whole, month, year = span(day.isoformat()), span(day.isoformat()[:7]), span(day.isoformat()[:4])
    assert whole is not None
    assert month is not None
    assert year is not None
    assert whole == Span((day - date(1970, 1, 1)).days * DAY, ((day - date(1970, 1, 1)).days + 1) * DAY)
    assert year.contains(month)
    assert month.contains(whole)
    assert (month.high - month.low) // DAY in {28, 29, 30, 31}
    assert (year.high - year.low) // DAY == (366 if year_is_leap(day.year) else 365)
    assert year_of(whole.low) == year_of(year.high - 1) == day.year


def year_is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@given(TIMES, ZONES, st.integers(0, 6))
def test_span_of_instant_has_the_length_of_its_precision(time: datetime, zone: int, digits: int) -> None:
    fraction = f"{time.microsecond:06d}"[:digits]
    text = time.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + (f".{fraction}" if digits else "") + offset(zone)
    element = span(text)
    expected_time = time.replace(microsecond=int(fraction.ljust(6, "0") or 0), tzinfo=timezone(timedelta(minutes=zone)))
    assert element is not None
    assert element.low == nanoseconds(expected_time)
    assert element.high - element.low == NANOSECONDS // 10**digits


def test_minutes_leap_seconds_and_the_last_day_are_parsed() -> None:
    minute, second = span("1970-01-01T00:01Z"), span("1970-01-01T00:00:60Z")
    assert minute == Span(60 * NANOSECONDS, 120 * NANOSECONDS)
    assert second is not None
    assert second.low == 60 * NANOSECONDS
    last = span("9999")
    assert last is not None
    assert last.high // DAY == (date.max - date(1970, 1, 1)).days + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "70",
        "0000",
        "1970-13",
        "1970-00",
        "2023-02-29",
        "1970-1-1",
        "1970-05-02T10",
        "1970-05-02T10:00:00",
        "1970-05-02T24:00:00Z",
        "1970-05-02T10:00:00+15:00",
        "1970-05-02T10:00:00 02:00",
        "1970-05-02Z",
        "١٩٧٠",
        "1970\n",
    ],
)
def test_invalid_date_is_not_parsed(text: str) -> None:
    assert span(text) is None


@given(st.sampled_from(Prefix), SPANS, SPANS)
def test_prefixes_match_as_fhir_defines(prefix: Prefix, value: Span, element: Span) -> None:
    moments, searched = set(range(element.low, element.high)), set(range(value.low, value.high))
    above, below = set(range(value.high, 30)), set(range(-1, value.low))
    contained = moments <= searched
    expected = {
        Prefix.EQ: contained,
        Prefix.GT: bool(above & moments),
        Prefix.LT: bool(below & moments),
        Prefix.GE: bool(above & moments) or contained,
        Prefix.LE: bool(below & moments) or contained,
    }
    assert date_matches(prefix, value, element) == expected[prefix]


@given(st.sampled_from(Prefix), SPANS, SPANS)
def test_matching_span_extends_into_the_reach(prefix: Prefix, value: Span, element: Span) -> None:
    low, high = reach(prefix, value)
    window = set(range(-1 if low is None else low, 30 if high is None else high))
    if date_matches(prefix, value, element):
        assert window & set(range(element.low, element.high))
