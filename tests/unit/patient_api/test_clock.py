"""The hybrid logical clock."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.clock import LAST_COUNTER, MAX_AHEAD_MS, Clock, Stamp
from patient_api.errors import ClockAhead
from patient_api.store.model import is_id

NOW = 1_800_000_000_000
REGIONS = st.sampled_from(["us-east-1", "us-west-2", "eu-central-1"])
STAMPS = st.builds(
    Stamp,
    millis=st.integers(NOW - 100_000, NOW + 60_000),
    counter=st.integers(0, LAST_COUNTER),
    region=REGIONS,
)
ANY_STAMPS = st.builds(
    Stamp,
    millis=st.integers(0, 9_999_999_999_999),
    counter=st.integers(0, LAST_COUNTER),
    region=st.from_regex(r"[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True),
)
MOVES = st.lists(st.tuples(st.integers(-50, 50), st.none() | STAMPS, st.booleans()), max_size=30)
# For two clocks: their errors, and which clock ticks, by how much, whether it follows a stamp, and which one.
SKEWS = st.tuples(*[st.integers(-MAX_AHEAD_MS // 2, MAX_AHEAD_MS // 2)] * 2)
ACTIONS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0, 0, 1, 500]), st.booleans(), st.integers(0, 50)), max_size=40
)


@given(STAMPS | ANY_STAMPS, STAMPS | ANY_STAMPS)
def test_text_of_stamp_is_a_fhir_id_and_sorts_like_the_stamp(one: Stamp, other: Stamp) -> None:
    assert (str(one) < str(other)) == (one < other)
    assert is_id(str(one))
    assert Stamp.parse(str(one)) == one


@pytest.mark.parametrize("text", ["", "1", "1800000000000-0000", "١٨٠٠٠٠٠٠٠٠٠٠٠-0000-us-east-1", "x" * 64])
def test_invalid_text_is_not_parsed(text: str) -> None:
    assert Stamp.parse(text) is None


@given(MOVES)
def test_observed_stamps_increase(moves: list[tuple[int, Stamp | None, bool]]) -> None:
    now = NOW
    clock = Clock(region="us-east-1", now_ms=lambda: now, max_ahead_ms=10_000_000)
    accepted: list[Stamp] = []
    for step, after, accept in moves:
        now += step
        stamp = clock.next(after=after)
        assert after is None or (stamp.millis, stamp.counter) > (after.millis, after.counter)
        if accept:
            clock.observe(stamp)
            accepted.append(stamp)
    assert all(earlier < later for earlier, later in pairwise(accepted))


@given(st.lists(st.integers(-50, 50), max_size=30))
def test_stamps_increase_when_the_time_goes_back(steps: list[int]) -> None:
    now = NOW
    clock = Clock(region="us-east-1", now_ms=lambda: now)
    issued = []
    for step in steps:
        now += step
        issued.append(clock.next())
    assert all(earlier < later for earlier, later in pairwise(issued))
    assert all(stamp.millis <= NOW + 50 * len(steps) for stamp in issued)


@given(STAMPS)
def test_unobserved_stamp_does_not_move_the_clock(after: Stamp) -> None:
    clock = Clock(region="us-east-1", now_ms=lambda: NOW)
    clock.next(after=after)
    assert clock.next().millis == NOW


@given(st.integers(60_001, 10**9))
def test_stamp_too_far_ahead_is_rejected_without_effect(ahead: int) -> None:
    clock = Clock(region="us-east-1", now_ms=lambda: NOW)
    with pytest.raises(ClockAhead) as raised:
        clock.next(after=Stamp(NOW + ahead, 0, "us-west-2"))
    assert raised.value.ahead_ms == ahead
    assert clock.next() == Stamp(NOW, 0, "us-east-1")


def test_clock_set_back_too_far_raises_clock_ahead() -> None:
    now = NOW
    clock = Clock(region="us-east-1", now_ms=lambda: now)
    clock.next()
    now = NOW - 60_001
    with pytest.raises(ClockAhead):
        clock.next()


def test_full_counter_moves_to_the_next_millisecond() -> None:
    clock = Clock(region="us-east-1", now_ms=lambda: NOW)
    assert clock.next(after=Stamp(NOW, LAST_COUNTER, "us-west-2")) == Stamp(NOW + 1, 0, "us-east-1")


def test_time_of_stamp_is_its_physical_part() -> None:
    assert Stamp(NOW + 7, 3, "us-east-1").time.isoformat() == "2027-01-15T08:00:00.007000+00:00"


@given(SKEWS, ACTIONS)
def test_stamps_of_two_clocks_increase_and_stay_close_to_the_time(
    skews: tuple[int, int], moves: list[tuple[int, int, bool, int]]
) -> None:
    now = NOW
    clocks = [
        Clock(region="us-east-1", now_ms=lambda: now + skews[0]),
        Clock(region="us-west-2", now_ms=lambda: now + skews[1]),
    ]
    stamps: list[Stamp] = []
    own: tuple[list[Stamp], list[Stamp]] = ([], [])
    read: list[Stamp | None] = [None, None]
    for place, ticks, follow, pick in moves:
        now += ticks
        after = stamps[pick % len(stamps)] if stamps and follow else None
        if after:
            clocks[place].observe(after)
            read[place] = max(after, read[place] or after)
        stamp = clocks[place].next(after=after)
        clocks[place].observe(stamp)
        last_read = read[place]
        assert last_read is None or (stamp.millis, stamp.counter) > (last_read.millis, last_read.counter)
        # No clock runs ahead of the fastest one. Only a full counter would move one, and none is full here.
        assert stamp.millis <= now + max(skews)
        stamps.append(stamp)
        own[place].append(stamp)
    for issued in own:
        assert all(earlier < later for earlier, later in pairwise(issued))
    assert len(set(stamps)) == len(stamps)


@given(st.integers(MAX_AHEAD_MS + 100, 10**10), st.lists(st.integers(0, 10), max_size=5))
def test_stamp_too_far_ahead_does_not_move_another_clock(ahead: int, ticks: list[int]) -> None:
    now = NOW
    clock = Clock(region="us-east-1", now_ms=lambda: now)
    too_far_ahead = Stamp(NOW + ahead, 0, "us-west-2")
    for tick in ticks:
        clock.observe(too_far_ahead)
        with pytest.raises(ClockAhead):
            clock.next(after=too_far_ahead)
        assert clock.next().millis <= now + MAX_AHEAD_MS
        now += tick
