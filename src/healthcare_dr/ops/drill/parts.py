"""The parts of a drill, as its runner sees them."""

from collections.abc import Collection
from typing import Protocol

from healthcare_dr.ops.drill.experiment import Step
from healthcare_dr.ops.drill.faults import InjectedFault
from healthcare_dr.ops.drill.journal import Missing, Observation, Reading, Sample, Write
from healthcare_dr.ops.drill.load.calibration import Calibration
from healthcare_dr.ops.drill.load.ledger import OnAnswer, Unfinished


class LoadGenerator(Protocol):
    """The load generator: see `prober.Prober`."""

    def start(self) -> None:
        """Begin to send, after a calibration unless the rate is given."""

    def calibration(self) -> Calibration | None:
        """Return how the rate was determined; None before."""

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
        """Return when the oldest request in flight was due; None when there is none."""


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
        """Return the writes acknowledged by other regions, with `own` by this one too, that it lacks; restricted to
        `numbers`.
        """

    def unfinished(
        self, region: str, *, numbers: Collection[int] | None = None, on_answer: OnAnswer | None = None
    ) -> Unfinished:
        """The documents that are not final in this region; of `numbers` alone where given."""


class SelfMonitor(Protocol):
    """Measures the lateness of the drill itself: see `self_monitor.SelfMonitor`."""

    def start(self) -> None:
        """Begin to take readings."""

    def stop(self) -> None:
        """End."""

    def readings(self) -> tuple[Reading, ...]:
        """Every reading so far."""


class Monitors(Protocol):
    """Observes the platform: see `monitors.Monitors`."""

    def start(self) -> None:
        """Begin to look."""

    def stop(self) -> None:
        """Look no more."""

    def observations(self) -> tuple[Observation, ...]:
        """All that was seen so far."""


class Faults(Protocol):
    """Injects and undoes faults: see `fault_journal.FaultJournal`."""

    def apply(self, step: Step) -> tuple[InjectedFault, ...]:
        """Inject the faults of the step."""

    def undo(self, entries: tuple[InjectedFault, ...]) -> None:
        """Heal these."""

    def undo_all(self) -> tuple[str, ...]:
        """Heal everything that is on record."""

    def left(self) -> tuple[str, ...]:
        """Return the faults that are still recorded."""


class ResolvedConflicts(Protocol):
    """The conflicts of a drill and how many were resolved."""

    @property
    def found(self) -> int:
        """Return how many conflicts were found."""

    @property
    def settled(self) -> int:
        """Return how many of them are resolved."""

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
