"""What the order of versions rests on, over several clocks that hear of each other."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.clock import LAST_COUNTER, MAX_AHEAD_MS, Clock, Stamp
from patient_api.errors import ClockAhead

NOW = 1_800_000_000_000
REGIONS = ("us-east-1", "us-west-2")
SKEWS = st.tuples(*[st.integers(-MAX_AHEAD_MS // 2, MAX_AHEAD_MS // 2)] * 2)
MOVES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0, 0, 1, 500]), st.booleans(), st.integers(0, 50)), max_size=40
)
STAMPS = st.builds(
    Stamp,
    millis=st.integers(0, 9_999_999_999_999),
    counter=st.integers(0, LAST_COUNTER),
    region=st.from_regex(r"[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True),
)


@given(SKEWS, MOVES)
def test_what_follows_is_newer_and_no_clock_runs_away(
    skews: tuple[int, int], moves: list[tuple[int, int, bool, int]]
) -> None:
    now = NOW
    clocks = [
        Clock(region=REGIONS[0], now_ms=lambda: now + skews[0]),
        Clock(region=REGIONS[1], now_ms=lambda: now + skews[1]),
    ]
    held: list[Stamp] = []
    own: tuple[list[Stamp], list[Stamp]] = ([], [])
    read: list[Stamp | None] = [None, None]
    for place, ticks, follow, pick in moves:
        now += ticks
        after = held[pick % len(held)] if held and follow else None
        if after:
            clocks[place].observe(after)
            read[place] = max(after, read[place] or after)
        stamp = clocks[place].next(after=after)
        clocks[place].observe(stamp)
        behind = read[place]
        assert behind is None or (stamp.millis, stamp.counter) > (behind.millis, behind.counter)
        # No clock goes ahead of the fastest one, but for milliseconds borrowed by a full counter: none is full here.
        assert stamp.millis <= now + max(skews)
        held.append(stamp)
        own[place].append(stamp)
    for issued in own:
        assert all(earlier < later for earlier, later in pairwise(issued))
    assert len(set(held)) == len(held)


@given(st.lists(STAMPS, max_size=30))
def test_texts_sort_as_stamps_do(stamps: list[Stamp]) -> None:
    assert sorted(map(str, stamps)) == [str(stamp) for stamp in sorted(stamps)]


@given(st.integers(MAX_AHEAD_MS + 100, 10**10), st.lists(st.integers(0, 10), max_size=5))
def test_one_clock_far_ahead_does_not_carry_the_other_along(ahead: int, ticks: list[int]) -> None:
    now = NOW
    clock = Clock(region=REGIONS[0], now_ms=lambda: now)
    wild = Stamp(NOW + ahead, 0, REGIONS[1])
    for tick in ticks:
        clock.observe(wild)
        with pytest.raises(ClockAhead):
            clock.next(after=wild)
        assert clock.next().millis <= now + MAX_AHEAD_MS
        now += tick
