"""Run an experiment: calibration, steady state, method, rollbacks, steady state; and return the journal."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.ops.drill import recovery
from healthcare_dr.ops.drill.conflict_resolver import ConflictResolver
from healthcare_dr.ops.drill.consistency import check_history
from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal
from healthcare_dr.ops.drill.faults import FAULTS, InjectedFault
from healthcare_dr.ops.drill.hypothesis import conditions, progress_of, recent
from healthcare_dr.ops.drill.journal import (
    Condition,
    Consistency,
    Event,
    InstrumentHealth,
    Journal,
    Milestones,
    Missing,
    Outcome,
)
from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.monitors import Monitors, changes
from healthcare_dr.ops.drill.progress import STALL_SECONDS, ProgressView, StallDetector
from healthcare_dr.ops.drill.record_versions import VersionReader
from healthcare_dr.ops.drill.recovery_checks import RecoveryChecks
from healthcare_dr.ops.drill.self_monitor import SelfMonitor, instrument_health
from healthcare_dr.ops.drill.verdict import FEWEST_WRITES, judge, too_slow

WINDOW_SECONDS: Final = 5.0
LONGEST_START_SECONDS: Final = 300.0
LONGEST_HEALING_SECONDS: Final = 1800.0
"""A platform that changes and never becomes steady is given up after this time: before the method, when nothing is
broken yet, and after healing."""
SHORTEST_WATCH_SECONDS: Final = 45.0
"""However fast a failover runs, it is watched for this long unless the result is known before: the shortest limit
of recovery time, and the time that shows that service stays."""
POLL_SECONDS: Final = 0.25
SHOWN_SECONDS: Final = 1.0
"""How often progress is shown."""
MILESTONE_SECONDS: Final = 0.5
"""How often milestones are computed at most."""
MILESTONE_REST: Final = 20
"""Milestones are not computed again for this many times as long as the last computation took. With 300,000 requests it
takes a sixth of a second, which the clients in the same process would lack."""
AVAILABILITY_PERCENT: Final = 99.99
RECENT_OBSERVATIONS: Final = 40
"""More observations than a window contains."""


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """The result of a method; times are seconds on the drill's clock."""

    fault: float
    healed: float
    """When, for the first time, no fault took a region away any more: healing begins."""
    at_recovery: tuple[Missing, ...]
    """What the surviving regions lacked at steady success; empty without one."""
    milestones: Milestones
    """Of a failover, those that were reached before healing: service that comes back with the region does not count."""
    rolled_back: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Drill:
    """One experiment to be run at `time_scale`; `regions` are the primary and the secondary one."""

    experiment: Experiment
    label: Literal["embedded", "aws"]
    regions: tuple[str, str]
    time_scale: float
    floor_seconds: float
    ttl_seconds: float
    """The TTL of DNS answers, on the drill's clock."""
    settings: dict[str, Any]
    load_generator: LoadGenerator
    ledger: Ledger
    monitors: Monitors
    self_monitor: SelfMonitor
    faults: FaultJournal
    conflicts: ConflictResolver
    checks: RecoveryChecks
    versions: VersionReader
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    view: ProgressView
    hold_interrupts: Callable[[], AbstractContextManager[None]] = nullcontext
    """In its block, a signal does not end the drill."""
    _events: list[Event] = field(default_factory=list, init=False)
    _shown_at: float = field(default=0.0, init=False)
    _calibrated_at: float | None = field(default=None, init=False)

    @property
    def lost(self) -> tuple[str, ...]:
        """Return the names of the regions that the method takes away."""
        names = dict(zip(("primary", "secondary"), self.regions, strict=True))
        return tuple(names[role] for role in self.experiment.lost())

    @property
    def survivors(self) -> tuple[str, ...]:
        """Return the names of the other regions."""
        return tuple(region for region in self.regions if region not in self.lost)

    def run(self) -> Journal:
        """Run the experiment. In every case, Ctrl-C included, every fault is undone and the journal is returned.

        Raises:
            HealthcareDrError: a fault that an earlier drill left cannot be undone. Nothing was changed.
        """
        began, started = self.clock(), datetime.now(UTC).isoformat(timespec="seconds")
        found: dict[str, Any] = {}
        for left in self.faults.undo_all():
            self.record("undo", f"left over from before: {left}")
        try:
            with ExitStack() as stack:
                for part in (self.ledger, self.monitors, self.self_monitor, self.load_generator):
                    part.start()
                    stack.callback(part.stop)
                stack.callback(self._undo)
                self._run(found)
        except KeyboardInterrupt as stop:
            found |= {"outcome": "interrupted", "reason": self._ended_by(str(stop) or "interrupted")}
        except HealthcareDrError as error:
            outcome, reason = self._without_verdict("failed", str(error))
            found |= {"outcome": outcome, "reason": self._ended_by(reason)}
        finally:
            self.view.close()
        return replace(self._journal(began, started), **found)

    def record(self, kind: Literal["fault", "undo", "note"], text: str) -> None:
        """Add an event to the journal and show it."""
        self._events.append(Event(at=self.clock(), kind=kind, text=text))
        self.view.note(f"{kind}: {text}")

    def milestones(self, fault: float) -> Milestones:
        """Return the milestones that have been reached since `fault`."""
        return recovery.milestones(
            self.load_generator.samples(),
            self.monitors.observations(),
            fault=fault,
            lost=self.lost,
            window=WINDOW_SECONDS,
            patience=self.experiment.load.timeout_seconds,
        )

    def pause(self, began: float, lasting: float) -> None:
        """Sleep for a moment of a phase that lasts at most `lasting` seconds, and show its progress."""
        self.sleep(POLL_SECONDS)
        self.load_generator.check()
        now = self.clock()
        if now - self._shown_at >= SHOWN_SECONDS:
            self._shown_at = now
            self.view.update(
                self.load_generator.samples(), self.monitors.observations(), now=now, done=now - began, total=lasting
            )

    def _undo(self) -> None:
        with self.hold_interrupts():
            self.faults.undo_all()

    def _run(self, found: dict[str, Any]) -> None:
        """Add the fields of the journal to `found` as they become known."""
        found["settings"] = self._calibrate()
        before = self._steady("steady state", LONGEST_START_SECONDS, with_writes=self._needs_writes())
        found["steady_state"] = {"before": before, "after": ()}
        if not all(condition.held for condition in before):
            broken = "; ".join(f"{condition.name}: {condition.seen}" for condition in before if not condition.held)
            found["outcome"], found["reason"] = self._without_verdict("not started", broken)
            return
        self._begin("method")
        self.load_generator.keep_records()
        acknowledged = self._acknowledged()
        result = MethodRunner(self).run()
        found |= {"rolled_back": result.rolled_back, "milestones": result.milestones}
        after = self._steady("healing", LONGEST_HEALING_SECONDS)
        found["steady_state"] = {"before": before, "after": after}
        self.load_generator.finish()
        if self.experiment.expect != "failover":
            result = replace(result, milestones=self.milestones(result.fault))
        self._judge(found, result, after, acknowledged)

    def _judge(
        self, found: dict[str, Any], result: MethodResult, after: tuple[Condition, ...], acknowledged_before: int
    ) -> None:
        samples, serves = self.load_generator.samples(), self.experiment.serves()
        counted = recovery.requests(
            samples, fault=result.fault, until=None if serves else result.milestones.steady_success or result.healed
        )
        budget = recovery.error_budget(
            samples,
            fault=result.fault,
            availability_percent=AVAILABILITY_PERCENT,
            time_scale=self.time_scale,
            patience=self.experiment.load.timeout_seconds,
        )
        found |= {"milestones": result.milestones, "healed": result.healed, "requests": counted, "error_budget": budget}
        self._begin("looking for missing writes")
        data = self.checks.after_healing(
            self.conflicts, self.regions, fault_at=result.fault, note=lambda text: self.record("note", text)
        )
        consistency = self._consistency()
        verdict = judge(
            expect=self.experiment.expect,
            serves=serves,
            milestones=result.milestones,
            healed=result.healed,
            at_recovery=result.at_recovery,
            healing=data,
            consistency=consistency,
            reads=self.experiment.load.reads,
            updates=self.experiment.load.update_percent > 0,
            requests=counted,
            budget=budget,
            after=after,
            acknowledged_before=acknowledged_before,
            health=self._health(),
            time_scale=self.time_scale,
        )
        found |= {
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "missing": (*result.at_recovery, *data.missing),
            "unfinished": data.unfinished.numbers,
            "conflicts": data.conflicts,
            "consistency": consistency,
            "promises": verdict.promises,
        }

    def _consistency(self) -> Consistency:
        """Check what the clients recorded against the versions that both regions have now."""
        self._begin("checking histories")
        operations = self.load_generator.history().operations()
        used = {operation.record for operation in operations if operation.kind != "create"}
        return check_history(operations, self.versions.lineages(used))

    def _calibrate(self) -> dict[str, Any]:
        """Wait until the request rate is known, and return the settings with it."""
        self._begin("calibration")
        while (found := self.load_generator.calibration()) is None:
            self.sleep(POLL_SECONDS)
            self.load_generator.check()
        self._calibrated_at = self.clock()
        self.record("note", f"sending {found.rate:g} requests per second: {found.reason}")
        rate = {"rate": found.rate, "rate_reason": found.reason, "served_per_second": found.served_per_second}
        return self.settings | rate

    def _health(self) -> InstrumentHealth:
        """Return whether the machine has been fast enough so far."""
        return instrument_health(self.self_monitor.readings(), since=self._calibrated_at or 0.0)

    def _without_verdict(self, otherwise: Outcome, reason: str) -> tuple[Outcome, str]:
        """Return the outcome and reason of a drill that ended before its verdict."""
        health = self._health()
        return (otherwise, reason) if health.sufficient else ("inconclusive", too_slow(health, seen=reason))

    def _needs_writes(self) -> bool:
        load = self.experiment.load
        return self.experiment.expect == "failover" and bool(
            load.write_percent or load.document_percent or load.update_percent
        )

    def _acknowledged(self) -> int:
        """Return how many writes the regions that will be lost have acknowledged."""
        return sum(write.region in self.lost for write in self.ledger.writes())

    def _steady(self, phase: str, longest: float, *, with_writes: bool = False) -> tuple[Condition, ...]:
        """Wait for the steady state as long as the platform makes progress, for `longest` seconds at most.

        With `with_writes`, it also waits for enough acknowledged writes. Returns the conditions at the end.
        """
        self._begin(phase)
        began, stall, noted = self.clock(), StallDetector(self.clock), 0.0
        while True:
            self.pause(began, STALL_SECONDS)
            now, seen = self.clock(), self.monitors.observations()
            found = conditions(
                self.experiment.steady_state,
                recent(self.load_generator.samples(), now - WINDOW_SECONDS),
                seen[-RECENT_OBSERVATIONS:],
                regions=self.regions,
                now=now,
                window=WINDOW_SECONDS,
                waiting_since=self.load_generator.waiting_since(),
                awaited=self.ledger.awaited(),
            )
            held = now >= began + WINDOW_SECONDS and all(condition.held for condition in found)
            writes = min(FEWEST_WRITES, self._acknowledged()) if with_writes else FEWEST_WRITES
            if (held and writes == FEWEST_WRITES) or now >= began + longest:
                return found
            if now - noted >= SHOWN_SECONDS:
                noted = now
                stall.note((writes, progress_of(found, seen, delivered_until=self.checks.delivered_until())))
            if stall.stalled:
                broken = ", ".join(condition.name for condition in found if not condition.held)
                self.record("note", f"no progress for {STALL_SECONDS:g} s: {broken or 'no write is acknowledged'}")
                return found

    def _begin(self, phase: str) -> None:
        self._events.append(Event(at=self.clock(), kind="phase", text=phase))
        self.view.begin(phase)

    def _ended_by(self, reason: str) -> str:
        left = ", ".join(self.faults.left())
        return f"{reason}; {f'still broken: {left}; run `hdr drill heal`' if left else 'every fault is undone'}"

    def _journal(self, began: float, started: str) -> Journal:
        """Return the journal of a drill that ended before its verdict."""
        seen = self.monitors.observations()
        return Journal(
            label=self.label,
            outcome="failed",
            reason="",
            started=started,
            seconds=round(self.clock() - began, 3),
            experiment=self.experiment.document(),
            settings=self.settings,
            regions=self.regions,
            lost=self.lost,
            floor_seconds=self.floor_seconds,
            events=tuple(sorted([*self._events, *changes(seen)], key=lambda event: event.at)),
            samples=self.load_generator.samples(),
            observations=seen,
            writes=self.ledger.writes(),
            readings=self.self_monitor.readings(),
            instrument_health=None if self._calibrated_at is None else self._health(),
        )


