"""Check the data of both regions after healing: it has to arrive, conflicts are merged, and nothing may be missing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from healthcare_dr.ops.drill.arrival import Report, drained, settled
from healthcare_dr.ops.drill.delivery import Delivery
from healthcare_dr.ops.drill.journal import Conflicts
from healthcare_dr.ops.drill.ledger import Unfinished
from healthcare_dr.ops.drill.model import Missing
from healthcare_dr.ops.drill.parts import Ledger, Merging

FINAL_SECONDS: Final = 180.0
"""A document whose event was lost is confirmed by the second sweep, after at most 120 s; only time in which the region
answered, and in which no further document became final, counts."""
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Healing:
    """The data of both regions, once no client writes any more."""

    missing: tuple[Missing, ...]
    """For each region, what had not arrived."""
    unfinished: Unfinished
    """The documents that had not become final in both regions."""
    conflicts: Conflicts


def healed(
    ledger: Ledger,
    merging: Merging,
    regions: tuple[str, str],
    *,
    fault_at: float,
    delivery: Delivery | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: Report,
    note: Report,
) -> Healing:
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
    return Healing(
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
        sleep(POLL_SECONDS)
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
