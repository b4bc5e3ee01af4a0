"""Decide which acknowledged writes are missing: those that a region denies after replication delivered them.

On the embedded AWS the replication queue says what it has delivered. On AWS nothing says so: a write counts as missing
when the region has been answering for the promised time and still does not have it.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

from healthcare_dr.ops.drill.delivery import Delivery
from healthcare_dr.ops.drill.model import Missing, Write
from healthcare_dr.ops.drill.parts import Ledger
from healthcare_dr.ops.drill.waiting import Stall

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
    stall = Stall(clock)
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
    stall, answered = Stall(clock), 0.0
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
