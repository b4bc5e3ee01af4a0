"""The sentinel of each region reports the loss and the return of the other region."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from healthcare_dr.emulator.fault_state import EdgeFault
from support.platform import REGIONS, Deployed, eventually
from support.region_loss import RAISED, states
from support.sentinels import Messages, age_heartbeat, in_alarm, quiet, subscribed, watch


@contextmanager
def lost(deployed: Deployed, region: str, survivor: str) -> Iterator[None]:
    """Refuse connections to a region and pause replication, with a last heartbeat that is ten minutes old."""
    deployed.settle()
    deployed.emulator.set_edge_fault(region, EdgeFault(mode="refused"))
    deployed.emulator.set_replication(tables=False)
    age_heartbeat(deployed, region, at=survivor, seconds=600)
    try:
        yield
    finally:
        deployed.emulator.set_edge_fault(region, EdgeFault(mode="open"))
        deployed.emulator.set_replication(tables=True)
        deployed.settle()
        watch(deployed, region)


def raised(deployed: Deployed, region: str) -> bool:
    """Return whether a round of the region's sentinel raises the alarms of a loss."""
    watch(deployed, region)
    return in_alarm(deployed, region) >= RAISED


def delivered(messages: Messages, expected: set[tuple[str, str]]) -> bool:
    return messages.seen() >= expected


@pytest.mark.trap(22)
@pytest.mark.requirement("R6.2", "R7.1", "C1")
def test_each_region_reports_the_loss_and_the_return_of_the_other(fast: Deployed) -> None:
    with subscribed(fast) as messages:
        for gone, survivor in (REGIONS, REGIONS[::-1]):
            with lost(fast, gone, survivor):
                eventually(partial(raised, fast, survivor), seconds=300)
                eventually(partial(delivered, messages[survivor], states(RAISED, "ALARM")))
                # The metrics of Route 53 are in us-east-1 for both regions.
                checks = {f"endpoint-check-{gone}", f"health-check-{gone}"}
                eventually(partial(delivered, messages["us-east-1"], states(checks, "ALARM")))
        eventually(lambda: quiet(fast), seconds=300)
        for region in REGIONS:
            eventually(partial(delivered, messages[region], {("peer-unhealthy", "OK")}))
            eventually(partial(delivered, messages["us-east-1"], {(f"health-check-{region}", "OK")}))
