"""A drill from its steady state to its journal, on a made-up platform."""

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
from unit.ops.drill.made_up_platform import EAST, RATE, WEST, Platform, Queue, drill, experiment
from unit.ops.fakes import RecordingProgress


def events(journal: Journal, kind: str) -> list[str]:
    return [event.text for event in journal.events if event.kind == kind]


@pytest.mark.requirement("C2", "C3")
def test_recovery_counts_from_the_fault_to_steady_success() -> None:
    platform = Platform()
    journal = drill(platform, experiment()).run()
    assert (journal.outcome, journal.lost) == ("passed", (EAST,))
    assert journal.milestones is not None
    assert journal.milestones.rto_seconds == pytest.approx(20.0, abs=0.5)
    assert events(journal, "phase") == [
        "calibration",
        "steady state",
        "method",
        "healing",
        "looking for missing writes",
    ]
    assert not platform.broken
    assert platform.running == 0
    assert journal.requests is not None
    assert journal.requests.failed == pytest.approx(20 * RATE, abs=2)


def test_recovery_is_not_known_while_a_request_hangs_that_may_spoil_it() -> None:
    journal = drill(Platform(hangs_since=29.0, hangs_until=60.0), experiment()).run()
    assert next(event.at for event in journal.events if event.kind == "undo") == pytest.approx(60.0, abs=0.5)
    journal = drill(Platform(hangs_since=50.0, hangs_until=90.0), experiment()).run()
    assert next(event.at for event in journal.events if event.kind == "undo") < 41.0


@pytest.mark.parametrize("takes", [0.0, 0.5])
def test_asking_what_is_known_takes_little_of_the_time_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, takes: float
) -> None:
    platform, spent = Platform(), [0.0]
    plain = drill(Platform(), experiment()).run()

    def slow(*arguments: Any, **options: Any) -> Milestones:
        platform.now += takes
        spent[0] += takes
        return milestones(*arguments, **options)

    monkeypatch.setattr(recovery, "milestones", slow)
    journal = drill(platform, experiment()).run()
    assert (journal.outcome, journal.lost) == (plain.outcome, plain.lost)
    assert journal.milestones is not None
    assert plain.milestones is not None
    assert journal.milestones.rto_seconds == pytest.approx(plain.milestones.rto_seconds, abs=2 * takes)
    assert journal.healed is not None
    # The last question is asked when all is over, once more.
    assert spent[0] <= (journal.healed - journal.milestones.fault) / 20 + 2 * takes


@pytest.mark.trap(27)
def test_control_planes_are_refused_before_the_fault_and_until_the_end() -> None:
    journal = drill(Platform(), experiment()).run()
    assert events(journal, "fault") == ["control-planes", f"refused {EAST}"]
    assert set(journal.rolled_back) == {"control-planes", f"refused {EAST}"}
    assert journal.experiment["static_stability"]


@pytest.mark.requirement("C2")
def test_a_failover_that_takes_too_long_fails() -> None:
    journal = drill(Platform(detects=400.0), experiment(watch_seconds=120)).run()
    assert journal.outcome == "failed"
    assert journal.reason.startswith("recovery time")


@pytest.mark.trap(28)
@pytest.mark.parametrize("lasting", [None, 100])
def test_service_that_comes_back_with_the_region_is_no_recovery(lasting: float | None) -> None:
    method = [{"fault": "refused", "region": "primary", "for": lasting}]
    journal = drill(Platform(caches=True), experiment(method=method, watch_seconds=150)).run()
    assert journal.reason.startswith("recovery time: no steady success before healing")
    assert journal.milestones is not None
    assert (journal.milestones.steady_success, journal.milestones.rto_seconds) == (None, None)
    undone = next(event.at for event in journal.events if event.text == f"refused {EAST}" and event.kind == "undo")
    assert journal.healed == pytest.approx(undone)


def test_a_region_is_given_back_when_the_last_fault_that_takes_it_away_ends() -> None:
    brief = {"fault": "refused", "region": "primary", "for": 10}
    method = [
        brief,
        {"fault": "blackhole", "region": "primary", "for": 60},
        {"fault": "replication-lag", "lag_seconds": 2, "for": 5},
    ]
    journal = drill(Platform(), experiment(method=method)).run()
    assert journal.outcome == "passed"
    assert journal.milestones is not None
    assert journal.milestones.rto_seconds == pytest.approx(20.0, abs=0.5)
    assert journal.healed == pytest.approx(journal.milestones.fault + 60, abs=0.5)
    assert journal.milestones.steady_success is not None
    assert journal.missing[0].at == pytest.approx(journal.milestones.steady_success + 5, abs=1)


