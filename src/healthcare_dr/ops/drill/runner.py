"""Plays an experiment: steady state, method, rollbacks, steady state again; and keeps the journal."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from healthcare_dr.ops.drill import recovery
from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.faults import Entry
from healthcare_dr.ops.drill.instruments import changes
from healthcare_dr.ops.drill.journal import Condition, Journal, Outcome
from healthcare_dr.ops.drill.model import Event, Milestones, Missing, Observation, Promise, Sample, Write
from healthcare_dr.ops.drill.steady import conditions
from healthcare_dr.ops.drill.verdict import judge

WINDOW_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.25
AVAILABILITY_PERCENT: Final = 99.99


class Prober(Protocol):
    """The clients: see `prober.Prober`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def samples(self) -> tuple[Sample, ...]: ...


class Ledger(Protocol):
    """The acknowledged writes: see `ledger.Ledger`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def writes(self) -> tuple[Write, ...]: ...
    def missing(self, region: str, *, at: float, fault_at: float) -> Missing: ...


class Instruments(Protocol):
    """What else is looked at: see `instruments.Instruments`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def observations(self) -> tuple[Observation, ...]: ...


class Faults(Protocol):
    """What breaks: see `faults.Faults`."""

    def apply(self, step: Step) -> tuple[Entry, ...]: ...
    def undo(self, entries: tuple[Entry, ...]) -> None: ...
    def undo_all(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Drill:
    """One experiment to be played at `time_scale`; `regions` are the primary and the secondary one."""

    experiment: Experiment
    label: Literal["embedded", "aws"]
    regions: tuple[str, str]
    time_scale: float
    floor_seconds: float
    settings: dict[str, Any]
    prober: Prober
    ledger: Ledger
    instruments: Instruments
    faults: Faults
    conflicts: Callable[[], int]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    _events: list[Event] = field(default_factory=list)

    @property
    def lost(self) -> tuple[str, ...]:
        """The regions that the method takes away, by their names."""
        names = dict(zip(("primary", "secondary"), self.regions, strict=True))
        return tuple(names[role] for role in self.experiment.lost())

    def run(self) -> Journal:
        """Play it. Whatever happens, every fault is undone."""
        began = self.clock()
        blank = self._journal(datetime.now(UTC).isoformat(timespec="seconds"))
        with ExitStack() as stack:
            for left in self.faults.undo_all():
                self._tell("undo", f"left over from before: {left}")
            for part in (self.ledger, self.instruments, self.prober):
                part.start()
                stack.callback(part.stop)
            stack.callback(self.faults.undo_all)
            self._tell("phase", "steady state")
            before = self._steady()
            if not all(condition.held for condition in before):
                broken = "; ".join(f"{c.name}: {c.seen}" for c in before if not c.held)
                return self._end(
                    blank, began, outcome="not started", reason=broken, steady_state={"before": before, "after": ()}
                )
            fault, rolled_back, at_recovery, milestones = self._method()
            healed = self.clock()
            self._tell("phase", "healing")
            after = self._steady()
            healthy = all(condition.held for condition in after)
            after_healing = [self._missing(region, fault) for region in self.regions] if healthy else []
            conflicts = self.conflicts() if healthy else 0
        samples = self.prober.samples()
        if self.experiment.expect == "outage":
            milestones = self._milestones(fault)
        verdict = judge(
            expect=self.experiment.expect,
            milestones=milestones,
            healed=healed,
            at_recovery=at_recovery,
            after_healing=after_healing,
            after=after,
            time_scale=self.time_scale,
        )
        return self._end(
            blank,
            began,
            outcome=verdict.outcome,
            reason=verdict.reason,
            steady_state={"before": before, "after": after},
            milestones=milestones,
            requests=recovery.requests(samples, fault=fault, until=milestones.steady_success or healed),
            missing=(*at_recovery, *after_healing),
            conflicts=conflicts,
            error_budget=recovery.error_budget(
                samples, fault=fault, availability_percent=AVAILABILITY_PERCENT, time_scale=self.time_scale
            ),
            promises=verdict.promises,
            rolled_back=rolled_back,
        )

    def _method(self) -> tuple[float, tuple[str, ...], list[Missing], Milestones]:
        """Inject, watch, look for what is missing at recovery, and undo."""
        self._tell("phase", "method")
        began, scale, undone = self.clock(), self.time_scale, list[str]()
        fault = began + self.experiment.fault_at() / scale
        waiting = sorted(self.experiment.method, key=lambda step: step.at)
        running: list[tuple[float, tuple[Entry, ...]]] = []
        at_recovery: list[Missing] = []
        while (now := self.clock()) < began + self.experiment.watch_seconds / scale:
            while waiting and now >= began + waiting[0].at / scale:
                step = waiting.pop(0)
                if step.at == self.experiment.fault_at():
                    fault = self.clock()
                entries = self.faults.apply(step)
                for entry in entries:
                    self._tell("fault", str(entry))
                if step.lasting is not None:
                    running.append((began + (step.at + step.lasting) / scale, entries))
            for end, entries in [item for item in running if item[0] <= now]:
                self.faults.undo(entries)
                undone += [str(entry) for entry in entries]
                self._tell("undo", ", ".join(str(entry) for entry in entries))
                running.remove((end, entries))
            steady = self._milestones(fault).steady_success if not waiting and not running else None
            if self.experiment.expect == "failover" and steady is not None:
                break
            self.sleep(POLL_SECONDS)
        milestones = self._milestones(fault)
        if self.experiment.expect == "failover" and milestones.steady_success is not None:
            survivors = [region for region in self.regions if region not in self.lost]
            at_recovery = [self._missing(region, fault) for region in survivors]
        left = self.faults.undo_all()
        for text in left:
            self._tell("undo", text)
        return fault, (*undone, *left), at_recovery, milestones

    def _milestones(self, fault: float) -> Milestones:
        return recovery.milestones(
            self.prober.samples(),
            self.instruments.observations(),
            fault=fault,
            lost=self.lost,
            window=WINDOW_SECONDS,
        )

    def _missing(self, region: str, fault: float) -> Missing:
        return self.ledger.missing(region, at=self.clock(), fault_at=fault)

    def _steady(self) -> tuple[Condition, ...]:
        """Wait for the steady state; what it was in the end when it did not come."""
        deadline = self.clock() + STEADY_SECONDS
        earliest = self.clock() + WINDOW_SECONDS
        while True:
            self.sleep(POLL_SECONDS)
            found = conditions(
                self.experiment.steady_state,
                self.prober.samples(),
                self.instruments.observations(),
                regions=self.regions,
                now=self.clock(),
                window=WINDOW_SECONDS,
            )
            now = self.clock()
            if now >= deadline or (now >= earliest and all(condition.held for condition in found)):
                return found

    def _tell(self, kind: Literal["phase", "fault", "undo", "note"], text: str) -> None:
        self._events.append(Event(at=self.clock(), kind=kind, text=text))
        self.say(f"{kind}: {text}")

    def _journal(self, started: str) -> Journal:
        promises: tuple[Promise, ...] = ()
        return Journal(
            label=self.label,
            outcome="not started",
            reason="",
            started=started,
            seconds=0.0,
            experiment=self.experiment.document(),
            settings=self.settings,
            regions=self.regions,
            lost=self.lost,
            steady_state={},
            events=(),
            samples=(),
            observations=(),
            writes=(),
            milestones=None,
            floor_seconds=self.floor_seconds,
            requests=None,
            missing=(),
            conflicts=0,
            error_budget=None,
            promises=promises,
            rolled_back=(),
        )

    def _end(self, journal: Journal, began: float, *, outcome: Outcome, **found: Any) -> Journal:
        seen = self.instruments.observations()
        return replace(
            journal,
            outcome=outcome,
            seconds=round(self.clock() - began, 3),
            events=tuple(sorted([*self._events, *changes(seen)], key=lambda event: event.at)),
            samples=self.prober.samples(),
            observations=seen,
            writes=self.ledger.writes(),
            **found,
        )
