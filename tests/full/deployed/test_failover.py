"""DNS failover for each failure mode of a region: health checks fail, and DNS leaves the region.

It runs at ten times real time, with the control planes of Route 53, IAM and Lambda denied to all but the fault.
"""

from collections import Counter
from typing import Final

import pytest
from botocore.exceptions import ClientError

from healthcare_dr.emulator.fault_state import EdgeFault
from support.platform import REGIONS, SUFFIX, Deployed, eventually
from support.traffic import FAULTS, edge_fault, healthy_regions, regions_in_dns, reported_health

PRIMARY, SECONDARY = REGIONS
FAILURE_THRESHOLD: Final = 3
"""The number of consecutive failures after which an endpoint is unhealthy, with the default settings."""
Probe = tuple[str, float]
"""The region of a health checker, and the time of its probe in seconds since the epoch."""


@pytest.fixture(autouse=True)
def _both_regions_serve(fast: Deployed) -> None:
    eventually(lambda: regions_in_dns(fast) == set(REGIONS))


@pytest.mark.requirement("C1", "R4.1", "R4.2")
@pytest.mark.trap(24, 27)
@pytest.mark.parametrize("fault", FAULTS)
def test_dns_leaves_a_failing_region_and_returns(fast: Deployed, fault: str) -> None:
    fast.emulator.refuse_control_planes(refused=True)
    with FAULTS[fault](fast, PRIMARY):
        eventually(lambda: regions_in_dns(fast) == {SECONDARY})
        assert healthy_regions(fast) == {SECONDARY}
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            fast.client("route53").list_hosted_zones()
        assert reported_health(fast) == {PRIMARY: False, SECONDARY: True}
    eventually(lambda: regions_in_dns(fast) == set(REGIONS))


@pytest.mark.trap(20)
def test_with_both_regions_unhealthy_dns_answers_with_both(fast: Deployed) -> None:
    refused = EdgeFault(mode="refused")
    with edge_fault(fast, PRIMARY, refused), edge_fault(fast, SECONDARY, refused):
        eventually(lambda: healthy_regions(fast) == set())
        assert regions_in_dns(fast) == set(REGIONS)


def test_slow_region_within_the_limits_keeps_its_traffic(fast: Deployed) -> None:
    with edge_fault(fast, PRIMARY, EdgeFault(mode="slow", delay_seconds=0.3)):
        found = probes(fast)

        def probed() -> bool:
            """Return whether every checker has probed the slow region more often than a failure needs."""
            found.update(probes(fast))
            counts = Counter(checker for checker, _ in found)
            # The first probe of each checker may have begun before the fault.
            return min(counts.values(), default=0) > FAILURE_THRESHOLD + 1

        eventually(probed)
        assert healthy_regions(fast) == set(REGIONS)
        assert regions_in_dns(fast) == set(REGIONS)


def probes(deployed: Deployed) -> set[Probe]:
    """Return the newest probe of the primary endpoint by each health checker."""
    name = f"endpoint-primary-{SUFFIX}"
    return {
        (seen.region, seen.epoch)
        for check in deployed.emulator.health_checks().values()
        if check.name.endswith(name)
        for seen in check.observations
    }
