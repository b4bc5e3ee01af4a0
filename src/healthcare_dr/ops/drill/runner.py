"""Plays an experiment: steady state, method, rollbacks, steady state again; and keeps the journal."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.ops.drill import recovery
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.healing import healed
from healthcare_dr.ops.drill.instruments import changes
from healthcare_dr.ops.drill.journal import Condition, Journal
from healthcare_dr.ops.drill.method import Method, Played
from healthcare_dr.ops.drill.model import Event, Milestones, Missing
from healthcare_dr.ops.drill.parts import Faults, Instruments, Ledger, Merging, Prober
from healthcare_dr.ops.drill.steady import conditions
from healthcare_dr.ops.drill.verdict import judge
from healthcare_dr.ops.drill.view import View

WINDOW_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.25
AVAILABILITY_PERCENT: Final = 99.99

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
    prober: Prober
    ledger: Ledger
    instruments: Instruments
    faults: Faults
    merging: Merging
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    view: View
    held: Callable[[], AbstractContextManager[None]] = nullcontext
    """Holds back in its block whatever would end the drill."""
    _events: list[Event] = field(default_factory=list, init=False)

    @property
    def lost(self) -> tuple[str, ...]:
        """The regions that the method takes away, by their names."""
        names = dict(zip(("primary", "secondary"), self.regions, strict=True))
        return tuple(names[role] for role in self.experiment.lost())

    def run(self) -> Journal:
        """Play it. Whatever happens, Ctrl-C included, every fault is undone, and the journal tells what happened.

        Raises:
            HealthcareDrError: a fault that was left over from before cannot be undone; nothing was begun.
        """
        began, started = self.clock(), datetime.now(UTC).isoformat(timespec="seconds")
        found: dict[str, Any] = {}
        for left in self.faults.undo_all():
            self.tell("undo", f"left over from before: {left}")
        try:
            with ExitStack() as stack:
                for part in (self.ledger, self.instruments, self.prober):
                    part.start()
                    stack.callback(part.stop)
                stack.callback(self._undo)
                self._play(found)
        except KeyboardInterrupt as stop:
            found |= {"outcome": "interrupted", "reason": self._ended_by(str(stop) or "interrupted")}
        except HealthcareDrError as error:
            found |= {"outcome": "failed", "reason": self._ended_by(str(error))}
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
        before = self._steady("steady state")
        found["steady_state"] = {"before": before, "after": ()}
        if not all(condition.held for condition in before):
            broken = "; ".join(f"{condition.name}: {condition.seen}" for condition in before if not condition.held)
            found |= {"outcome": "not started", "reason": broken}
            return
        self._begin("method")
        played = Method(
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
        after = self._steady("healing")
        found["steady_state"] = {"before": before, "after": after}
        self.prober.finish()
        if self.experiment.expect != "failover":
            played = replace(played, milestones=self._milestones(played.fault))
        self._judge(found, played, after)

    def _judge(self, found: dict[str, Any], played: Played, after: tuple[Condition, ...]) -> None:
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
        self._begin("looking for what is missing")
        data = healed(
            self.ledger, self.merging, self.regions, fault_at=played.fault, clock=self.clock, sleep=self.sleep
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
            time_scale=self.time_scale,
        )
        found |= {
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "missing": (*played.at_recovery, *data.missing),
            "unfinished": data.unfinished,
            "conflicts": data.conflicts,
            "promises": verdict.promises,
        }

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
        return self.ledger.missing(region, at=self.clock(), fault_at=fault)

    def _steady(self, phase: str) -> tuple[Condition, ...]:
        """Wait for the steady state; what it was in the end when it did not come."""
        self._begin(phase)
        began = self.clock()
        while True:
            self._pause(began, STEADY_SECONDS)
            now = self.clock()
            found = conditions(
                self.experiment.steady_state,
                self.prober.samples(),
                self.instruments.observations(),
                regions=self.regions,
                now=now,
                window=WINDOW_SECONDS,
                waiting_since=self.prober.waiting_since(),
                awaited=self.ledger.awaited(),
            )
            held = now >= began + WINDOW_SECONDS and all(condition.held for condition in found)
            if held or now >= began + STEADY_SECONDS:
                return found

    def _pause(self, began: float, lasting: float) -> None:
        """Sleep for a moment of a phase that lasts for so many seconds at most, and show how it stands."""
        self.sleep(POLL_SECONDS)
        self.prober.check()
        now = self.clock()
        self.view.look(self.prober.samples(), self.instruments.observations(), now=now, done=now - began, total=lasting)

    def _begin(self, phase: str) -> None:
        self._events.append(Event(at=self.clock(), kind="phase", text=phase))
        self.view.begin(phase)

    def _ended_by(self, reason: str) -> str:
        left = ", ".join(self.faults.left())
        mend = f"still broken: {left}; run `hdr drill heal`" if left else "every fault is undone"
        return f"{reason}; {mend}"

    def _journal(self, began: float, started: str) -> Journal:
        """What every drill leaves, however it ended."""
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
        )
