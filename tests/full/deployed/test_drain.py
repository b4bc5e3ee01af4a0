"""A region whose data are not complete gets no traffic, with the control planes refused and ten times as fast."""

from collections.abc import Iterator

import pytest

from support.platform import REGIONS, Deployed, eventually, patient

PRIMARY, SECONDARY = REGIONS
pytestmark = [pytest.mark.requirement("C1"), pytest.mark.trap(27)]


@pytest.fixture
def fast(deployed: Deployed) -> Iterator[Deployed]:
    """Fast, without control planes; nothing stays drained."""
    deployed.settle_conflicts()
    deployed.emulator.set_time_scale(10)
    deployed.emulator.refuse_control_planes(refused=True)
    try:
        yield deployed
    finally:
        deployed.emulator.set_replication(tables=True, documents=True)
        deployed.hdr("restore", PRIMARY, "--force", "--reason", "the test is over")
        deployed.emulator.refuse_control_planes(refused=False)
        deployed.emulator.set_time_scale(1)


def answers(deployed: Deployed) -> list[int]:
    """Return both regions' responses to `/drain/us-east-1`."""
    codes = []
    for region in REGIONS:
        with deployed.api(region) as api:
            codes.append(api.get(f"/drain/{PRIMARY}").status_code)
    return codes


def test_a_region_with_missing_data_is_not_restored(fast: Deployed) -> None:
    fast.reported("drain", PRIMARY, "--no-wait")
    fast.emulator.set_replication(tables=False)
    with fast.api(SECONDARY, fast.token()) as api:
        assert api.post("/fhir/Patient", json=patient()).status_code == 201
    refused = fast.hdr("restore", PRIMARY, "--no-wait")
    assert refused.returncode == 1
    assert "replication is paused" in " ".join(refused.stderr.split())
    eventually(lambda: answers(fast)[1] == 200)