def test_the_first_loss_of_a_region_that_is_lost_twice_counts() -> None:
    method = [{"fault": "refused", "region": "primary", "at": at, "for": 40} for at in (0, 60)]
    journal = drill(Platform(), experiment(method=method)).run()
    assert journal.outcome == "passed"
    assert journal.milestones is not None
    assert journal.healed == pytest.approx(journal.milestones.fault + 40, abs=0.5)
    assert len([event for event in journal.events if event.text == f"refused {EAST}"]) == 4
    assert journal.milestones.rto_seconds == pytest.approx(20.0, abs=0.5)


def test_nothing_is_broken_when_the_steady_state_does_not_hold() -> None:
    platform = Platform()
    platform.broken["refused"] = (InjectedFault(fault="refused", region=EAST), 0.0)
    platform.undo_all = lambda: ()  # type: ignore[method-assign] # an outage of its own, which no record knows
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "not started"
    assert "checks-healthy: unhealthy" in journal.reason
    assert events(journal, "fault") == []
    assert journal.promises == ()


@pytest.mark.requirement("C3")
def test_what_arrives_within_the_recovery_point_is_not_missing() -> None:
    assert drill(Platform(lost_writes={5}, arrive_after=30.0), experiment()).run().outcome == "passed"
    journal = drill(Platform(lost_writes={5}, arrive_after=500.0), experiment()).run()
    assert journal.reason.startswith("nothing missing after healing: 1 of")
    assert [missing.numbers for missing in journal.missing] == [(5,), (), (5,)]


def test_steps_that_end_by_themselves_are_undone_in_time() -> None:
    method = [{"fault": "refused", "region": "primary", "at": at, "for": 12} for at in (0, 45)]
    journal = drill(Platform(), experiment(method=method, expect="none", watch_seconds=90)).run()
    assert (journal.outcome, events(journal, "undo")[:2]) == ("passed", [f"refused {EAST}", f"refused {EAST}"])
    at = [event.at for event in journal.events if event.text == f"refused {EAST}"]
    assert [later - at[0] for later in at[1:]] == pytest.approx([12, 45, 57], abs=0.6)


def test_a_time_scale_shortens_the_method() -> None:
    method = [{"fault": "refused", "region": "primary", "at": 10, "for": 20}]
    journal = drill(Platform(), experiment(method=method, expect="none"), time_scale=10).run()
    fault, undo = (event.at for event in journal.events if event.text == f"refused {EAST}")
    assert undo - fault == pytest.approx(2.0, abs=0.3)


def test_a_planned_failover_goes_on_until_answers_given_before_have_expired() -> None:
    played = experiment(method=[{"fault": "drained", "region": "primary"}], expect="drain")
    journal = drill(Platform(loses=False), played).run()
    assert journal.outcome == "passed"
    assert journal.milestones is not None
    changed, undone = journal.milestones.dns_changed, next(e.at for e in journal.events if e.kind == "undo")
    assert changed is not None
    assert undone > changed + 10


def test_a_planned_failover_that_loses_requests_fails() -> None:
    played = experiment(method=[{"fault": "drained", "region": "primary"}], expect="drain")
    assert drill(Platform(loses=True), played).run().reason.startswith("requests:")


def test_an_interruption_undoes_everything_and_is_told() -> None:
    platform = Platform()

    def press() -> None:
        raise KeyboardInterrupt("interrupted by SIGINT")

    platform.at[15.0] = press
    journal = drill(platform, experiment()).run()
    assert (journal.outcome, journal.reason) == ("interrupted", "interrupted by SIGINT; every fault is undone")
    assert not platform.broken
    assert journal.samples
    assert events(journal, "fault") == ["control-planes", f"refused {EAST}"]


def test_a_part_that_fails_ends_the_drill_with_everything_undone() -> None:
    platform = Platform()

    def fail() -> None:
        raise DeploymentError("the ledger cannot be read")

    platform.at[30.0] = fail
    journal = drill(platform, experiment()).run()
    assert (journal.outcome, journal.reason) == ("failed", "the ledger cannot be read; every fault is undone")
    assert not platform.broken


