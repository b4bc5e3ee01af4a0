"""Milestones of recovery, counted requests, and the used error budget."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.ops.drill.journal import Milestones, Observation, Sample
from healthcare_dr.ops.drill.recovery import NOWHERE, error_budget, milestones, requests

EAST, WEST = "us-east-1", "us-west-2"
WINDOW = 3.0


def sample(at: float, ok: bool = True, client: int = 0, **changed: Any) -> Sample:
    given: dict[str, Any] = {
        "seconds": 0.1,
        "longest_wait": 0.1,
        "kind": "read",
        "region": EAST,
        "status": 200 if ok else 500,
        "error": None,
        "attempts": 1,
    }
    return Sample(at=at, client=client, **{**given, **changed})


def samples_of(letters: str) -> list[Sample]:
    """One request a second from 0 on: `.` succeeds, `x` fails."""
    return [sample(float(at), letter == ".") for at, letter in enumerate(letters)]


def found(letters: str, fault: float = 0.0) -> Milestones:
    return milestones(samples_of(letters), [], fault=fault, lost=(), window=WINDOW)


def seen(at: float, dns: dict[str, int] | None = None, **checks: bool) -> Observation:
    return Observation(at=at, checks=checks, dns=dns or {}, lag={})


@pytest.mark.requirement("C1", "R4.2")
@pytest.mark.parametrize(
    ("letters", "steady"),
    [
        (".....", 0.0),
        ("xx.....", 2.0),
        ("x.x.....", 3.0),
        ("x.....x.....", 7.0),  # clients that hold the address of the other region notice nothing meanwhile
        ("x..x.....", 4.0),  # a failure at the end of the window
        ("xx....", None),  # the window is complete only when a later request is known
        ("....", None),
        ("xxxxxxxx", None),
        (".......x.....", 8.0),  # the fault takes effect late
        ("", None),
    ],
)
def test_steady_success_begins_after_the_last_failure_when_a_whole_window_follows(
    letters: str, steady: float | None
) -> None:
    assert found(letters).steady_success == steady


def test_recovery_time_runs_from_the_fault() -> None:
    assert found("xxxx.......", fault=2.0).rto_seconds == 2.0


def test_success_after_waiting_longer_than_the_timeout_is_no_recovery() -> None:
    some = [
        sample(0.0, longest_wait=5.2),
        sample(1.0, longest_wait=5.2, client=1),
        *(sample(float(at)) for at in range(2, 8)),
    ]
    judged = milestones(some, [], fault=0.0, lost=(), window=WINDOW, patience=5.0)
    assert (judged.first_failure, judged.first_success, judged.steady_success) == (0.0, 2.0, 2.0)
    assert milestones(some, [], fault=0.0, lost=(), window=WINDOW).rto_seconds == 0.0


def test_success_of_many_exchanges_is_a_recovery_when_each_response_was_in_time() -> None:
    some = [sample(float(at), seconds=9.0, longest_wait=3.0) for at in range(8)]
    judged = milestones(some, [], fault=0.0, lost=(), window=WINDOW, patience=5.0)
    assert (judged.first_failure, judged.rto_seconds) == (None, 0.0)


def test_last_failures_are_described() -> None:
    some = [
        sample(0.0, ok=False),
        sample(11.0, status=None, error="ReadTimeout", kind="write", attempts=3),
        sample(12.0, seconds=9.0, longest_wait=6.2),
        sample(13.0),
        sample(14.0, status=None, error="ResolutionError", region=None),
    ]
    assert milestones(some, [], fault=10.0, lost=(), window=WINDOW, patience=5.0).last_failures == (
        "write at 1.0 s: ReadTimeout from us-east-1, 3 attempts",
        "read at 2.0 s: response after 6.2 s from us-east-1",
        "read at 4.0 s: ResolutionError from no region",
    )


def test_requests_due_before_the_fault_do_not_count() -> None:
    assert found("xxxx........", fault=4.0).steady_success == 4.0
    assert found("xxxx........", fault=4.0).first_failure is None


def test_window_without_requests_shows_no_recovery() -> None:
    assert milestones([sample(9.0), sample(10.0)], [], fault=0.0, lost=(), window=WINDOW).steady_success is None


def test_first_success_is_of_a_client_that_had_failed() -> None:
    some = [sample(1.0, client=1), sample(2.0, ok=False), sample(3.0, client=1), sample(4.0)]
    assert milestones(some, [], fault=0.0, lost=(), window=WINDOW).first_success == 4.0


def test_check_changes_when_it_first_differs_from_before_the_fault() -> None:
    some = [seen(0.0, a=True, b=False), seen(2.0, a=True, b=False), seen(3.0, a=False, b=False), seen(4.0, a=True)]
    assert milestones([], some, fault=1.0, lost=(), window=WINDOW).checks == {"a": 3.0}


@pytest.mark.requirement("R4.2")
def test_dns_has_changed_when_a_whole_window_names_no_lost_region() -> None:
    west = {WEST: 3}
    some = [seen(0.0, west), seen(1.0, west), seen(2.0, {EAST: 1, WEST: 2}), seen(3.0)]
    some += [seen(float(at), west) for at in range(4, 8)]
    assert milestones([], some, fault=0.5, lost=(EAST,), window=WINDOW).dns_changed == 4.0
    assert milestones([], some[:-1], fault=0.5, lost=(EAST,), window=WINDOW).dns_changed is None
    assert milestones([], some, fault=0.5, lost=(EAST, WEST), window=WINDOW).dns_changed is None
    assert milestones([], some, fault=0.5, lost=(), window=WINDOW).dns_changed is None


def test_requests_are_counted_from_the_fault_on() -> None:
    some = [
        sample(0.5, ok=False),
        sample(1.0, ok=False, status=503),
        sample(2.0, ok=False, status=None, error="ConnectError", region=None),
        sample(3.0, ok=False, status=None, error="ReadTimeout"),
        sample(4.0, seconds=1.5, region=WEST),
        sample(5.0, region=WEST),
        sample(6.0, ok=False),
    ]
    counted = requests(some, fault=1.0, until=5.0)
    assert (counted.total, counted.failed, counted.refused, counted.slow) == (5, 3, 2, 1)
    assert counted.by_region == {EAST: 2, WEST: 2, NOWHERE: 1}
    assert requests(some, fault=1.0).total == 6


def test_error_budget_weighs_each_second_by_its_failures() -> None:
    some = [sample(0.0, ok=False), sample(1.0, ok=False), sample(1.5), sample(2.2, ok=False), sample(3.4)]
    budget = error_budget(some, fault=1.0, availability_percent=99.95, time_scale=10.0)
    assert budget.budget_seconds == 1296.0
    assert budget.spent_seconds == pytest.approx((0.5 + 1.0) * 10)
    late = [*some, sample(3.5, longest_wait=5.2)]
    assert error_budget(late, fault=1.0, availability_percent=99.95).spent_seconds == pytest.approx(1.5)
    assert error_budget(late, fault=1.0, availability_percent=99.95, patience=5.0).spent_seconds == pytest.approx(2.0)


letters = st.text("..x", max_size=40)


@pytest.mark.requirement("C1", "R4.2")
@given(letters, st.integers(0, 10), st.randoms())
def test_steady_success_is_followed_by_a_window_without_failures(text: str, fault: int, dice: Any) -> None:
    some = samples_of(text)
    dice.shuffle(some)
    result = milestones(some, [], fault=float(fault), lost=(), window=WINDOW)
    failures = [at for at, letter in enumerate(text) if letter == "x" and at >= fault]
    assert result.first_failure == (failures[0] if failures else None)

    def holds(at: int) -> bool:
        window = text[at : at + int(WINDOW) + 1]
        return "x" not in window and len(text) > at + WINDOW + 1

    begin = failures[-1] + 1 if failures else fault
    assert result.steady_success == (begin if begin < len(text) and holds(begin) else None)


@given(letters, st.floats(0.1, 100))
def test_spent_budget_is_the_time_with_failures(text: str, scale: float) -> None:
    spent = error_budget(samples_of(text), fault=0.0, availability_percent=99.9, time_scale=scale).spent_seconds
    assert spent == pytest.approx(text.count("x") * scale)


@given(letters, st.lists(st.booleans(), max_size=40), st.integers(0, 10), st.integers(0, 40))
def test_milestones_after_a_failure_do_not_change_later(text: str, named: list[bool], fault: int, until: int) -> None:
    def found_at(end: int) -> Milestones:
        looks = [seen(float(at), {EAST: 1} if names else {WEST: 1}) for at, names in enumerate(named[:end])]
        return milestones(samples_of(text[:end]), looks, fault=float(fault), lost=(EAST,), window=WINDOW)

    early, late = found_at(until), found_at(40)
    for name in ("first_failure", "first_success", "dns_changed"):
        assert getattr(early, name) in (None, getattr(late, name))
    if early.first_failure is None:
        return
    if "x" in text[until:]:
        # A later failure invalidates the earlier steady success.
        assert late.steady_success is None or late.steady_success > until
    else:
        assert early.steady_success in (None, late.steady_success)
