"""The hybrid logical clock, and the check of the time of day before it issues."""

from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.clock import FUTURE_MS, LAST_COUNTER, CheckedTime, Clock, Stamp
from patient_api.errors import StorageFault, WrongClock
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
SKEWS = st.tuples(*[st.integers(-FUTURE_MS // 2, FUTURE_MS // 2)] * 2)
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
    clock = Clock(region="us-east-1", now_ms=lambda: now, future_ms=10_000_000)
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


@given(st.integers(FUTURE_MS + 1, 10**11))
def test_version_from_the_future_is_followed_by_its_counter_and_does_not_move_the_clock(ahead: int) -> None:
    reported: list[int] = []
    clock = Clock(region="us-east-1", now_ms=lambda: NOW, followed=reported.append)
    stored = Stamp(NOW + ahead, 7, "us-west-2")
    clock.observe(stored)
    stamp = clock.next(after=stored)
    assert stamp == Stamp(NOW + ahead, 8, "us-east-1")
    assert reported == []
    clock.stored(stamp)
    assert reported == [ahead]
    assert clock.next().millis == NOW


@pytest.mark.parametrize("ahead", [0, FUTURE_MS])
def test_stored_version_that_is_not_from_the_future_is_not_reported(ahead: int) -> None:
    reported: list[int] = []
    clock = Clock(region="us-east-1", now_ms=lambda: NOW, followed=reported.append)
    clock.stored(clock.next(after=Stamp(NOW + ahead, 0, "us-west-2")))
    assert reported == []


@given(st.integers(FUTURE_MS + 1, 10**11), st.booleans())
def test_clock_that_ran_ahead_recovers_at_once(ahead: int, observed: bool) -> None:
    now = NOW + ahead
    clock = Clock(region="us-east-1", now_ms=lambda: now)
    issued = clock.next()
    if observed:
        clock.stored(issued)
    now = NOW
    assert clock.next() == Stamp(NOW, 0, "us-east-1")
    assert clock.next(after=issued) > issued


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


class Process:
    """A process with a time of day, and DynamoDB with its own. All times are in seconds since `NOW`.

    A request takes `seconds`, and DynamoDB dates its response `dated` seconds after it was sent. `fault` is raised
    instead of a response, `dates` is whether a response has a date.
    """

    def __init__(self, *, ahead: float = 0.0, seconds: float = 0.0, dated: float = 0.0) -> None:
        self.elapsed = 0.25
        self.ahead = ahead
        self.seconds = seconds
        self.dated = dated
        self.frozen = 0.0
        self.fault: StorageFault | None = None
        self.dates = True
        self.during: Callable[[], None] = lambda: None
        self.requests = 0
        self.time = CheckedTime(now=self.now, monotonic=self.monotonic, bound_seconds=5, request=self.request)

    def now(self) -> float:
        return NOW / 1000 + self.elapsed + self.ahead

    def monotonic(self) -> float:
        return self.elapsed - self.frozen

    def request(self) -> None:
        self.requests += 1
        self.respond()
        if self.fault is not None:
            raise self.fault

    def respond(self) -> None:
        sent = self.time.read()
        date = formatdate((NOW / 1000 + self.elapsed + self.dated) // 1, usegmt=True)
        self.elapsed += self.seconds
        self.during()
        if self.dates:
            self.time.measured(date, sent)


def test_first_version_measures_the_time_once() -> None:
    process = Process()
    assert [process.time.checked_ms() for _ in range(3)] == [NOW + 250] * 3
    assert process.requests == 1


@pytest.mark.parametrize("ahead", [6.0, 6.5, 3600.0, -6.0, -3600.0])
def test_clock_that_certainly_differs_by_more_than_the_bound_issues_nothing(ahead: float) -> None:
    process = Process(ahead=ahead)
    clock = Clock(region="us-east-1", now_ms=lambda: int(process.now() * 1000), issuing_ms=process.time.checked_ms)
    for _ in range(2):
        with pytest.raises(WrongClock) as raised:
            clock.next(after=Stamp(NOW, 0, "us-west-2"))
        assert raised.value.ahead_ms is not None
        # `Date` has whole seconds.
        assert 0 <= abs(ahead * 1000) - abs(raised.value.ahead_ms) <= 1000
        assert raised.value.ahead_ms * ahead > 0
    process.ahead = 0.0
    assert clock.next() == Stamp(NOW + 250, 0, "us-east-1")


@pytest.mark.parametrize("ahead", [-5.0, -4.9, 0.0, 4.9, 5.7])
def test_clock_within_the_bound_and_the_uncertainty_of_a_date_issues(ahead: float) -> None:
    process = Process(ahead=ahead)
    assert process.time.checked_ms() == round((process.now()) * 1000)


@given(
    ahead=st.floats(-5, 5),
    seconds=st.floats(0, 30),
    share=st.floats(0, 1),
    later=st.floats(0, 59),
    second=st.floats(0, 1, exclude_max=True),
)
def test_right_clock_is_never_refused_however_slow_a_request_is(
    ahead: float, seconds: float, share: float, later: float, second: float
) -> None:
    process = Process(ahead=ahead, seconds=seconds, dated=seconds * share)
    process.elapsed = second
    process.respond()
    process.elapsed += later
    process.time.checked_ms()


def test_slow_request_leaves_a_wrong_clock_uncertain() -> None:
    process = Process(ahead=9.0, seconds=10.0, dated=10.0)
    process.time.checked_ms()
    process.seconds = process.dated = 0.0
    process.respond()
    with pytest.raises(WrongClock):
        process.time.checked_ms()


@pytest.mark.parametrize("seconds", [2.5, 7.0])
def test_after_a_slow_response_the_time_is_measured_again(seconds: float) -> None:
    process = Process(ahead=7.5, seconds=seconds, dated=seconds)
    process.respond()
    process.seconds = process.dated = 0.0
    with pytest.raises(WrongClock):
        process.time.checked_ms()
    assert process.requests == 1


def test_slow_response_of_another_thread_replaces_no_exact_measurement() -> None:
    process = Process(ahead=10.0)
    date, sent = formatdate(NOW // 1000 + 7, usegmt=True), process.time.read()
    process.elapsed += 7

    def other() -> None:
        process.time.measured(date, process.time.read())
        process.time.measured(date, sent)

    process.dates = False
    process.during = other
    with pytest.raises(WrongClock):
        process.time.checked_ms()


@pytest.mark.parametrize("frozen", [0.0, 30.0])
def test_slow_response_replaces_a_measurement_that_no_longer_holds(frozen: float) -> None:
    process = Process()
    process.respond()
    process.elapsed += 31 + 30 - frozen
    process.frozen = frozen
    process.seconds = 7.0
    process.time.checked_ms()
    assert process.requests == 1


@pytest.mark.parametrize("jump", [-30.0, 7.0, 55.0, 86400.0])
def test_jump_after_the_last_response_is_found_before_a_version_is_issued(jump: float) -> None:
    process = Process()
    process.respond()
    process.elapsed += 1
    process.ahead = jump
    with pytest.raises(WrongClock):
        process.time.checked_ms()


def test_clock_that_is_right_again_issues_although_its_last_measurement_was_wrong() -> None:
    process = Process(ahead=3600.0)
    process.respond()
    process.ahead = 0.0
    process.time.checked_ms()
    assert process.requests == 1


def test_old_measurement_is_not_used() -> None:
    process = Process()
    process.respond()
    process.elapsed += 60
    process.time.checked_ms()
    assert process.requests == 0
    process.elapsed += 1
    process.time.checked_ms()
    assert process.requests == 1


def test_container_that_was_frozen_measures_the_time_again() -> None:
    process = Process()
    process.respond()
    process.elapsed += 30
    process.frozen = 30.0
    process.time.checked_ms()
    assert process.requests == 1
    process.elapsed += 3600
    process.frozen += 3600
    process.ahead = 6.5
    with pytest.raises(WrongClock):
        process.time.checked_ms()


def test_request_during_which_the_clock_jumps_measures_nothing() -> None:
    process = Process()
    process.during = lambda: setattr(process, "ahead", 3.0)
    with pytest.raises(WrongClock) as raised:
        process.time.checked_ms()
    assert raised.value.ahead_ms is None
    process.during = lambda: None
    process.time.checked_ms()


def test_error_response_measures_the_time() -> None:
    process = Process(ahead=3600.0)
    process.fault = StorageFault(operation="GetItem", code="InvalidSignatureException")
    with pytest.raises(WrongClock):
        process.time.checked_ms()


def test_without_a_response_the_fault_is_raised() -> None:
    process = Process()
    process.dates = False
    process.fault = StorageFault(operation="GetItem", code="ConnectTimeoutError")
    with pytest.raises(StorageFault):
        process.time.checked_ms()


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_response_without_a_valid_date_issues_nothing(date: str | None) -> None:
    process = Process()
    process.dates = False
    if date is not None:
        process.during = lambda: process.time.measured(date, process.time.read())
    with pytest.raises(WrongClock):
        process.time.checked_ms()
