"""A drill from its steady state to its journal, on a simulated platform."""

import os
import signal
import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill import recovery
from healthcare_dr.ops.drill.faults import InjectedFault
from healthcare_dr.ops.drill.journal import Journal, Milestones
from healthcare_dr.ops.drill.recovery import milestones
from healthcare_dr.ops.terraform.interrupts import Interrupts
from unit.ops.drill.fakes import EAST, FIRST, OPERATIONS, RATE, WEST, Platform, Queue, drill, experiment
from unit.ops.fakes import RecordingProgress


def run(platform: Platform | None = None, *, time_scale: float = 1.0, **changed: Any) -> Journal:
    """Run an experiment with changed fields."""
    return drill(platform or Platform(), experiment(**changed), time_scale=time_scale).run()


def reached(journal: Journal) -> Milestones:
    """Return the milestones of a drill that had a fault."""
    assert journal.milestones is not None
    return journal.milestones


def interrupt() -> None:
    raise KeyboardInterrupt("interrupted by SIGINT")


DRAIN: dict[str, Any] = {"method": [{"fault": "drained", "region": "primary"}], "expect": "drain"}


def events(journal: Journal, kind: str) -> list[str]:
    return [event.text for event in journal.events if event.kind == kind]


@pytest.mark.requirement("C2", "C3")
def test_recovery_counts_from_the_fault_to_steady_success() -> None:
    platform = Platform()
    journal = run(platform)
    assert (journal.outcome, journal.lost) == ("passed", (EAST,))
    assert reached(journal).rto_seconds == pytest.approx(20.0, abs=0.5)
    assert events(journal, "phase") == [
        "calibration",
        "steady state",
        "method",
        "healing",
        "looking for missing writes",
        "checking histories",
    ]
    assert not platform.broken
    assert platform.running == 0
    assert journal.requests is not None
    assert journal.requests.failed == pytest.approx(20 * RATE, abs=2)


def test_recovery_is_unknown_while_a_request_hangs_that_may_fail_in_its_window() -> None:
    journal = run(Platform(hangs_since=29.0, hangs_until=60.0))
    assert next(event.at for event in journal.events if event.kind == "undo") == pytest.approx(60.0, abs=0.5)
    journal = run(Platform(hangs_since=50.0, hangs_until=90.0))
    assert next(event.at for event in journal.events if event.kind == "undo") < 41.0


@pytest.mark.parametrize("takes", [0.0, 0.5])
def test_computing_milestones_takes_little_of_the_time_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, takes: float
) -> None:
    platform, spent = Platform(), [0.0]
    plain = run()

    def slow(*arguments: Any, **options: Any) -> Milestones:
        platform.now += takes
        spent[0] += takes
        return milestones(*arguments, **options)

    monkeypatch.setattr(recovery, "milestones", slow)
    journal = run(platform)
    assert (journal.outcome, journal.lost) == (plain.outcome, plain.lost)
    assert reached(journal).rto_seconds == pytest.approx(reached(plain).rto_seconds, abs=2 * takes)
    assert journal.healed is not None
    # They are computed once more at the end.
    assert spent[0] <= (journal.healed - reached(journal).fault) / 20 + 2 * takes


@pytest.mark.requirement("C3")
def test_drill_checks_its_history() -> None:
    journal = run()
    assert journal.outcome == "passed"
    assert journal.consistency is not None
    assert (journal.consistency.operations, journal.consistency.appends, journal.consistency.session_reads) == (3, 1, 1)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("place", "changed", "name"),
    [
        (2, {"version": FIRST, "values": ()}, "stale read"),
        (2, {"version": FIRST, "values": ()}, "client misses its own write"),
        (2, {"values": ()}, "changed version"),
        (1, {"status": 412, "version": None, "values": ()}, "aborted read (G1a)"),
        (1, {"value": "b"}, "garbage read"),
        (1, {"version": f"0000000000003-0000-{EAST}"}, "lost version"),
    ],
)
def test_drill_with_a_changed_history_fails(place: int, changed: dict[str, Any], name: str) -> None:
    operations = [fields | (changed if index == place else {}) for index, fields in enumerate(OPERATIONS)]
    journal = run(Platform(operations=operations))
    assert journal.outcome == "failed"
    assert journal.reason.startswith("histories: ")
    assert journal.consistency is not None
    assert name in {anomaly.name for anomaly in journal.consistency.anomalies}


def test_drill_without_a_history_is_inconclusive() -> None:
    journal = run(Platform(operations=[]))
    assert journal.outcome == "inconclusive"
    assert "nothing to check" in journal.reason