def test_what_is_still_broken_is_told_with_the_mend() -> None:
    platform = Platform()
    calls: list[int] = []

    def undo_all() -> tuple[str, ...]:
        if calls:
            raise DeploymentError("cannot undo")
        calls.append(1)
        return ()

    platform.undo_all = undo_all  # type: ignore[method-assign] # as when the embedded AWS has died
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "failed"
    assert journal.reason == f"cannot undo; still broken: control-planes, refused {EAST}; run `hdr drill heal`"


def test_clients_that_cannot_go_on_end_the_drill_at_once() -> None:
    platform = Platform(fails=30.0)
    journal = drill(platform, experiment()).run()
    assert journal.reason.startswith("the API answered with a patient that has no version")
    assert (journal.outcome, platform.broken) == ("failed", {})
    assert platform.now < 40.0


def test_a_request_that_hangs_is_no_steady_state() -> None:
    journal = drill(Platform(hangs_since=0.5, hangs_until=500.0), experiment()).run()
    assert journal.outcome == "not started"
    assert "requests-succeed: 0 of" in journal.reason


def test_requests_that_hang_at_the_end_are_waited_for() -> None:
    platform = Platform(loses=False)
    played = experiment(method=[{"fault": "drained", "region": "primary"}], expect="drain")
    drill(platform, played).run()
    began = platform.now
    platform = Platform(loses=False, hangs_since=began - 1.0, hangs_until=began + 30.0)
    drill(platform, played).run()
    assert platform.now >= began + 30.0


def test_what_the_survivor_lacks_is_looked_for_again_when_recovery_was_not_yet_there() -> None:
    platform = Platform(lost_writes={5})

    def fails_again() -> None:
        platform.broken["refused late"] = (InjectedFault(fault="refused", region=WEST), platform.now)

    def ends() -> None:
        del platform.broken["refused late"]
        platform.lost_writes.clear()

    platform.at |= {34.0: fails_again, 37.0: ends}
    journal = drill(platform, experiment()).run()
    assert journal.milestones is not None
    assert journal.milestones.rto_seconds == pytest.approx(32.0, abs=1.0)
    assert journal.missing[0].numbers == ()


def test_what_an_earlier_drill_left_is_undone_first() -> None:
    platform = Platform()
    platform.broken["blackhole us-east-1"] = (InjectedFault(fault="blackhole", region=EAST), 0.0)
    journal = drill(platform, experiment()).run()
    assert events(journal, "undo")[0] == f"left over from before: blackhole {EAST}"
    assert journal.outcome == "passed"


def test_the_view_shows_requests_answers_and_checks() -> None:
    platform = Platform()
    drill(platform, experiment()).run()
    shown = [line for line in platform.told if "requests succeed" in line]
    assert any(f"0 of 8 requests succeed · {EAST} 62 % · {WEST} 37 %" in line for line in shown)
    assert any(f"{WEST} 100 % · unhealthy: health {EAST}" in line for line in shown)
    assert platform.told.count("begin method") == 1
    assert "end method ended" in platform.told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_waits_until_everything_is_undone(number: signal.Signals) -> None:
    platform, progress = Platform(), RecordingProgress()
    undo = platform.undo_all

    def press_and_undo() -> tuple[str, ...]:
        if platform.broken:
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        return undo()

    platform.at[15.0] = partial(os.kill, os.getpid(), number)
    platform.undo_all = press_and_undo  # type: ignore[method-assign]
    interrupts = Interrupts(progress=progress)
    with interrupts.installed():
        journal = replace(drill(platform, experiment()), held=partial(interrupts.held, "undoing")).run()
    assert (journal.outcome, platform.broken) == ("interrupted", {})
    assert journal.reason == f"interrupted by {number.name}; every fault is undone"
    assert progress.said == ["undoing"]
    assert interrupts.exit_code() == 128 + number


def test_late_machine_makes_what_would_fail_inconclusive() -> None:
    slow = drill(Platform(detects=400.0, late=1.5), experiment(watch_seconds=120)).run()
    assert slow.outcome == "inconclusive"
    assert slow.reason.startswith("the machine did not carry the measurement: the AWS services took long to answer")
    assert "(up to 1.5 s, limit 0.25)" in slow.reason
    assert {promise.kept for promise in slow.promises} == {None}
    assert slow.instrument_health is not None
    assert not slow.instrument_health.sufficient
    assert slow.readings
    assert drill(Platform(detects=400.0, late=0.2), experiment(watch_seconds=120)).run().outcome == "failed"


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(("late", "outcome"), [(0.1, "failed"), (1.5, "inconclusive")])
def test_missing_write_fails_a_drill_only_when_the_machine_carried_it(late: float, outcome: str) -> None:
    platform = Platform(lost_writes={-5}, late=late)
    platform.queue = Queue(platform)
    journal = drill(platform, experiment()).run()
    assert journal.outcome == outcome
    assert journal.missing[-1].numbers == (-5,)
    assert "nothing missing after healing: 1 of" in journal.reason


