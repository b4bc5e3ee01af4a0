"""The steady-state hypothesis, judged by samples and observations."""

from typing import Any

import pytest

from healthcare_dr.ops.drill.hypothesis import conditions
from healthcare_dr.ops.drill.journal import Condition, Observation, Sample

EAST, WEST = "us-east-1", "us-west-2"
HEALTHY: dict[str, Any] = {"checks": {"health a": True}, "dns": {EAST: 5, WEST: 3}, "lag": {EAST: 0.4, WEST: 0.6}}


def found(
    name: str, *, failed: int = 0, waiting_since: float | None = None, awaited: tuple[str, ...] = (), **seen: Any
) -> Condition:
    samples = [
        Sample(
            at=95.0 + number / 4,
            seconds=0.1,
            longest_wait=0.1,
            kind="read",
            client=0,
            region=EAST,
            status=500 if number < failed else 200,
            error=None,
            attempts=1,
        )
        for number in range(20)
    ]
    observation = Observation(at=99.9, **{**HEALTHY, **seen})
    (condition,) = conditions(
        (name,),
        samples,
        [observation],
        regions=(EAST, WEST),
        now=100.0,
        window=5.0,
        waiting_since=waiting_since,
        awaited=awaited,
    )
    return condition


@pytest.mark.parametrize("name", ["requests-succeed", "checks-healthy", "dns-names-both", "replication-caught-up"])
def test_condition_holds_on_a_healthy_platform(name: str) -> None:
    assert found(name).held


@pytest.mark.parametrize(
    ("name", "seen", "text"),
    [
        ("requests-succeed", {"failed": 1}, "1 of 20 requests failed"),
        ("requests-succeed", {"waiting_since": 97.0}, "0 of 20 requests failed, one waits for 3.0 s"),
        ("checks-healthy", {"checks": {"health a": False}}, "unhealthy: health a"),
        ("checks-healthy", {"checks": {}}, "0 checks are healthy"),
        ("dns-names-both", {"dns": {EAST: 8}}, f"DNS names {EAST}"),
        ("replication-caught-up", {"lag": {}}, "nothing was replicated yet to any region"),
        ("replication-caught-up", {"lag": {EAST: 0.4}, "awaited": (WEST,)}, f"nothing was replicated yet to {WEST}"),
        ("replication-caught-up", {"lag": {EAST: 0.4, WEST: 10.5}}, "replication takes 10.5 s"),
    ],
)
def test_broken_condition_states_what_was_seen(name: str, seen: dict[str, Any], text: str) -> None:
    condition = found(name, **seen)
    assert (condition.held, condition.seen) == (False, text)


def test_region_without_writes_on_their_way_is_not_waited_for() -> None:
    assert found("replication-caught-up", lag={WEST: 0.4}).held


def test_request_in_flight_for_a_moment_is_no_failure() -> None:
    assert found("requests-succeed", waiting_since=99.0).held