@pytest.mark.trap(27)
def test_control_planes_are_denied_from_before_the_fault_until_the_end() -> None:
    journal = run()
    assert events(journal, "fault") == ["control-planes", f"refused {EAST}"]
    assert set(journal.rolled_back) == {"control-planes", f"refused {EAST}"}
    assert journal.experiment["static_stability"]


@pytest.mark.requirement("C2")
def test_failover_that_takes_too_long_fails() -> None:
    journal = run(Platform(detects=400.0), watch_seconds=120)
    assert journal.outcome == "failed"
    assert journal.reason.startswith("recovery time")


@pytest.mark.trap(28)
@pytest.mark.parametrize("lasting", [None, 100])
def test_service_that_comes_back_with_the_region_is_no_recovery(lasting: float | None) -> None:
    method = [{"fault": "refused", "region": "primary", "for": lasting}]
    journal = run(Platform(caches=True), method=method, watch_seconds=150)
    assert journal.reason.startswith("recovery time: no steady success before healing")
    assert (reached(journal).steady_success, reached(journal).rto_seconds) == (None, None)
    undone = next(event.at for event in journal.events if event.text == f"refused {EAST}" and event.kind == "undo")
    assert journal.healed == pytest.approx(undone)


def test_healing_begins_when_the_last_fault_that_takes_a_region_away_ends() -> None:
    brief = {"fault": "refused", "region": "primary", "for": 10}
    method = [
        brief,
        {"fault": "blackhole", "region": "primary", "for": 60},
        {"fault": "replication-lag", "lag_seconds": 2, "for": 5},
    ]
    journal = run(method=method)
    assert journal.outcome == "passed"
    assert reached(journal).rto_seconds == pytest.approx(20.0, abs=0.5)
    assert journal.healed == pytest.approx(reached(journal).fault + 60, abs=0.5)
    steady = reached(journal).steady_success
    assert steady is not None
    assert journal.missing[0].at == pytest.approx(steady + 5, abs=1)


def test_first_loss_of_a_region_that_is_lost_twice_counts() -> None:
    method = [{"fault": "refused", "region": "primary", "at": at, "for": 40} for at in (0, 60)]
    journal = run(method=method)
    assert journal.outcome == "passed"
    assert journal.healed == pytest.approx(reached(journal).fault + 40, abs=0.5)
    assert len([event for event in journal.events if event.text == f"refused {EAST}"]) == 4
    assert reached(journal).rto_seconds == pytest.approx(20.0, abs=0.5)


def test_no_fault_is_injected_when_the_steady_state_does_not_hold() -> None:
    platform = Platform()
    platform.broken["refused"] = (InjectedFault(fault="refused", region=EAST), 0.0)
    platform.undo_all = lambda: ()  # type: ignore[method-assign] # an outage that is in no record
    journal = run(platform)
    assert journal.outcome == "not started"
    assert "checks-healthy: unhealthy" in journal.reason
    assert events(journal, "fault") == []
    assert journal.promises == ()


@pytest.mark.requirement("C3")
def test_write_that_arrives_within_the_recovery_point_is_not_missing() -> None:
    assert run(Platform(lost_writes={5}, arrive_after=30.0)).outcome == "passed"
    journal = run(Platform(lost_writes={5}, arrive_after=500.0))
    assert journal.reason.startswith("nothing missing after healing: 1 of")
    assert [missing.numbers for missing in journal.missing] == [(5,), (), (5,)]


def test_steps_with_a_duration_are_undone_in_time() -> None:
    method = [{"fault": "refused", "region": "primary", "at": at, "for": 12} for at in (0, 45)]
    journal = run(method=method, expect="none", watch_seconds=90)
    assert (journal.outcome, events(journal, "undo")[:2]) == ("passed", [f"refused {EAST}", f"refused {EAST}"])
    at = [event.at for event in journal.events if event.text == f"refused {EAST}"]
    assert [later - at[0] for later in at[1:]] == pytest.approx([12, 45, 57], abs=0.6)


def test_time_scale_shortens_the_method() -> None:
    method = [{"fault": "refused", "region": "primary", "at": 10, "for": 20}]
    journal = run(method=method, expect="none", time_scale=10)
    fault, undo = (event.at for event in journal.events if event.text == f"refused {EAST}")
    assert undo - fault == pytest.approx(2.0, abs=0.3)


def test_planned_failover_lasts_until_earlier_dns_answers_have_expired() -> None:
    journal = run(Platform(loses=False), **DRAIN)
    assert journal.outcome == "passed"
    changed, undone = reached(journal).dns_changed, next(e.at for e in journal.events if e.kind == "undo")
    assert changed is not None
    assert undone > changed + 10


def test_planned_failover_that_loses_requests_fails() -> None:
    assert run(Platform(loses=True), **DRAIN).reason.startswith("requests:")


