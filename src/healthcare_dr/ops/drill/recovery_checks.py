"""Check the data of both regions after recovery: writes arrive, conflicts are merged, and none is missing.

On the embedded AWS the replication queue reports what it has delivered. A write that a region denies after its delivery
is missing. AWS reports no delivery: there, a write is missing when the region has answered for the promised time and
still does not have it.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from healthcare_dr.errors import EmulatorError
from healthcare_dr.ops.drill.conflict_resolver import ConflictResolver
from healthcare_dr.ops.drill.journal import Conflicts, Missing, Write
from healthcare_dr.ops.drill.load.ledger import Ledger, Unfinished
from healthcare_dr.ops.drill.progress import POLL_SECONDS, StallDetector
from healthcare_dr.ops.ports import EmbeddedAws

USUAL_LAG_SECONDS: Final = 2.5
"""The usual lag of a global table. Only a fault sets a longer one."""
ARRIVAL_SECONDS: Final = 60.0
"""The recovery point: within it every write must be in both regions again. Only time in which the region answered
counts. A document is confirmed after its acknowledgement, so it has this time on the embedded AWS too."""
FINAL_SECONDS: Final = 180.0
"""A document whose event was lost is confirmed by the second sweep, after at most 120 s. Only time in which the region
answered, and in which no further document became final, counts."""
FINAL_POLL_SECONDS: Final = 1.0


class ReplicationQueue:
    """The replication queue of the embedded AWS; times are on the drill's clock."""

    def __init__(self, aws: EmbeddedAws, *, clock: Callable[[], float]) -> None:
        self._aws, self._clock = aws, clock

    def delivered_until(self) -> float:
        """Return the time up to which every write has been delivered; minus infinity when it is unknown."""
        # The clock is read first, so that a write acknowledged during the call does not count as delivered.
        now = self._clock()
        try:
            return now - self._aws.waiting_seconds()
        except EmulatorError:
            return -math.inf

    def pending(self) -> int | None:
        """Return how many changes are not delivered; None when it is unknown."""
        try:
            return self._aws.pending()
        except EmulatorError:
            return None

    def held_back(self) -> bool:
        """Return whether a fault stops or delays replication, so that waiting for it has no use."""
        found = self._aws.replication()
        return not (found.tables and found.documents) or found.lag_seconds > USUAL_LAG_SECONDS


@dataclass(frozen=True, kw_only=True)
class HealedData:
    """The data of both regions after healing, when no client writes any more."""

    missing: tuple[Missing, ...]
    """For each region, the writes that had not arrived."""
    unfinished: Unfinished
    """The documents that had not become final in both regions."""
    conflicts: Conflicts


