"""Check the data of both regions after recovery: writes arrive, conflicts are merged, and none is missing.

On the embedded AWS the replication queue reports what it has delivered; a write that a region denies after its delivery
is missing. AWS reports no delivery: there, a write is missing when the region has answered for the promised time and
still does not have it.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from healthcare_dr.errors import EmulatorError
from healthcare_dr.ops.drill.journal import Conflicts, Missing, Write
from healthcare_dr.ops.drill.load.ledger import Unfinished
from healthcare_dr.ops.drill.parts import ConflictResolver, Ledger
from healthcare_dr.ops.drill.waiting import StallDetector
from healthcare_dr.ops.ports import EmbeddedAws

USUAL_LAG_SECONDS: Final = 2.5
"""What a global table takes; a longer lag is one that a fault has set."""


class Delivery(Protocol):
    """The progress of replication between the regions, on the drill's clock."""

    def delivered_until(self) -> float:
        """Return the time up to which every write has been delivered; minus infinity when it is unknown."""

    def pending(self) -> int | None:
        """Return how many changes are not delivered; None when it is unknown."""

    def held_back(self) -> bool:
        """Return whether a fault stops or delays replication, so that waiting for it shows nothing."""


class EmbeddedDelivery:
    """Reads the replication queue of the embedded AWS."""

    def __init__(self, aws: EmbeddedAws, *, clock: Callable[[], float]) -> None:
        self._aws, self._clock = aws, clock

    def delivered_until(self) -> float:
        """Return the time up to which every write has been delivered; minus infinity when it is unknown."""
        # The clock is read first: what is acknowledged during the call is not claimed to be delivered.
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
        """Return whether a fault stops or delays replication, so that waiting for it shows nothing."""
        found = self._aws.replication()
        return not (found.tables and found.documents) or found.lag_seconds > USUAL_LAG_SECONDS


ARRIVAL_SECONDS: Final = 60.0
"""The recovery point: within it everything has to be in both regions again. Only time in which the region answered
counts. A document is confirmed after its acknowledgement, so it has this time on the embedded AWS too."""
POLL_SECONDS: Final = 0.5

Report = Callable[[str], None]
"""Shows progress, in one line."""


def drained(
    delivery: Delivery, *, until: float, clock: Callable[[], float], sleep: Callable[[float], None], report: Report
) -> bool:
    """Wait until replication has delivered what was written up to `until`; False when it stands still for 120 s."""
    stall = StallDetector(clock)
    while (delivered := delivery.delivered_until()) < until:
        pending = delivery.pending()
        stall.note((round(delivered, 1) if delivered > 0 else delivered, pending))
        if stall.over:
            return False
        report(f"{'an unknown number of' if pending is None else pending} changes wait for replication")
        sleep(POLL_SECONDS)
    return True


def settled(
    ledger: Ledger,
    region: str,
    *,
    fault_at: float,
    own: bool,
    delivery: Delivery | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: Report,
) -> Missing:
    """Return what a region lacks once everything acknowledged has had its chance to arrive.

    A write that replication does not deliver because it stands still, for 120 s, is in `undelivered` as well. With
    `own`, after healing, the region's own writes are looked for too. Before it, nothing is waited for while a fault
    holds replication back: what the region lacks then is its recovery point.

    Raises:
        DeploymentError: the region answers neither yes, nor no, nor that it is busy.
    """

    def delivered_until() -> float | None:
        return None if delivery is None else delivery.delivered_until()

    # What has been delivered is read before the region is asked: an answer is compared with an earlier delivery.
    delivered = delivered_until()
    found = ledger.missing(
        region,
        at=clock(),
        fault_at=fault_at,
        own=own,
        on_answer=lambda done, of: report(f"{region} answered for {done} of {of} writes"),
    )
    writes = {write.number: write for write in ledger.writes()}
    stall, answered = StallDetector(clock), 0.0
    while found.numbers and (own or delivery is None or not delivery.held_back()):
        on_the_way = _on_the_way(found.numbers, writes, delivered, answered)
        if not on_the_way:
            break
        if found.unanswered:
            return _nothing_known(found, on_the_way)
        undelivered = [] if delivered is None else [n for n in on_the_way if _at(writes, n) > delivered]
        stall.note((found.numbers, delivered, answered if not undelivered else 0.0))
        if stall.over:
            asked = delivered is None or delivered > -math.inf
            return replace(found, undelivered=tuple(undelivered)) if asked else _nothing_known(found, on_the_way)
        report(f"{region}: {len(on_the_way)} of {found.looked_for} writes are on their way")
        began = clock()
        sleep(POLL_SECONDS)
        delivered = delivered_until()
        again = ledger.missing(region, at=clock(), fault_at=fault_at, numbers=found.numbers, own=own)
        found = replace(again, looked_for=found.looked_for, unanswered=(*found.unanswered, *again.unanswered))
        if not found.unanswered:
            answered += clock() - began
    return found