def test_interruption_undoes_every_fault_and_is_the_reason() -> None:
    platform = Platform()

    platform.at[15.0] = interrupt
    journal = run(platform)
    assert (journal.outcome, journal.reason) == ("interrupted", "interrupted by SIGINT; every fault is undone")
    assert not platform.broken
    assert journal.samples
    assert events(journal, "fault") == ["control-planes", f"refused {EAST}"]


def test_error_of_a_part_ends_the_drill_with_every_fault_undone() -> None:
    platform = Platform()

    def fail() -> None:
        raise DeploymentError("the ledger cannot be read")

    platform.at[30.0] = fail
    journal = run(platform)
    assert (journal.outcome, journal.reason) == ("failed", "the ledger cannot be read; every fault is undone")
    assert not platform.broken


def test_fault_that_cannot_be_undone_is_in_the_reason_with_the_command_that_undoes_it() -> None:
    platform = Platform()
    calls: list[int] = []

    def undo_all() -> tuple[str, ...]:
        if calls:
            raise DeploymentError("cannot undo")
        calls.append(1)
        return ()

    platform.undo_all = undo_all  # type: ignore[method-assign] # as when the embedded AWS has died
    journal = run(platform)
    assert journal.outcome == "failed"
    assert journal.reason == f"cannot undo; still broken: control-planes, refused {EAST}; run `hdr drill heal`"


def test_error_of_the_load_generator_ends_the_drill_at_once() -> None:
    platform = Platform(fails=30.0)
    journal = run(platform)
    assert journal.reason.startswith("the API answered with a patient that has no version")
    assert (journal.outcome, platform.broken) == ("failed", {})
    assert platform.now < 40.0


def test_hanging_request_is_no_steady_state() -> None:
    journal = run(Platform(hangs_since=0.5, hangs_until=500.0))
    assert journal.outcome == "not started"
    assert "requests-succeed: 0 of" in journal.reason


def test_hanging_requests_at_the_end_are_waited_for() -> None:
    platform = Platform(loses=False)
    run(platform, **DRAIN)
    began = platform.now
    platform = Platform(loses=False, hangs_since=began - 1.0, hangs_until=began + 30.0)
    run(platform, **DRAIN)
    assert platform.now >= began + 30.0


def test_missing_writes_are_looked_up_again_at_a_later_steady_success() -> None:
    platform = Platform(lost_writes={5})

    def fails_again() -> None:
        platform.broken["refused late"] = (InjectedFault(fault="refused", region=WEST), platform.now)

    def ends() -> None:
        del platform.broken["refused late"]
        platform.lost_writes.clear()

    platform.at |= {34.0: fails_again, 37.0: ends}
    journal = run(platform)
    assert reached(journal).rto_seconds == pytest.approx(32.0, abs=1.0)
    assert journal.missing[0].numbers == ()


def test_faults_of_an_earlier_drill_are_undone_first() -> None:
    platform = Platform()
    platform.broken["blackhole us-east-1"] = (InjectedFault(fault="blackhole", region=EAST), 0.0)
    journal = run(platform)
    assert events(journal, "undo")[0] == f"left over from before: blackhole {EAST}"
    assert journal.outcome == "passed"


def test_progress_shows_requests_dns_answers_and_checks() -> None:
    platform = Platform()
    run(platform)
    shown = [line for line in platform.shown if "requests succeed" in line]
    assert any(f"0 of 8 requests succeed · {EAST} 62 % · {WEST} 37 %" in line for line in shown)
    assert any(f"{WEST} 100 % · unhealthy: health {EAST}" in line for line in shown)
    assert platform.shown.count("begin method") == 1
    assert "end method ended" in platform.shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_waits_until_every_fault_is_undone(number: signal.Signals) -> None:
    platform, progress = Platform(), RecordingProgress()
    undo = platform.undo_all

    def signal_and_undo() -> tuple[str, ...]:
        if platform.broken:
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        return undo()

    platform.at[15.0] = partial(os.kill, os.getpid(), number)
    platform.undo_all = signal_and_undo  # type: ignore[method-assign] # replaced for the test
    interrupts = Interrupts(progress=progress)
    with interrupts.installed():
        journal = replace(drill(platform, experiment()), hold_interrupts=partial(interrupts.held, "undoing")).run()
    assert (journal.outcome, platform.broken) == ("interrupted", {})
    assert journal.reason == f"interrupted by {number.name}; every fault is undone"
    assert progress.said == ["undoing"]
    assert interrupts.exit_code() == 128 + number