@pytest.mark.requirement("C3")
def test_write_that_replication_delivers_late_is_not_missing() -> None:
    platform = Platform(lost_writes={5}, arrive_after=400.0)
    # Behind by a minute, but moving.
    platform.queue = Queue(platform, delivered=lambda now: -100.0 + now / 5 if platform.lost_writes else now)
    assert drill(platform, experiment()).run().outcome == "passed"


def test_not_started_on_a_late_machine_is_inconclusive() -> None:
    platform = Platform(hangs_since=0.5, hangs_until=500.0, late=3.0)
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "inconclusive"
    assert "seen, but not judged: requests-succeed: 0 of" in journal.reason
    assert events(journal, "fault") == []


def test_part_that_fails_on_a_late_machine_is_inconclusive() -> None:
    platform = Platform(fails=30.0, late=3.0)
    journal = drill(platform, experiment(watch_seconds=120)).run()
    assert journal.outcome == "inconclusive"
    assert journal.reason.endswith("is it the platform's?; every fault is undone")


def test_steady_state_is_waited_for_as_long_as_the_platform_gets_nearer() -> None:
    platform = Platform(hangs_since=0.5, hangs_until=280.0)
    # Every 100 s something changes: less than what counts as no progress.
    for at in (100.0, 200.0):
        platform.at[at] = lambda at=at: platform.checks.update({f"slow {at}": True})  # type: ignore[misc]
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "passed"
    assert journal.milestones is not None
    assert journal.milestones.fault >= 280.0


def test_too_few_writes_before_the_fault_are_inconclusive_after_a_bounded_wait() -> None:
    platform = Platform(acknowledges=False)
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "inconclusive"
    assert journal.reason.startswith("recovery point: only 3 writes acknowledged before the fault, 20 are needed")
    assert "no progress for 120 s: no write is acknowledged" in events(journal, "note")
    played = experiment(method=[{"fault": "drained", "region": "primary"}], expect="drain")
    assert drill(Platform(acknowledges=False, loses=False), played).run().outcome == "passed"


def test_fault_waits_until_enough_writes_are_acknowledged() -> None:
    platform = Platform(acknowledges=False)
    platform.at[60.0] = lambda: setattr(platform, "acknowledges", True)
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "passed"
    assert journal.milestones is not None
    assert journal.milestones.fault >= 60.0


def test_journal_says_how_much_was_sent_and_why() -> None:
    journal = drill(Platform(calibrates_for=6.0), experiment()).run()
    assert (journal.settings["rate"], journal.settings["served_per_second"]) == (15.0, 30.0)
    assert journal.settings["rate_reason"].startswith("half of the 30.0 requests per second")
    assert journal.milestones is not None
    assert journal.milestones.fault > 6.0


def test_interruption_of_the_calibration_ends_the_drill() -> None:
    platform = Platform(calibrates_for=1000.0)

    def press() -> None:
        raise KeyboardInterrupt("interrupted by SIGINT")

    platform.at[3.0] = press
    journal = drill(platform, experiment()).run()
    assert (journal.outcome, journal.instrument_health) == ("interrupted", None)
    assert events(journal, "fault") == []


def test_sped_up_failover_is_watched_for_as_long_as_a_busy_machine_needs() -> None:
    journal = drill(Platform(detects=25.0), experiment(watch_seconds=150), time_scale=10).run()
    assert journal.outcome == "passed"


def test_platform_that_moves_and_never_becomes_steady_is_given_up() -> None:
    platform = Platform(hangs_since=0.5, hangs_until=5000.0)
    for at in range(50, 5000, 50):
        platform.at[float(at)] = lambda at=at: platform.checks.update({f"slow {at}": True})  # type: ignore[misc]
    journal = drill(platform, experiment()).run()
    assert journal.outcome == "not started"
    assert platform.now == pytest.approx(300.0, abs=2.0)
