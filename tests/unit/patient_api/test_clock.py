from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.clock import LAST_COUNTER, Clock, Stamp
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
MOVES = st.lists(st.tuples(st.integers(-50, 50), st.none() | STAMPS, st.booleans()), max_size=30)


@given(STAMPS, STAMPS)
def test_text_sorts_as_stamps_do_and_is_a_fhir_id(one: Stamp, other: Stamp) -> None:
    assert (str(one) < str(other)) == (one < other)
    assert is_id(str(one))
    assert Stamp.parse(str(one)) == one


@pytest.mark.parametrize("text", ["", "1", "1800000000000-0000", "١٨٠٠٠٠٠٠٠٠٠٠٠-0000-us-east-1", "x" * 64])
def test_text_that_is_no_stamp(text: str) -> None:
    assert Stamp.parse(text) is None


@given(MOVES)
def test_accepted_stamps_only_go_forward(moves: list[tuple[int, Stamp | None, bool]]) -> None:
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
def test_without_foreign_stamps_every_stamp_is_ahead_of_the_last(steps: list[int]) -> None:
    now = NOW
    clock = Clock(region="us-east-1", now_ms=lambda: now)
    issued = []
    for step in steps:
        now += step
        issued.append(clock.next())
    assert all(earlier < later for earlier, later in pairwise(issued))
    assert all(stamp.millis <= NOW + 50 * len(steps) for stamp in issued)


@given(STAMPS)
def test_a_made_up_stamp_does_not_move_the_clock(after: Stamp) -> None:
    clock = Clock(region="us-east-1", now_ms=lambda: NOW)
    clock.next(after=after)
    assert clock.next().millis == NOW


@given(st.integers(60_001, 10**9))
def test_drift_is_bounded_and_a_refusal_leaves_no_trace(ahead: int) -> None:
    clock = Clock(region="us-east-1", now_ms=lambda: NOW)
    with pytest.raises(ClockAhead) as refused:
        clock.next(after=Stamp(NOW + ahead, 0, "us-west-2"))
    assert refused.value.ahead_ms == ahead
    assert clock.next() == Stamp(NOW, 0, "us-east-1")


def test_a_clock_put_back_far_refuses_rather_than_reorder() -> None:
    now = NOW
    clock = Clock(region="us-east-1", now_ms=lambda: now)
    clock.next()
    now = NOW - 60_001
    with pytest.raises(ClockAhead):
        clock.next()


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    clock = Clock(region="us-east-1", now_ms=lambda: NOW)
    assert clock.next(after=Stamp(NOW, LAST_COUNTER, "us-west-2")) == Stamp(NOW + 1, 0, "us-east-1")


def test_time_is_the_physical_part() -> None:
    assert Stamp(NOW + 7, 3, "us-east-1").time.isoformat() == "2027-01-15T08:00:00.007000+00:00"
