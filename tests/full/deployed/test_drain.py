"""`hdr drain` and `hdr restore` on the deployed platform, with the control planes refused and ten times as fast."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

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
    """What both regions answer to `/drain/us-east-1`."""
    codes = []
    for region in REGIONS:
        with deployed.api(region) as api:
            codes.append(api.get(f"/drain/{PRIMARY}").status_code)
    return codes


def audited(deployed: Deployed, reason: str) -> list[dict[str, Any]]:
    pages = (
        deployed.client("dynamodb", SECONDARY)
        .get_paginator("scan")
        .paginate(
            TableName=deployed.names.audit_table,
            FilterExpression="reason = :reason",
            ExpressionAttributeValues={":reason": {"S": reason}},
        )
    )
    return [item for page in pages for item in page["Items"]]


def test_a_drained_region_loses_its_traffic_and_no_request(fast: Deployed) -> None:
    stop, codes, reason = threading.Event(), list[int](), f"test {uuid4()}"

    def send(region: str) -> None:
        with fast.api(region, fast.token()) as api:
            while not stop.wait(0.2):
                codes.append(api.get("/fhir/Patient").status_code)

    senders = [threading.Thread(target=send, args=(region,)) for region in REGIONS]
    for sender in senders:
        sender.start()
    try:
        done = fast.reported("drain", PRIMARY, "--reason", reason, "--by", "eve")
        assert done["changed"]
        assert done["awaited"]
        assert fast.hdr("drain", SECONDARY).returncode == 1
        eventually(lambda: answers(fast) == [200, 200])
        (item,) = audited(fast, reason)
        assert (item["subject"]["S"], item["region"]["S"]) == ("operator:eve", SECONDARY)
        assert not fast.reported("drain", PRIMARY)["changed"]
        assert fast.reported("restore", PRIMARY)["changed"]
        eventually(lambda: answers(fast) == [404, 404])
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert codes
    assert set(codes) == {200}, set(codes)


def test_a_region_with_missing_data_is_not_restored(fast: Deployed) -> None:
    fast.reported("drain", PRIMARY, "--no-wait")
    fast.emulator.set_replication(tables=False)
    with fast.api(SECONDARY, fast.token()) as api:
        assert api.post("/fhir/Patient", json=patient()).status_code == 201
    refused = fast.hdr("restore", PRIMARY, "--no-wait")
    assert refused.returncode == 1
    assert "replication is paused" in " ".join(refused.stderr.split())
    eventually(lambda: answers(fast)[1] == 200)
