"""A region that lacks data is not restored, with denied control planes, at ten times the speed of real time."""

from collections.abc import Iterator

import pytest

from support.platform import REGIONS, Deployed, eventually, patient

PRIMARY, SECONDARY = REGIONS
pytestmark = [pytest.mark.requirement("C1"), pytest.mark.trap(27)]


@pytest.fixture
def without_control_planes(fast: Deployed) -> Iterator[Deployed]:
    """The platform at ten times the speed of real time, without control planes. No region stays drained."""
    fast.settle_conflicts()
    fast.emulator.refuse_control_planes(refused=True)
    yield fast
    fast.emulator.set_replication(tables=True)
    fast.hdr("restore", PRIMARY, "--force", "--reason", "the test is over")


def test_region_with_missing_data_is_not_restored(without_control_planes: Deployed) -> None:
    fast = without_control_planes
    fast.reported("drain", PRIMARY, "--no-wait")
    fast.emulator.set_replication(tables=False)
    with fast.api(SECONDARY, fast.token()) as api:
        assert api.post("/fhir/Patient", json=patient()).status_code == 201
    refused = fast.hdr("restore", PRIMARY, "--no-wait")
    assert refused.returncode == 1
    assert "replication is paused" in " ".join(refused.stderr.split())
    eventually(lambda: fast.drain_flags()[1] == 200)
