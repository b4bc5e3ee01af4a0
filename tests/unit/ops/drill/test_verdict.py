"""The promises of a drill, its outcome and reason."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.ops.drill.consistency import LOST_VERSION
from healthcare_dr.ops.drill.journal import (
    Anomaly,
    Check,
    Condition,
    Conflicts,
    Consistency,
    ErrorBudget,
    InstrumentHealth,
    Milestones,
    Missing,
    Promise,
    Requests,
)
from healthcare_dr.ops.drill.load.ledger import Unfinished
from healthcare_dr.ops.drill.recovery_checks import HealedData
from healthcare_dr.ops.drill.verdict import Verdict, conclude, judge

HELD = Condition(name="checks healthy", held=True, seen="all")


def lacking(*numbers: int, seconds: float = 0.0) -> Missing:
    return Missing(at=90.0, region="us-west-2", looked_for=50, numbers=numbers, seconds=seconds)


def milestones(steady: float | None = 50.0, **changed: Any) -> Milestones:
    given: dict[str, Any] = {"fault": 10.0, "first_failure": 10.5, "dns_changed": 45.0}
    return Milestones(**{**given, "steady_success": steady, **changed})


def data(
    *missing: Missing,
    unfinished: tuple[int, ...] = (),
    left: int = 0,
    unanswered: tuple[int, ...] = (),
    unknown: int = 0,
) -> HealedData:
    return HealedData(
        missing=missing,
        unfinished=Unfinished(numbers=unfinished, unanswered=unanswered),
        conflicts=Conflicts(found=2, merged=2 - left, left=left, unanswered=unknown),
    )


def counted(failed: int, total: int = 500) -> Requests:
    return Requests(total=total, failed=failed, refused=0, slow=0, by_region={})


def budget(spent: float) -> ErrorBudget:
    return ErrorBudget(availability_percent=99.99, budget_seconds=259.2, spent_seconds=spent)


def consistency(**changed: Any) -> Consistency:
    given: dict[str, Any] = {
        "operations": 500,
        "indeterminate": 3,
        "records": 20,
        "appends": 60,
        "session_reads": 200,
        "found": {"register": 0, "append": 0, "session": 0},
        "anomalies": (),
    }
    return Consistency(**{**given, **changed})


def anomalous(check: Check, name: str) -> Consistency:
    anomaly = Anomaly(check=check, name=name, record="p1", region=None, explanation="x", operations=())
    return consistency(found=consistency().found | {check: 7}, anomalies=(anomaly, anomaly))


def verdict(seen: Milestones, **changed: Any) -> Verdict:
    given: dict[str, Any] = {
        "expect": "failover",
        "serves": False,
        "healed": 500.0,
        "at_recovery": [lacking()],
        "healing": data(lacking(), lacking()),
        "consistency": consistency(),
        "reads": True,
        "updates": True,
        "requests": counted(failed=30),
        "budget": budget(20.0),
        "after": [HELD],
        "acknowledged_before": 20,
        "health": health(),
    }
    return judge(milestones=seen, **{**given, **changed})


def broken(judged: Verdict) -> set[str]:
    """Return the broken binding promises, after checking that outcome and reason agree with them."""
    names = {promise.name for promise in judged.promises if promise.binding and promise.kept is False}
    assert (judged.outcome == "failed") == bool(names)
    assert not names or judged.reason.split(":")[0] in names
    assert "\n" not in judged.reason
    return names


def health(*, sufficient: bool = True) -> InstrumentHealth:
    reason = "" if sufficient else "the AWS services took long in 9 of 90 readings"
    return InstrumentHealth(sufficient=sufficient, readings=90, late=0 if sufficient else 9, worst={}, reason=reason)


def kept(judged: Verdict, name: str) -> bool | None:
    return next(promise.kept for promise in judged.promises if promise.name == name)


@pytest.mark.requirement("C1", "R4.2")
@pytest.mark.parametrize(
    ("steady", "scale", "binding", "aim"),
    [
        (70.0, 1.0, True, True),
        (70.1, 1.0, True, False),
        (309.9, 1.0, True, False),
        (310.0, 1.0, False, False),
        (16.0, 10.0, True, True),
        (39.9, 10.0, True, False),
        (40.0, 10.0, False, False),
        (None, 1.0, False, False),
    ],
)
def test_recovery_time_has_a_limit_and_an_aim(steady: float | None, scale: float, binding: bool, aim: bool) -> None:
    judged = verdict(milestones(steady), time_scale=scale)
    assert broken(judged) == (set() if binding else {"recovery time"})
    assert kept(judged, "recovery time, aim") is aim


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("sufficient", [True, False])
@pytest.mark.parametrize(
    ("check", "promise", "name"),
    [
        ("register", "histories: registers", "stale read"),
        ("append", "histories: appends", "lost update"),
        ("session", "histories: sessions", "client misses its own write"),
    ],
)
def test_anomaly_fails_a_drill_on_a_slow_machine_too(check: Check, promise: str, name: str, sufficient: bool) -> None:
    judged = verdict(milestones(), consistency=anomalous(check, name), health=health(sufficient=sufficient))
    assert judged.outcome == "failed"
    assert judged.reason.startswith(f"{promise}: 7 anomalies ({name}) in ")
    assert [each.name for each in judged.promises if each.binding and each.kept is False] == [promise]
    assert kept(judged, "recovery time") is (True if sufficient else None)


@pytest.mark.parametrize(
    ("changed", "unknown", "measured"),
    [
        ({"operations": 0, "records": 0}, "histories: registers", "nothing to check: no record was read or updated"),
        ({"appends": 0}, "histories: appends", "nothing to check: no append was acknowledged"),
        ({"session_reads": 0}, "histories: sessions", "nothing to check: no read with Minimum-Version succeeded"),
        (
            {"unanswered": ("p1", "p2")},
            "histories: appends",
            "no anomalies in 60 acknowledged appends, 2 records unanswered: region busy",
        ),
    ],
)
def test_drill_without_a_history_to_check_does_not_pass(changed: dict[str, Any], unknown: str, measured: str) -> None:
    judged = verdict(milestones(), consistency=consistency(**changed))
    assert judged.outcome == "inconclusive"
    assert [(each.name, each.measured) for each in judged.promises if each.kept is None] == [(unknown, measured)]


def test_drill_without_updates_or_reads_can_pass_without_a_history() -> None:
    none = consistency(operations=0, records=0, appends=0, session_reads=0)
    for nothing, changed, unknown in (
        (consistency(appends=0), {"updates": False}, {"histories: appends"}),
        (none, {"reads": False, "updates": False}, {"histories: " + of for of in ("registers", "appends", "sessions")}),
    ):
        judged = verdict(milestones(), consistency=nothing, **changed)
        assert judged.outcome == "passed"
        assert {each.name for each in judged.promises if each.kept is None} == unknown
        assert {each.name for each in judged.promises if not each.binding} >= unknown
        assert verdict(milestones(), consistency=nothing).outcome == "inconclusive"
    for check in get_args(Check):
        judged = verdict(milestones(), consistency=anomalous(check, "x"), reads=False, updates=False)
        assert judged.outcome == "failed"


@pytest.mark.requirement("C3")
def test_version_that_seems_lost_on_a_slow_machine_may_be_late() -> None:
    lost = anomalous("append", LOST_VERSION)
    assert verdict(milestones(), consistency=lost).outcome == "failed"
    judged = verdict(milestones(), consistency=lost, health=health(sufficient=False))
    assert (judged.outcome, kept(judged, "histories: appends")) == ("inconclusive", None)
    update = replace(lost.anomalies[0], name="lost update")
    both = replace(lost, anomalies=(*lost.anomalies, update))
    assert verdict(milestones(), consistency=both, health=health(sufficient=False)).outcome == "failed"


def test_service_that_comes_back_with_the_region_is_no_failover() -> None:
    assert broken(verdict(milestones(120.0, dns_changed=None), healed=115.0)) == {"recovery time", "failover"}
    assert broken(verdict(milestones(50.0, dns_changed=120.0), healed=115.0)) == {"failover"}


def test_fault_without_an_effect_shows_no_failover() -> None:
    assert broken(verdict(milestones(10.0, first_failure=None, dns_changed=None))) == {"failover"}


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(("seconds", "expected"), [(59.9, set()), (60.0, {"recovery point"})])
def test_recovery_point_has_a_limit_independent_of_the_time_scale(seconds: float, expected: set[str]) -> None:
    at_recovery = [lacking(3, seconds=seconds)]
    assert broken(verdict(milestones(11.0), at_recovery=at_recovery, time_scale=1.0)) == expected
    assert broken(verdict(milestones(11.0), at_recovery=at_recovery, time_scale=10.0)) == expected


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("expect", ["failover", "drain", "none", "outage"])
def test_every_drill_fails_when_data_is_missing_after_healing(expect: str) -> None:
    seen = {
        "failover": milestones(),
        "drain": milestones(),
        "none": milestones(dns_changed=None),
        "outage": milestones(510.0, dns_changed=None),
    }[expect]
    calm = {"expect": expect, "requests": counted(failed=0)}
    assert broken(verdict(seen, **calm)) == set()
    assert broken(verdict(seen, **calm, healing=data(lacking(), lacking(7)))) == {"nothing missing after healing"}
    assert broken(verdict(seen, **calm, healing=data(lacking(), unfinished=(3,)))) == {"documents after healing"}
    assert broken(verdict(seen, **calm, healing=data(lacking(), left=1))) == {"conflicts after healing"}
    assert broken(verdict(seen, **calm, after=[HELD, Condition(name="b", held=False, seen="")])) == {
        "steady state after healing"
    }


@pytest.mark.parametrize(
    ("seen", "requests", "expected"),
    [
        (milestones(), counted(0), set()),
        (milestones(), counted(1), {"requests"}),
        (milestones(), counted(0, total=0), {"requests"}),
        (milestones(dns_changed=None), counted(0), {"failover"}),
    ],
)
def test_planned_failover_moves_all_traffic_and_loses_no_request(
    seen: Milestones, requests: Requests, expected: set[str]
) -> None:
    assert broken(verdict(seen, expect="drain", requests=requests)) == expected


def test_promise_about_unchecked_data_is_broken() -> None:
    assert broken(verdict(milestones(), at_recovery=[], healing=data(), after=[])) == {
        "recovery point",
        "nothing missing after healing",
        "steady state after healing",
    }


@pytest.mark.parametrize("changed", [{"dns_changed": 45.0}, {"checks": {"health us-east-1": 40.0}}])
def test_unexpected_failover_fails(changed: dict[str, Any]) -> None:
    assert broken(verdict(milestones(**{"dns_changed": None, **changed}), expect="none")) == {"no failover"}


@pytest.mark.parametrize(("serves", "expected"), [(True, {"requests"}), (False, set())])
def test_failed_request_breaks_a_promise_only_where_all_must_succeed(serves: bool, expected: set[str]) -> None:
    seen = milestones(dns_changed=None)
    assert broken(verdict(seen, expect="none", serves=serves, requests=counted(failed=1))) == expected
    assert broken(verdict(seen, expect="none", serves=serves, requests=counted(failed=0))) == set()


def test_change_of_one_endpoint_check_is_no_failover() -> None:
    seen = milestones(dns_changed=None, checks={"endpoint us-east-1": 40.0})
    assert broken(verdict(seen, expect="none")) == set()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (milestones(799.9), set()),
        (milestones(800.0), {"recovery after healing"}),
        (milestones(None), {"recovery after healing"}),
        (milestones(10.0, first_failure=None), {"outage"}),
    ],
)
def test_outage_ends_soon_after_healing(seen: Milestones, expected: set[str]) -> None:
    assert broken(verdict(seen, expect="outage")) == expected


@pytest.mark.parametrize(("spent", "within"), [(259.2, True), (259.3, False)])
def test_error_budget_is_an_aim(spent: float, within: bool) -> None:
    judged = verdict(milestones(), budget=budget(spent))
    assert (kept(judged, "error budget, aim"), broken(judged)) == (within, set())


@given(st.floats(10.0, 600.0), st.floats(0.5, 60.0))
def test_aim_is_kept_only_if_the_limit_is(steady: float, scale: float) -> None:
    judged = verdict(milestones(steady), healed=1000.0, time_scale=scale)
    assert kept(judged, "recovery time") or not kept(judged, "recovery time, aim")


@pytest.mark.requirement("C3")
def test_missing_write_on_a_healthy_machine_is_a_failure() -> None:
    judged = verdict(milestones(), healing=data(lacking(), lacking(7)))
    assert judged.outcome == "failed"
    assert judged.reason == "nothing missing after healing: 1 of 100 writes; promised is 0 acknowledged writes"


def test_late_machine_makes_a_drill_inconclusive_and_no_promise_is_shown_as_broken() -> None:
    judged = verdict(milestones(None), healing=data(lacking(), lacking(7)), health=health(sufficient=False))
    assert judged.outcome == "inconclusive"
    timed = [promise for promise in judged.promises if not promise.name.startswith("histories")]
    assert {promise.kept for promise in timed} == {None}
    assert all(promise.kept for promise in judged.promises if promise not in timed)
    assert judged.reason.startswith(
        "the machine was too slow for the measurement: the AWS services took long in 9 of 90 readings; close other"
    )
    assert judged.reason.endswith("seen, but not judged: recovery time: no steady success before healing")
    assert "\n" not in judged.reason


def test_drill_that_keeps_every_promise_on_a_late_machine_has_passed() -> None:
    judged = verdict(milestones(), health=health(sufficient=False))
    assert judged.outcome == "passed"
    assert all(promise.kept for promise in judged.promises)


@pytest.mark.parametrize(
    "changed",
    [
        {"healing": data(lacking(), replace(lacking(), unanswered=(7,)))},
        {"healing": data(lacking(), unknown=1)},
        {"healing": data(lacking(), unanswered=(7,))},
        {"acknowledged_before": 19},
        {"at_recovery": [replace(lacking(), unanswered=(7,))]},
    ],
    ids=["lookup", "conflict", "document", "few writes", "recovery point"],
)
@pytest.mark.parametrize("sufficient", [True, False])
def test_unanswered_data_is_inconclusive_on_any_machine(changed: dict[str, Any], sufficient: bool) -> None:
    judged = verdict(milestones(), **changed, health=health(sufficient=sufficient))
    assert judged.outcome == "inconclusive"
    assert broken(judged) == set()
    timed = [promise.kept for promise in judged.promises if not promise.name.startswith("histories")]
    assert timed.count(None) == (1 if sufficient else len(timed))


def test_broken_promise_on_a_healthy_machine_outweighs_an_unknown_one() -> None:
    judged = verdict(milestones(), healing=data(lacking(7), replace(lacking(), unanswered=(8,))))
    assert judged.outcome == "failed"


def test_recovery_point_beyond_its_limit_fails_with_few_writes_too() -> None:
    assert broken(verdict(milestones(), at_recovery=[lacking(3, seconds=70.0)], acknowledged_before=1)) == {
        "recovery point"
    }


def test_stalled_replication_is_in_the_reason() -> None:
    judged = verdict(milestones(), healing=data(lacking(), replace(lacking(7), undelivered=(7,))))
    assert judged.outcome == "failed"
    assert "1 of them not delivered: replication has stopped" in judged.reason


@pytest.mark.parametrize(("steady", "kept_"), [(39.9, True), (40.0, False)])
def test_limit_of_recovery_time_is_at_least_thirty_seconds(steady: float, kept_: bool) -> None:
    assert kept(verdict(milestones(steady), time_scale=20.0), "recovery time") is kept_


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.booleans()), min_size=1, max_size=6), st.booleans())
def test_outcome_follows_from_the_promises_and_the_machine(kinds: list[tuple[bool | None, bool]], late: bool) -> None:
    promises = [
        Promise(name=f"p{n}", limit="l", measured="m", kept=kept, binding=binding)
        for n, (kept, binding) in enumerate(kinds)
    ]
    judged = conclude(promises, health(sufficient=not late))
    decisive = {kept for kept, binding in kinds if binding}
    if decisive <= {True}:
        assert judged.outcome == "passed"
    elif late or False not in decisive:
        assert judged.outcome == "inconclusive"
    else:
        assert judged.outcome == "failed"
    if judged.outcome == "inconclusive":
        assert not [promise for promise in judged.promises if promise.binding and promise.kept is False]