class MethodRunner:
    """Runs the method of a drill once."""

    def __init__(self, drill: Drill) -> None:
        self._drill, self._experiment, self._clock = drill, drill.experiment, drill.clock
        self._running: list[tuple[float, tuple[InjectedFault, ...]]] = []
        """The end of each fault that ends by itself."""
        self._undone: list[str] = []
        self._taking_away: list[InjectedFault] = []
        """The faults that take a region away now."""
        self._at_healing: MethodResult | None = None
        """The result at the time when no fault took a region away any more, for the first time."""
        self._steady: float | None = None
        """The steady success at which the surviving regions were checked."""
        self._missing: tuple[Missing, ...] = ()
        self._next_result_at = 0.0

    def run(self) -> MethodResult:
        """Inject the faults, watch until the result is known, check the surviving regions, and undo the faults."""
        began, scale, experiment = self._clock(), self._drill.time_scale, self._experiment
        lasting = experiment.watch_seconds / scale
        if experiment.expect in ("failover", "drain"):
            lasting = max(lasting, min(experiment.watch_seconds, SHORTEST_WATCH_SECONDS))
        waiting, counts = list(experiment.steps()), experiment.counts_from()
        fault = began + counts.at / scale
        while (now := self._clock()) < began + lasting:
            while waiting and now >= began + waiting[0].at / scale:
                step = waiting.pop(0)
                if step is counts:
                    fault = self._clock()
                faults = self._apply(step)
                if step.lasting is not None:
                    self._running.append((began + (step.at + step.lasting) / scale, faults))
            self._undo_ended(now, fault)
            known = self._clock() >= self._next_result_at and self._known(self._result(fault).milestones)
            if known and not waiting and not self._running:
                break
            self._drill.pause(began, lasting)
        result = self._at_healing or self._result(fault)
        if experiment.expect != "failover":
            result = replace(result, milestones=self._drill.milestones(fault))
        left = self._drill.faults.undo_all()
        for text in left:
            self._drill.record("undo", text)
        return replace(result, rolled_back=(*self._undone, *left))

    def _result(self, fault: float) -> MethodResult:
        """Return the result so far. Before healing, the surviving regions are checked at each new steady success."""
        began = self._clock()
        found = self._drill.milestones(fault)
        self._next_result_at = max(began + MILESTONE_SECONDS, self._clock() + MILESTONE_REST * (self._clock() - began))
        expects_failover = self._experiment.expect == "failover"
        if expects_failover and self._at_healing is None and found.steady_success != self._steady:
            self._steady, self._missing = found.steady_success, ()
            if found.steady_success is not None:
                at_recovery = self._drill.checks.at_recovery
                self._missing = tuple(at_recovery(region, fault_at=fault) for region in self._drill.survivors)
        return MethodResult(fault=fault, healed=self._clock(), at_recovery=self._missing, milestones=found)

    def _apply(self, step: Step) -> tuple[InjectedFault, ...]:
        faults = self._drill.faults.apply(step)
        self._taking_away.extend(each for each in faults if FAULTS[each.fault].takes_region_away)
        for each in faults:
            self._drill.record("fault", str(each))
        return faults

    def _undo_ended(self, now: float, fault: float) -> None:
        """Undo the faults whose time is over."""
        for end, faults in [each for each in self._running if each[0] <= now]:
            given_back = [each for each in faults if FAULTS[each.fault].takes_region_away]
            if given_back and len(given_back) == len(self._taking_away) and self._at_healing is None:
                self._at_healing = self._result(fault)
            for each in given_back:
                self._taking_away.remove(each)
            self._drill.faults.undo(faults)
            self._running.remove((end, faults))
            for each in faults:
                self._undone.append(str(each))
                self._drill.record("undo", str(each))

    def _known(self, found: Milestones) -> bool:
        """Return whether further observation cannot change the result: no client can still have an address from before
        the fault.
        """
        expect = self._experiment.expect
        if expect == "failover" and self._at_healing is not None:
            return True
        changed = found.dns_changed
        if changed is None or self._clock() <= changed + self._drill.ttl_seconds + WINDOW_SECONDS:
            return False
        if expect == "failover":
            oldest = self._drill.load_generator.waiting_since()
            # A request that is still waiting can fail within the window in which it was due.
            return found.steady_success is not None and (
                oldest is None or oldest > found.steady_success + WINDOW_SECONDS
            )
        return expect == "drain"
