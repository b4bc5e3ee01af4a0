"""Run an experiment: calibration, steady state, method, rollbacks, steady state; and write the journal."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.ops.drill import recovery
from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.faults import FAULTS, InjectedFault
from healthcare_dr.ops.drill.hypothesis import conditions, progress_of, recent
from healthcare_dr.ops.drill.journal import Condition, Event, InstrumentHealth, Journal, Milestones, Missing, Outcome
from healthcare_dr.ops.drill.monitors import changes
from healthcare_dr.ops.drill.parts import ConflictResolver, Faults, Ledger, LoadGenerator, Monitors, SelfMonitor
from healthcare_dr.ops.drill.progress import ProgressView
from healthcare_dr.ops.drill.recovery_checks import Delivery, healed, settled
from healthcare_dr.ops.drill.self_monitor import instrument_health
from healthcare_dr.ops.drill.verdict import FEWEST_WRITES, judge, not_carried
from healthcare_dr.ops.drill.waiting import STALL_SECONDS, StallDetector

RESTING: Final = 20
"""Milestones are not computed again for so many times as long as the last time took: of 300,000 requests that is a
sixth of a second, which the clients in the same process would miss."""
EVERY_SECONDS: Final = 0.5
"""How often milestones are computed at most."""
SHORTEST_WATCH_SECONDS: Final = 45.0
"""However fast a failover is played, it is watched for so long unless it is known before: the shortest limit of
recovery time, and what it takes to see that service stays."""


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """The result of a method; times are seconds on the drill's clock."""

    fault: float
    healed: float
    """When no fault took a region away any more, for the first time: healing begins."""
    at_recovery: tuple[Missing, ...]
    """What the surviving region did not have at steady success; nothing was looked for without one."""
    milestones: Milestones
    """Of a failover those that were reached before healing: service that came back with the region is none."""
    rolled_back: tuple[str, ...] = ()


@dataclass(kw_only=True)
class MethodRunner:
    """One playing. `pause` waits for a moment of a phase, given its beginning and its longest duration."""

    experiment: Experiment
    time_scale: float
    milestones: Callable[[float], Milestones]
    waiting_since: Callable[[], float | None]
    ttl_seconds: float
    window_seconds: float
    faults: Faults
    survivors: tuple[str, ...]
    missing: Callable[[str, float], Missing]
    clock: Callable[[], float]
    pause: Callable[[float, float], None]
    tell: Callable[[Literal["fault", "undo"], str], None]
    _running: list[tuple[float, tuple[InjectedFault, ...]]] = field(default_factory=list, init=False)
    _undone: list[str] = field(default_factory=list, init=False)
    _lost_to: list[InjectedFault] = field(default_factory=list, init=False)
    """The faults that take a region away now."""
    _at_healing: MethodResult | None = field(default=None, init=False)
    """What had come of it when that was first over."""
    _steady: float | None = field(default=None, init=False)
    """The steady success at which the survivors were asked for what they lack."""
    _lacking: tuple[Missing, ...] = field(default=(), init=False)
    _ask_at: float = field(default=0.0, init=False)
    """When it may be asked again what has come of it."""

    def play(self) -> MethodResult:
        """Break, watch until it is known what came of it, look for what is missing, and undo."""
        began, scale = self.clock(), self.time_scale
        lasting = self.experiment.watch_seconds / scale
        if self.experiment.expect in ("failover", "drain"):
            lasting = max(lasting, min(self.experiment.watch_seconds, SHORTEST_WATCH_SECONDS))
        waiting, counts = list(self.experiment.steps()), self.experiment.counts_from()
        fault = began + counts.at / scale
        while (now := self.clock()) < began + lasting:
            while waiting and now >= began + waiting[0].at / scale:
                step = waiting.pop(0)
                if step is counts:
                    fault = self.clock()
                entries = self._apply(step)
                if step.lasting is not None:
                    self._running.append((began + (step.at + step.lasting) / scale, entries))
            self._undo_what_is_over(now, fault)
            known = self.clock() >= self._ask_at and self._known(self._seen(fault).milestones)
            if known and not waiting and not self._running:
                break
            self.pause(began, lasting)
        played = self._at_healing or self._seen(fault)
        if self.experiment.expect != "failover":
            played = replace(played, milestones=self.milestones(fault))
        left = self.faults.undo_all()
        for text in left:
            self.tell("undo", text)
        return replace(played, rolled_back=(*self._undone, *left))

    def _seen(self, fault: float) -> MethodResult:
        """Return the result so far. Before faults are undone, the surviving regions are checked at each new steady
        success.
        """
        asked = self.clock()
        found = self.milestones(fault)
        self._ask_at = max(asked + EVERY_SECONDS, self.clock() + RESTING * (self.clock() - asked))
        if self.experiment.expect == "failover" and self._at_healing is None and found.steady_success != self._steady:
            self._steady, self._lacking = found.steady_success, ()
            if found.steady_success is not None:
                self._lacking = tuple(self.missing(region, fault) for region in self.survivors)
        return MethodResult(fault=fault, healed=self.clock(), at_recovery=self._lacking, milestones=found)

    def _apply(self, step: Step) -> tuple[InjectedFault, ...]:
        entries = self.faults.apply(step)
        self._lost_to.extend(entry for entry in entries if FAULTS[entry.fault].takes_region_away)
        for entry in entries:
            self.tell("fault", str(entry))
        return entries

    def _undo_what_is_over(self, now: float, fault: float) -> None:
        for end, entries in [item for item in self._running if item[0] <= now]:
            given_back = [entry for entry in entries if FAULTS[entry.fault].takes_region_away]
            if given_back and len(given_back) == len(self._lost_to) and self._at_healing is None:
                self._at_healing = self._seen(fault)
            for entry in given_back:
                self._lost_to.remove(entry)
            self.faults.undo(entries)
            self._running.remove((end, entries))
            for entry in entries:
                self._undone.append(str(entry))
                self.tell("undo", str(entry))

    def _known(self, found: Milestones) -> bool:
        """Return whether further observation cannot change the result: no client may still hold an address of before
        the fault.
        """
        if self.experiment.expect == "failover" and self._at_healing is not None:
            return True
        changed = found.dns_changed
        if changed is None or self.clock() <= changed + self.ttl_seconds + self.window_seconds:
            return False
        if self.experiment.expect == "failover":
            oldest = self.waiting_since()
            # What hangs still may spoil the window in which it was due.
            return found.steady_success is not None and (
                oldest is None or oldest > found.steady_success + self.window_seconds
            )
        return self.experiment.expect == "drain"


