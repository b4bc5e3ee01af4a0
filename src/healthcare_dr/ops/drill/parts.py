"""The parts of a drill, as its runner sees them."""

from collections.abc import Collection
from typing import Protocol

from healthcare_dr.ops.drill.experiment import Step
from healthcare_dr.ops.drill.fault_journal import InjectedFault
from healthcare_dr.ops.drill.journal import Missing, Observation, Reading, Sample, Write
from healthcare_dr.ops.drill.load.calibration import Calibration
from healthcare_dr.ops.drill.load.ledger import OnAnswer, Unfinished


class LoadGenerator(Protocol):
    """The load generator: see `prober.Prober`."""

    def start(self) -> None:
        """Begin to send, after a calibration unless the rate is given."""

    def calibration(self) -> Calibration | None:
        """How the rate was found; None until it is."""

    def finish(self) -> None:
        """Send no more, and wait until each request has ended. Raises as `check`."""

    def stop(self) -> None:
        """Stop at once; nothing happens when it is stopped already."""

    def check(self) -> None:
        """Raise what ended them early."""

    def samples(self) -> tuple[Sample, ...]:
        """All requests that have ended so far."""

    def keep_records(self) -> None:
        """From now on read and update only patients that both regions have by now."""

    def waiting_since(self) -> float | None:
        """When the oldest request that has not ended was due; None when none is under way."""


class Ledger(Protocol):
    """The acknowledged writes: see `ledger.Ledger`."""

    def start(self) -> None:
        """Begin to follow replication."""

    def stop(self) -> None:
        """Follow no more."""

    def writes(self) -> tuple[Write, ...]:
        """All that were acknowledged so far."""

    def awaited(self) -> frozenset[str]:
        """The regions where nothing has arrived yet that another one has acknowledged."""

    def missing(
        self,
        region: str,
        *,
        at: float,
        fault_at: float,
        numbers: Collection[int] | None = None,
        own: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Missing:
        """What other regions acknowledged, with `own` this one too, and it does not have; of `numbers` alone where
        they are given."""

    def unfinished(
        self, region: str, *, numbers: Collection[int] | None = None, on_answer: OnAnswer | None = None
    ) -> Unfinished:
        """The documents that are not final in this region; of `numbers` alone where given."""


class SelfMonitor(Protocol):
    """How late the drill itself and the machine are: see `self_monitor.SelfMonitor`."""

    def start(self) -> None:
        """Begin to take readings."""

    def stop(self) -> None:
        """End."""

    def readings(self) -> tuple[Reading, ...]:
        """Every reading so far."""


class Monitors(Protocol):
    """What else is looked at: see `instruments.Instruments`."""

    def start(self) -> None:
        """Begin to look."""

    def stop(self) -> None:
        """Look no more."""

    def observations(self) -> tuple[Observation, ...]:
        """All that was seen so far."""


class Faults(Protocol):
    """What breaks: see `faults.Faults`."""

    def apply(self, step: Step) -> tuple[InjectedFault, ...]:
        """Break what the step says."""

    def undo(self, entries: tuple[InjectedFault, ...]) -> None:
        """Heal these."""

    def undo_all(self) -> tuple[str, ...]:
        """Heal everything that is on record."""

    def left(self) -> tuple[str, ...]:
        """What is still on record as broken."""


class ResolvedConflicts(Protocol):
    """What became of the conflicts of a drill."""

    @property
    def found(self) -> int:
        """How many conflicts were shown."""

    @property
    def settled(self) -> int:
        """How many of them are settled."""

    @property
    def left(self) -> tuple[str, ...]:
        """The ids of the records that are still in conflict, those that no region showed included."""

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The ids of the records of which nothing is known, because the region was busy."""


class ConflictResolver(Protocol):
    """Settles the conflicts that a drill has made: see `merging.Merging`."""

    def run(self) -> ResolvedConflicts:
        """Find and merge them."""