@dataclass(frozen=True, kw_only=True)
class RecoveryChecks:
    """Waits for data while replication makes progress, and returns what is missing.

    `queue` is None where nothing reports what replication has delivered. `report` shows progress in one line. All
    methods raise `DeploymentError` when a region answers neither yes, nor no, nor that it is busy.
    """

    ledger: Ledger
    queue: ReplicationQueue | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    report: Callable[[str], None]

    def delivered_until(self) -> float | None:
        """Return the time up to which every write has been delivered; None where nothing reports it."""
        return None if self.queue is None else self.queue.delivered_until()

    def at_recovery(self, region: str, *, fault_at: float) -> Missing:
        """Return the writes that a surviving region lacks at recovery; without a replication queue, at present.

        While a fault holds replication back, it waits for nothing: the result is then the recovery point.
        """
        if self.queue is None:
            return self.ledger.missing(region, at=self.clock(), fault_at=fault_at)
        return self.missing(region, fault_at=fault_at, own=False)

    def after_healing(
        self, resolver: ConflictResolver, regions: tuple[str, str], *, fault_at: float, note: Callable[[str], None]
    ) -> HealedData:
        """Check the data of both regions and resolve conflicts. Call it when no client writes any more.

        Returns when replication has delivered the merges too, or stalls. `note` records an event.
        """
        delivers = self._replicated(note)
        missing = tuple(self.missing(region, fault_at=fault_at, own=True) for region in regions)
        self.report("merging what both regions changed at once")
        resolved = resolver.run()
        if delivers:
            # The merges have to arrive too, before versions are compared.
            self._replicated(note)
        return HealedData(
            missing=missing,
            unfinished=self._unfinished(regions),
            conflicts=Conflicts(
                found=resolved.found,
                merged=resolved.merged,
                left=len(resolved.left),
                unanswered=len(resolved.unanswered),
            ),
        )

    def _replicated(self, note: Callable[[str], None]) -> bool:
        """Wait for the delivery of all that was written. Return False after noting that it stalls."""
        if self.queue is None or self.wait_for_replication(self.queue, until=self.clock()):
            return True
        note(f"replication made no progress: {self.queue.pending()} changes still wait")
        return False

    def wait_for_replication(self, queue: ReplicationQueue, *, until: float) -> bool:
        """Wait for the delivery of what was written up to `until`. Return False when it stalls for 120 s."""
        stall = StallDetector(self.clock)
        while (delivered := queue.delivered_until()) < until:
            pending = queue.pending()
            stall.note((round(delivered, 1) if delivered > 0 else delivered, pending))
            if stall.stalled:
                return False
            self.report(f"{'an unknown number of' if pending is None else pending} changes wait for replication")
            self.sleep(POLL_SECONDS)
        return True

    def missing(self, region: str, *, fault_at: float, own: bool) -> Missing:
        """Return what a region lacks once every acknowledged write has had time to arrive.

        A write that is not delivered because replication stalls, for 120 s, is in `undelivered` as well. With `own`,
        after healing, the region's own writes are looked for too.
        """
        # The delivery is read before the region is read, so that a response is compared with an earlier delivery.
        delivered = self.delivered_until()
        found = self.ledger.missing(
            region,
            at=self.clock(),
            fault_at=fault_at,
            own=own,
            on_answer=lambda done, of: self.report(f"{region} answered for {done} of {of} writes"),
        )
        writes = {write.number: write for write in self.ledger.writes()}
        stall, answered = StallDetector(self.clock), 0.0
        while found.numbers and (own or self.queue is None or not self.queue.held_back()):
            on_the_way = _on_the_way(found.numbers, writes, delivered, answered)
            if not on_the_way:
                break
            if found.unanswered:
                return _without(found, on_the_way)
            undelivered = [] if delivered is None else [n for n in on_the_way if _at(writes, n) > delivered]
            stall.note((found.numbers, delivered, answered if not undelivered else 0.0))
            if stall.stalled:
                known = delivered is None or delivered > -math.inf
                return replace(found, undelivered=tuple(undelivered)) if known else _without(found, on_the_way)
            self.report(f"{region}: {len(on_the_way)} of {found.looked_for} writes are on their way")
            began = self.clock()
            self.sleep(POLL_SECONDS)
            delivered = self.delivered_until()
            again = self.ledger.missing(region, at=self.clock(), fault_at=fault_at, numbers=found.numbers, own=own)
            found = replace(again, looked_for=found.looked_for, unanswered=(*found.unanswered, *again.unanswered))
            if not found.unanswered:
                answered += self.clock() - began
        return found

    def _unfinished(self, regions: tuple[str, str]) -> Unfinished:
        """Wait until every document is final in both regions, as long as documents become final."""
        found = {region: self.ledger.unfinished(region) for region in regions}
        waited = 0.0
        while waited < FINAL_SECONDS:
            left = sum(len(each.numbers) for each in found.values())
            if not left or any(each.unanswered for each in found.values()):
                break
            self.report(f"{left} documents are not final yet")
            began = self.clock()
            self.sleep(FINAL_POLL_SECONDS)
            for region, each in found.items():
                if each.numbers:
                    found[region] = self.ledger.unfinished(region, numbers=each.numbers)
            fewer = sum(len(each.numbers) for each in found.values()) < left
            waited = 0.0 if fewer else waited + self.clock() - began
        numbers = {number for each in found.values() for number in each.numbers}
        unanswered = {number for each in found.values() for number in each.unanswered}
        if unanswered:
            # A busy region ended the wait: documents that were not final may have become so.
            return Unfinished(numbers=(), unanswered=tuple(sorted(unanswered | numbers)))
        return Unfinished(numbers=tuple(sorted(numbers)))


def _without(found: Missing, numbers: Collection[int]) -> Missing:
    """Move writes that the region denied too early from the missing to the unanswered ones."""
    left = tuple(number for number in found.numbers if number not in numbers)
    return replace(
        found,
        numbers=left,
        seconds=found.seconds if left else 0.0,
        unanswered=tuple(sorted({*found.unanswered, *numbers})),
    )


def _on_the_way(
    numbers: tuple[int, ...], writes: Mapping[int, Write], delivered: float | None, answered: float
) -> list[int]:
    """Return the numbers of the absent writes that may still arrive."""
    waits = answered < ARRIVAL_SECONDS
    if delivered is None:
        return list(numbers) if waits else []
    return [
        number
        for number in numbers
        if _at(writes, number) > delivered or (waits and number in writes and writes[number].kind == "document")
    ]


def _at(writes: Mapping[int, Write], number: int) -> float:
    return writes[number].at if number in writes else 0.0