def _nothing_known(found: Missing, numbers: Collection[int]) -> Missing:
    """Take writes that the region denied too early from the missing ones: nothing is known of them."""
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


FINAL_SECONDS: Final = 180.0
"""A document whose event was lost is confirmed by the second sweep, after at most 120 s; only time in which the region
answered, and in which no further document became final, counts."""
POLL_SECONDS_HEALING: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class RecoveryChecks:
    """The data of both regions, once no client writes any more."""

    missing: tuple[Missing, ...]
    """For each region, what had not arrived."""
    unfinished: Unfinished
    """The documents that had not become final in both regions."""
    conflicts: Conflicts


def healed(
    ledger: Ledger,
    merging: ConflictResolver,
    regions: tuple[str, str],
    *,
    fault_at: float,
    delivery: Delivery | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: Report,
    note: Report,
) -> RecoveryChecks:
    """Wait for what is on its way for as long as it makes progress, and merge; to be called when no client writes.

    `report` shows progress; `note` records an event.

    Raises:
        DeploymentError: a region answers neither yes, nor no, nor that it is busy.
    """
    if delivery is not None and not drained(delivery, until=clock(), clock=clock, sleep=sleep, report=report):
        note(f"replication made no progress: {delivery.pending()} changes still wait")
    missing = tuple(
        settled(ledger, region, fault_at=fault_at, own=True, delivery=delivery, clock=clock, sleep=sleep, report=report)
        for region in regions
    )
    report("merging what both regions changed at once")
    merged = merging.run()
    return RecoveryChecks(
        missing=missing,
        unfinished=_final(ledger, regions, clock=clock, sleep=sleep, report=report),
        conflicts=Conflicts(
            found=merged.found, merged=merged.settled, left=len(merged.left), unanswered=len(merged.unanswered)
        ),
    )


def _final(
    ledger: Ledger,
    regions: tuple[str, str],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: Report,
) -> Unfinished:
    """Wait until every document is final in both regions, for as long as documents become final."""
    found = {region: ledger.unfinished(region) for region in regions}
    waited = 0.0
    while waited < FINAL_SECONDS:
        left = sum(len(each.numbers) for each in found.values())
        if not left or any(each.unanswered for each in found.values()):
            break
        report(f"{left} documents are not final yet")
        began = clock()
        sleep(POLL_SECONDS_HEALING)
        for region, each in found.items():
            if each.numbers:
                found[region] = ledger.unfinished(region, numbers=each.numbers)
        fewer = sum(len(each.numbers) for each in found.values()) < left
        waited = 0.0 if fewer else waited + clock() - began
    unanswered = {number for each in found.values() for number in each.unanswered}
    # A busy region ends the wait: what was not final yet may have become so.
    early = bool(unanswered)
    numbers = {number for each in found.values() for number in each.numbers}
    return Unfinished(
        numbers=() if early else tuple(sorted(numbers)),
        unanswered=tuple(sorted(unanswered | numbers)) if early else (),
    )