def test_failure_on_a_late_machine_is_inconclusive() -> None:
    slow = run(Platform(detects=400.0, late=1.5), watch_seconds=120)
    assert slow.outcome == "inconclusive"
    assert slow.reason.startswith("the machine was too slow for the measurement: the AWS services took long to answer")
    assert "(up to 1.5 s, limit 0.25)" in slow.reason
    assert {promise.kept for promise in slow.promises if not promise.name.startswith("histories")} == {None}
    assert slow.instrument_health is not None
    assert not slow.instrument_health.sufficient
    assert slow.readings
    assert run(Platform(detects=400.0, late=0.2), watch_seconds=120).outcome == "failed"


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(("late", "outcome"), [(0.1, "failed"), (1.5, "inconclusive")])
def test_missing_write_fails_a_drill_only_on_a_machine_that_is_not_late(late: float, outcome: str) -> None:
    platform = Platform(lost_writes={-5}, late=late)
    platform.queue = Queue(platform.clock)
    journal = run(platform)
    assert journal.outcome == outcome
    assert journal.missing[-1].numbers == (-5,)
    assert "nothing missing after healing: 1 of" in journal.reason


@pytest.mark.requirement("C3")
def test_write_that_replication_delivers_late_is_not_missing() -> None:
    platform = Platform(lost_writes={5}, arrive_after=400.0)
    # Behind by a minute, but moving.
    platform.queue = Queue(platform.clock, until=lambda now: -100.0 + now / 5 if platform.lost_writes else now)
    assert run(platform).outcome == "passed"


def test_not_started_on_a_late_machine_is_inconclusive() -> None:
    platform = Platform(hangs_since=0.5, hangs_until=500.0, late=3.0)
    journal = run(platform)
    assert journal.outcome == "inconclusive"
    assert "seen, but not judged: requests-succeed: 0 of" in journal.reason
    assert events(journal, "fault") == []


def test_error_of_a_part_on_a_late_machine_is_inconclusive() -> None:
    platform = Platform(fails=30.0, late=3.0)
    journal = run(platform, watch_seconds=120)
    assert journal.outcome == "inconclusive"
    assert journal.reason.endswith("is it the platform's?; every fault is undone")


def test_steady_state_is_waited_for_as_long_as_the_platform_makes_progress() -> None:
    platform = Platform(hangs_since=0.5, hangs_until=280.0)
    # A check changes every 100 s, which is shorter than a stall.
    for at in (100.0, 200.0):
        platform.at[at] = lambda at=at: platform.checks.update({f"slow {at}": True})  # type: ignore[misc]
    journal = run(platform)
    assert journal.outcome == "passed"
    assert reached(journal).fault >= 280.0


def test_too_few_writes_before_the_fault_are_inconclusive_after_a_bounded_wait() -> None:
    platform = Platform(acknowledges=False)
    journal = run(platform)
    assert journal.outcome == "inconclusive"
    assert journal.reason.startswith("recovery point: only 3 writes acknowledged before the fault, 20 are needed")
    assert "no progress for 120 s: no write is acknowledged" in events(journal, "note")
    assert run(Platform(acknowledges=False, loses=False), **DRAIN).outcome == "passed"


def test_fault_waits_until_enough_writes_are_acknowledged() -> None:
    platform = Platform(acknowledges=False)
    platform.at[60.0] = lambda: setattr(platform, "acknowledges", True)
    journal = run(platform)
    assert journal.outcome == "passed"
    assert reached(journal).fault >= 60.0


def test_journal_contains_the_request_rate_and_its_reason() -> None:
    journal = run(Platform(calibrates_for=6.0))
    assert (journal.settings["rate"], journal.settings["served_per_second"]) == (15.0, 30.0)
    assert journal.settings["rate_reason"].startswith("half of the 30.0 requests per second")
    assert reached(journal).fault > 6.0


def test_interruption_of_the_calibration_ends_the_drill() -> None:
    platform = Platform(calibrates_for=1000.0)

    platform.at[3.0] = interrupt
    journal = run(platform)
    assert (journal.outcome, journal.instrument_health) == ("interrupted", None)
    assert events(journal, "fault") == []


def test_sped_up_failover_is_watched_for_as_long_as_a_busy_machine_needs() -> None:
    journal = run(Platform(detects=25.0), watch_seconds=150, time_scale=10)
    assert journal.outcome == "passed"


def test_platform_that_changes_and_never_becomes_steady_is_given_up() -> None:
    platform = Platform(hangs_since=0.5, hangs_until=5000.0)
    for at in range(50, 5000, 50):
        platform.at[float(at)] = lambda at=at: platform.checks.update({f"slow {at}": True})  # type: ignore[misc]
    journal = run(platform)
    assert journal.outcome == "not started"
    assert platform.now == pytest.approx(300.0, abs=2.0)
