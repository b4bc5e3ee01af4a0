"""The method of an experiment: faults in their order, watching, and rollbacks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.model import Milestones, Missing
from healthcare_dr.ops.drill.parts import Faults
from healthcare_dr.ops.drill.record import Entry


@dataclass(frozen=True, kw_only=True)
class Played:
    """What came of it, in seconds on the drill's clock."""

    fault: float
    healed: float
    """When the last fault was undone."""
    rolled_back: tuple[str, ...]
    at_recovery: tuple[Missing, ...]
    """What the surviving region did not have at steady success; nothing was looked for without one."""
    milestones: Milestones


@dataclass(frozen=True, kw_only=True)
class Method:
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
    _running: list[tuple[float, tuple[Entry, ...]]] = field(default_factory=list, init=False)
    _undone: list[str] = field(default_factory=list, init=False)

    def play(self) -> Played:
        """Break, watch until it is known what came of it, look for what is missing, and undo."""
        began, scale = self.clock(), self.time_scale
        lasting = self.experiment.watch_seconds / scale
        fault, counted = began + self.experiment.fault_at() / scale, False
        waiting = list(self.experiment.steps())
        while (now := self.clock()) < began + lasting:
            while waiting and now >= began + waiting[0].at / scale:
                step = waiting.pop(0)
                entries = self._apply(step)
                if not counted and step.fault != "control-planes" and step.at >= self.experiment.fault_at():
                    fault, counted = self.clock(), True
                if step.lasting is not None:
                    self._running.append((began + (step.at + step.lasting) / scale, entries))
            self._undo_what_is_over(now)
            if not waiting and not self._running and self._known(fault):
                break
            self.pause(began, lasting)
        milestones, at_recovery = self.milestones(fault), tuple[Missing, ...]()
        if self.experiment.expect == "failover" and milestones.steady_success is not None:
            at_recovery = tuple(self.missing(region, fault) for region in self.survivors)
        left = self.faults.undo_all()
        for text in left:
            self.tell("undo", text)
        return Played(
            fault=fault,
            healed=self.clock(),
            rolled_back=(*self._undone, *left),
            at_recovery=at_recovery,
            milestones=milestones,
        )

    def _apply(self, step: Step) -> tuple[Entry, ...]:
        entries = self.faults.apply(step)
        for entry in entries:
            self.tell("fault", str(entry))
        return entries

    def _undo_what_is_over(self, now: float) -> None:
        for end, entries in [item for item in self._running if item[0] <= now]:
            self.faults.undo(entries)
            self._running.remove((end, entries))
            for entry in entries:
                self._undone.append(str(entry))
                self.tell("undo", str(entry))

    def _known(self, fault: float) -> bool:
        """Whether watching on would show nothing new."""
        if self.experiment.expect == "failover":
            found, oldest = self.milestones(fault), self.waiting_since()
            if found.steady_success is None or found.dns_changed is None:
                return False
            # What hangs still may spoil the window in which it was due.
            return oldest is None or oldest > found.steady_success + self.window_seconds
        if self.experiment.expect == "drain":
            changed = self.milestones(fault).dns_changed
            return changed is not None and self.clock() > changed + self.ttl_seconds + self.window_seconds
        return False
