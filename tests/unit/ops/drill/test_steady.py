"""The steady state: what has to have been seen before a drill begins, and again when it has ended."""

from typing import Any

import pytest

from healthcare_dr.ops.drill.hypothesis import conditions
from healthcare_dr.ops.drill.journal import Condition, Observation, Sample

EAST, WEST = "us-east-1", "us-west-2"
WELL: dict[str, Any] = {"checks": {"health a": True}, "dns": {EAST: 5, WEST: 3}, "lag": {EAST: 0.4, WEST: 0.6}}


def found(
    name: str, *, failed: int = 0, waiting_since: float | None = None, awaited: tuple[str, ...] = (), **seen: Any
) -> Condition:
    samples = [
        Sample(
            at=95.0 + number / 4, seconds=0.1, kind="read", client=0, region=EAST,
            status=500 if number < failed else 200, error=None, attempts=1,
        )
        for number in range(20)
    ]  # fmt: skip
    observation = Observation(at=99.9, **{**WELL, **seen})
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
def test_a_platform_that_is_well_is_steady(name: str) -> None:
    assert found(name).held


@pytest.mark.parametrize(
    ("name", "seen", "said"),
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
def test_what_is_not_well_is_told(name: str, seen: dict[str, Any], said: str) -> None:
    condition = found(name, **seen)
    assert (condition.held, condition.seen) == (False, said)


def test_a_region_that_nothing_is_on_its_way_to_is_not_waited_for() -> None:
    assert found("replication-caught-up", lag={WEST: 0.4}).held


def test_a_request_that_has_just_been_sent_may_be_under_way() -> None:
    assert found("requests-succeed", waiting_since=99.0).held