WINDOW_SECONDS: Final = 5.0
LONGEST_START_SECONDS: Final = 300.0
LONGEST_HEALING_SECONDS: Final = 1800.0
"""A platform that moves and never becomes steady is given up after so long: before the method, where nothing is lost by
that, and after healing."""
POLL_SECONDS: Final = 0.25
SHOWN_SECONDS: Final = 1.0
"""How often progress is shown."""
AVAILABILITY_PERCENT: Final = 99.99
RECENT_OBSERVATIONS: Final = 40
"""More than are made in a window."""

Kind = Literal["phase", "fault", "undo", "note"]


@dataclass(frozen=True, kw_only=True)
class Drill:
    """One experiment to be played at `time_scale`; `regions` are the primary and the secondary one."""

    experiment: Experiment
    label: Literal["embedded", "aws"]
    regions: tuple[str, str]
    time_scale: float
    floor_seconds: float
    ttl_seconds: float
    """Of DNS answers, on the drill's clock."""
    settings: dict[str, Any]
    prober: LoadGenerator
    ledger: Ledger
    instruments: Monitors
    monitor: SelfMonitor
    faults: Faults
    merging: ConflictResolver
    delivery: Delivery | None
    """What replication has delivered; None where nothing says so."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    view: ProgressView
    held: Callable[[], AbstractContextManager[None]] = nullcontext
    """Holds back in its block whatever would end the drill."""
    _events: list[Event] = field(default_factory=list, init=False)
    _shown: list[float] = field(default_factory=lambda: [0.0], init=False)
    """When progress was shown last."""
    _calibrated: list[float] = field(default_factory=list, init=False)
    """When the calibration ended; empty until then."""

    @property
    def lost(self) -> tuple[str, ...]:
        """The regions that the method takes away, by their names."""
        names = dict(zip(("primary", "secondary"), self.regions, strict=True))
        return tuple(names[role] for role in self.experiment.lost())

    def run(self) -> Journal:
        """Play it. Whatever happens, Ctrl-C included, every fault is undone, and the journal reports what happened.

        Raises:
            HealthcareDrError: a fault that was left over from before cannot be undone; nothing was begun.
        """
        began, started = self.clock(), datetime.now(UTC).isoformat(timespec="seconds")
        found: dict[str, Any] = {}
        for left in self.faults.undo_all():
            self.tell("undo", f"left over from before: {left}")
        try:
            with ExitStack() as stack:
                for part in (self.ledger, self.instruments, self.monitor, self.prober):
                    part.start()
                    stack.callback(part.stop)
                stack.callback(self._undo)
                self._play(found)
        except KeyboardInterrupt as stop:
            found |= {"outcome": "interrupted", "reason": self._ended_by(str(stop) or "interrupted")}
        except HealthcareDrError as error:
            outcome, reason = self._without_verdict("failed", str(error))
            found |= {"outcome": outcome, "reason": self._ended_by(reason)}
        finally:
            self.view.close()
        return replace(self._journal(began, started), **found)

    def tell(self, kind: Kind, text: str) -> None:
        """Note that something happened."""
        self._events.append(Event(at=self.clock(), kind=kind, text=text))
        self.view.tell(f"{kind}: {text}")

    def _undo(self) -> None:
        with self.held():
            self.faults.undo_all()

    def _play(self, found: dict[str, Any]) -> None:
        """Fill in what goes into the journal as it becomes known."""
        found["settings"] = self._calibrate()
        before = self._steady("steady state", LONGEST_START_SECONDS, with_writes=self._needs_writes())
        found["steady_state"] = {"before": before, "after": ()}
        if not all(condition.held for condition in before):
            broken = "; ".join(f"{condition.name}: {condition.seen}" for condition in before if not condition.held)
            found["outcome"], found["reason"] = self._without_verdict("not started", broken)
            return
        self._begin("method")
        self.prober.keep_records()
        acknowledged = self._acknowledged()
        played = MethodRunner(
            experiment=self.experiment,
            time_scale=self.time_scale,
            milestones=self._milestones,
            waiting_since=self.prober.waiting_since,
            ttl_seconds=self.ttl_seconds,
            window_seconds=WINDOW_SECONDS,
            faults=self.faults,
            survivors=tuple(region for region in self.regions if region not in self.lost),
            missing=self._missing,
            clock=self.clock,
            pause=self._pause,
            tell=self.tell,
        ).play()
        found["rolled_back"] = played.rolled_back
        found["milestones"] = played.milestones
        after = self._steady("healing", LONGEST_HEALING_SECONDS)
        found["steady_state"] = {"before": before, "after": after}
        self.prober.finish()
        if self.experiment.expect != "failover":
            played = replace(played, milestones=self._milestones(played.fault))
        self._judge(found, played, after, acknowledged)

    def _judge(
        self, found: dict[str, Any], played: MethodResult, after: tuple[Condition, ...], acknowledged_before: int
    ) -> None:
        samples = self.prober.samples()
        counted = recovery.requests(
            samples,
            fault=played.fault,
            until=None if self.experiment.serves() else played.milestones.steady_success or played.healed,
        )
        budget = recovery.error_budget(
            samples,
            fault=played.fault,
            availability_percent=AVAILABILITY_PERCENT,
            time_scale=self.time_scale,
            patience=self.experiment.load.timeout_seconds,
        )
        found |= {"milestones": played.milestones, "healed": played.healed, "requests": counted, "error_budget": budget}
        self._begin("looking for missing writes")
        data = healed(
            self.ledger,
            self.merging,
            self.regions,
            fault_at=played.fault,
            delivery=self.delivery,
            clock=self.clock,
            sleep=self.sleep,
            report=self.view.show,
            note=lambda text: self.tell("note", text),
        )
        verdict = judge(
            expect=self.experiment.expect,
            serves=self.experiment.serves(),
            milestones=played.milestones,
            healed=played.healed,
            at_recovery=played.at_recovery,
            healing=data,
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
            "missing": (*played.at_recovery, *data.missing),
            "unfinished": data.unfinished.numbers,
            "conflicts": data.conflicts,
            "promises": verdict.promises,
        }

    def _calibrate(self) -> dict[str, Any]:
        """Wait until the rate is known; returns the settings with it."""
        self._begin("calibration")
        while (found := self.prober.calibration()) is None:
            self.sleep(POLL_SECONDS)
            self.prober.check()
        self._calibrated.append(self.clock())
        self.tell("note", f"sending {found.rate:g} requests per second: {found.reason}")
        return self.settings | {
            "rate": found.rate,
            "rate_reason": found.reason,
            "served_per_second": found.served_per_second,
        }

    def _health(self) -> InstrumentHealth:
        """Return whether the machine has carried the measurement so far."""
        since = self._calibrated[0] if self._calibrated else 0.0
        return instrument_health(self.monitor.readings(), since=since)

    def _without_verdict(self, otherwise: Outcome, reason: str) -> tuple[Outcome, str]:
        """Return the outcome and reason of a drill that ended before its verdict."""
        health = self._health()
        return (otherwise, reason) if health.sufficient else ("inconclusive", not_carried(health, seen=reason))

    def _milestones(self, fault: float) -> Milestones:
        return recovery.milestones(
            self.prober.samples(),
            self.instruments.observations(),
            fault=fault,
            lost=self.lost,
            window=WINDOW_SECONDS,
            patience=self.experiment.load.timeout_seconds,
        )

    def _missing(self, region: str, fault: float) -> Missing:
        """Return the writes that a surviving region lacks at recovery; without delivery data, at present."""
        if self.delivery is None:
            return self.ledger.missing(region, at=self.clock(), fault_at=fault)
        return settled(
            self.ledger,
            region,
            fault_at=fault,
            own=False,
            delivery=self.delivery,
            clock=self.clock,
            sleep=self.sleep,
            report=self.view.show,
        )

    def _needs_writes(self) -> bool:
        load = self.experiment.load
        return self.experiment.expect == "failover" and bool(
            load.write_percent or load.document_percent or load.update_percent
        )

    def _acknowledged(self) -> int:
        """Return how many writes the regions that will be lost have acknowledged."""
        return sum(write.region in self.lost for write in self.ledger.writes())

    def _steady(self, phase: str, longest: float, *, with_writes: bool = False) -> tuple[Condition, ...]:
        """Wait for the steady state, `with_writes` also for enough of them, for as long as the platform gets nearer.

        It waits for `longest` seconds at most. Returns what the conditions were in the end.
        """
        self._begin(phase)
        began, stall, noted = self.clock(), StallDetector(self.clock), 0.0
        while True:
            self._pause(began, STALL_SECONDS)
            now, seen = self.clock(), self.instruments.observations()
            found = conditions(
                self.experiment.steady_state,
                recent(self.prober.samples(), now - WINDOW_SECONDS),
                seen[-RECENT_OBSERVATIONS:],
                regions=self.regions,
                now=now,
                window=WINDOW_SECONDS,
                waiting_since=self.prober.waiting_since(),
                awaited=self.ledger.awaited(),
            )
            held = now >= began + WINDOW_SECONDS and all(condition.held for condition in found)
            writes = min(FEWEST_WRITES, self._acknowledged()) if with_writes else FEWEST_WRITES
            if (held and writes == FEWEST_WRITES) or now >= began + longest:
                return found
            if now - noted >= SHOWN_SECONDS:
                noted = now
                delivered = None if self.delivery is None else self.delivery.delivered_until()
                stall.note((writes, progress_of(found, seen, delivered_until=delivered)))
            if stall.over:
                broken = ", ".join(condition.name for condition in found if not condition.held)
                self.tell("note", f"no progress for {STALL_SECONDS:g} s: {broken or 'no write is acknowledged'}")
                return found

    def _pause(self, began: float, lasting: float) -> None:
        """Sleep for a moment of a phase that lasts for so many seconds at most, and show how it stands."""
        self.sleep(POLL_SECONDS)
        self.prober.check()
        now = self.clock()
        if now - self._shown[0] >= SHOWN_SECONDS:
            self._shown[0] = now
            self.view.look(
                self.prober.samples(), self.instruments.observations(), now=now, done=now - began, total=lasting
            )

    def _begin(self, phase: str) -> None:
        self._events.append(Event(at=self.clock(), kind="phase", text=phase))
        self.view.begin(phase)

    def _ended_by(self, reason: str) -> str:
        left = ", ".join(self.faults.left())
        mend = f"still broken: {left}; run `hdr drill heal`" if left else "every fault is undone"
        return f"{reason}; {mend}"

    def _journal(self, began: float, started: str) -> Journal:
        """Return the journal, however the drill ended."""
        seen = self.instruments.observations()
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
            samples=self.prober.samples(),
            observations=seen,
            writes=self.ledger.writes(),
            readings=self.monitor.readings(),
            instrument_health=self._health() if self._calibrated else None,
        )
