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
        waiting = list(self.experiment.steps())
        counts = self.experiment.counts_from()
        fault, at_recovery = began + counts.at / scale, tuple[Missing, ...]()
        looked_at: float | None = None
        while (now := self.clock()) < began + lasting:
            while waiting and now >= began + waiting[0].at / scale:
                step = waiting.pop(0)
                if step is counts:
                    fault = self.clock()
                entries = self._apply(step)
                if step.lasting is not None:
                    self._running.append((began + (step.at + step.lasting) / scale, entries))
            self._undo_what_is_over(now)
            found = self.milestones(fault)
            if self.experiment.expect == "failover" and found.steady_success not in (None, looked_at):
                looked_at = found.steady_success
                at_recovery = tuple(self.missing(region, fault) for region in self.survivors)
            if not waiting and not self._running and self._known(found):
                break
            self.pause(began, lasting)
        milestones = self.milestones(fault)
        if milestones.steady_success is None:
            at_recovery = ()
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

    def _known(self, found: Milestones) -> bool:
        """Whether watching on would show nothing new: no client may hold an address of before any more."""
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
