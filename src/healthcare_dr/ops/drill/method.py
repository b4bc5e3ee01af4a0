"""Run the method of an experiment: inject faults in their order, watch, and roll back."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from healthcare_dr.ops.drill.experiment import TAKE_AWAY, Experiment, Step
from healthcare_dr.ops.drill.model import Milestones, Missing
from healthcare_dr.ops.drill.parts import Faults
from healthcare_dr.ops.drill.record import Entry

RESTING: Final = 20
"""Milestones are not computed again for so many times as long as the last time took: of 300,000 requests that is a
sixth of a second, which the clients in the same process would miss."""
EVERY_SECONDS: Final = 0.5
"""How often milestones are computed at most."""
SHORTEST_WATCH_SECONDS: Final = 45.0
"""However fast a failover is played, it is watched for so long unless it is known before: the shortest limit of
recovery time, and what it takes to see that service stays."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What came of it, in seconds on the drill's clock."""

    fault: float
    healed: float
    """When no fault took a region away any more, for the first time: healing begins."""
    at_recovery: tuple[Missing, ...]
    """What the surviving region did not have at steady success; nothing was looked for without one."""
    milestones: Milestones
    """Of a failover those that were reached before healing: service that came back with the region is none."""
    rolled_back: tuple[str, ...] = ()


@dataclass(kw_only=True)
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
    _lost_to: list[Entry] = field(default_factory=list, init=False)
    """The faults that take a region away now."""
    _at_healing: Played | None = field(default=None, init=False)
    """What had come of it when that was first over."""
    _steady: float | None = field(default=None, init=False)
    """The steady success at which the survivors were asked for what they lack."""
    _lacking: tuple[Missing, ...] = field(default=(), init=False)
    _ask_at: float = field(default=0.0, init=False)
    """When it may be asked again what has come of it."""

    def play(self) -> Played:
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

    def _seen(self, fault: float) -> Played:
        """What has come of it so far; before anything is healed, the survivors are asked at each new steady success."""
        asked = self.clock()
        found = self.milestones(fault)
        self._ask_at = max(asked + EVERY_SECONDS, self.clock() + RESTING * (self.clock() - asked))
        if self.experiment.expect == "failover" and self._at_healing is None and found.steady_success != self._steady:
            self._steady, self._lacking = found.steady_success, ()
            if found.steady_success is not None:
                self._lacking = tuple(self.missing(region, fault) for region in self.survivors)
        return Played(fault=fault, healed=self.clock(), at_recovery=self._lacking, milestones=found)

    def _apply(self, step: Step) -> tuple[Entry, ...]:
        entries = self.faults.apply(step)
        self._lost_to.extend(entry for entry in entries if entry.fault in TAKE_AWAY)
        for entry in entries:
            self.tell("fault", str(entry))
        return entries

    def _undo_what_is_over(self, now: float, fault: float) -> None:
        for end, entries in [item for item in self._running if item[0] <= now]:
            given_back = [entry for entry in entries if entry.fault in TAKE_AWAY]
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
        """Whether watching on would show nothing new: no client may hold an address of before any more."""
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
