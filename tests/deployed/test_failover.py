"""The primary region is lost once. Tests check what clients, DNS, operators and sentinels observe.

The region is lost for a drill at ten times the speed of real time (`support/region_loss.py`). After it an operator
drains the region and restores it, which is the planned failover.
"""

import threading
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from support.drills import SCALE, answered_from, assert_nothing_was_lost, undone
from support.platform import REGIONS, Deployed, eventually
from support.region_loss import RAISED, WITHDRAWN, Loss, back, states
from support.sentinels import in_alarm, watch, without_data
from support.traffic import healthy_regions, regions_in_dns

PRIMARY, SECONDARY = REGIONS


@pytest.mark.requirement("C1", "C2", "C3", "R4.2")
@pytest.mark.trap(24, 27)
def test_clients_recover_and_no_write_is_lost(loss: Loss) -> None:
    journal = loss.journal
    assert journal["outcome"] == "passed", journal["reason"]
    assert_nothing_was_lost(journal)
    milestones = journal["milestones"]
    assert milestones["first_failure"] is not None
    assert milestones["dns_changed"] is not None
    # The limit applies to the drill's clock. Benchmarks measure the duration on this machine.
    assert 0 < milestones["rto_seconds"] < 300
    assert answered_from(journal, after=milestones["steady_success"], before=undone(journal)) == {SECONDARY}
    assert "control-planes" in journal["rolled_back"]


@pytest.mark.requirement("C1", "R4.1", "R4.2")
@pytest.mark.trap(27)
def test_dns_leaves_the_region_without_any_control_plane(loss: Loss) -> None:
    assert loss.named == {SECONDARY}
    assert loss.healthy == {SECONDARY}
    assert "ServiceUnavailable" in loss.control_plane


@pytest.mark.requirement("C1")
def test_status_reports_the_lost_region(loss: Loss) -> None:
    assert loss.status == {PRIMARY: False, SECONDARY: True}


@pytest.mark.trap(22)
@pytest.mark.requirement("R6.2", "R7.1", "C1")
def test_surviving_region_raises_and_delivers_its_alarms(loss: Loss) -> None:
    assert loss.alarms >= RAISED
    assert loss.messages[SECONDARY] >= states(RAISED, "ALARM")
    assert loss.messages["us-east-1"] >= states(WITHDRAWN, "ALARM")


@pytest.mark.requirement("C1")
def test_traffic_returns_when_the_region_is_healthy(deployed: Deployed, loss: Loss) -> None:
    eventually(lambda: regions_in_dns(deployed) == set(REGIONS))
    eventually(lambda: healthy_regions(deployed) == set(REGIONS))


@dataclass(frozen=True)
class Planned:
    """Observations of a planned failover and of the failback."""

    drained: dict[str, Any]
    flags_while_drained: list[int]
    audited: list[dict[str, Any]]
    second_region: int
    """The exit code of draining the other region as well."""
    drained_again: dict[str, Any]
    restored: dict[str, Any]
    answers: list[int]
    """The statuses that clients of both regions received meanwhile."""


@pytest.fixture(scope="module")
def planned(deployed: Deployed, loss: Loss) -> Planned:
    """Drain and restore the primary region, with denied control planes, while clients of both regions send requests."""
    eventually(lambda: regions_in_dns(deployed) == set(REGIONS))
    deployed.settle_conflicts()
    deployed.emulator.set_time_scale(SCALE)
    deployed.emulator.refuse_control_planes(refused=True)
    stop, codes, reason = threading.Event(), list[int](), f"test {uuid4()}"

    def send(region: str) -> None:
        with deployed.api(region, deployed.token(tenant="planned-failover")) as api:
            while not stop.wait(0.2):
                codes.append(api.get("/fhir/Patient").status_code)

    senders = [threading.Thread(target=send, args=(region,)) for region in REGIONS]
    for sender in senders:
        sender.start()
    try:
        drained = deployed.reported("drain", PRIMARY, "--reason", reason, "--by", "eve")
        eventually(lambda: deployed.drain_flags() == [200, 200])
        record = Planned(
            drained=drained,
            flags_while_drained=deployed.drain_flags(),
            audited=audited(deployed, reason),
            second_region=deployed.hdr("drain", SECONDARY).returncode,
            drained_again=deployed.reported("drain", PRIMARY),
            restored=deployed.reported("restore", PRIMARY),
            answers=codes,
        )
    finally:
        stop.set()
        for sender in senders:
            sender.join()
        deployed.hdr("restore", PRIMARY, "--no-wait", "--force", "--reason", "the test is over")
        deployed.emulator.refuse_control_planes(refused=False)
    return record


def audited(deployed: Deployed, reason: str) -> list[dict[str, Any]]:
    """Return the audit items with this reason."""
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


@pytest.mark.requirement("C1")
@pytest.mark.trap(27)
def test_planned_failover_and_failback_lose_no_request(planned: Planned) -> None:
    assert planned.drained["changed"]
    assert planned.drained["awaited"]
    assert planned.restored["changed"]
    assert planned.answers
    assert set(planned.answers) == {200}


@pytest.mark.requirement("C1", "R1.3")
@pytest.mark.trap(27)
def test_surviving_region_stores_the_flag_and_the_audit_item(planned: Planned) -> None:
    assert planned.flags_while_drained == [200, 200]
    (item,) = planned.audited
    assert (item["subject"]["S"], item["region"]["S"]) == ("operator:eve", SECONDARY)


def test_second_drain_changes_nothing_and_the_last_region_is_not_drained(planned: Planned) -> None:
    assert not planned.drained_again["changed"]
    assert planned.second_region == 1


def test_flag_of_a_restored_region_is_removed(deployed: Deployed, planned: Planned) -> None:
    eventually(lambda: deployed.drain_flags() == [404, 404])


@pytest.mark.trap(26)
def test_alarm_state_set_by_hand_changes_no_health_check(deployed: Deployed, planned: Planned) -> None:
    eventually(lambda: regions_in_dns(deployed) == healthy_regions(deployed) == set(REGIONS))
    alarm = deployed.names.of(f"health-check-{PRIMARY}")
    cloudwatch = deployed.client("cloudwatch", "us-east-1")
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="by hand")
    assert regions_in_dns(deployed) == set(REGIONS)
    assert healthy_regions(deployed) == set(REGIONS)


@pytest.mark.trap(22)
@pytest.mark.requirement("R6.2", "R7.1")
def test_all_alarms_end_when_the_region_returns(deployed: Deployed, loss: Loss, planned: Planned) -> None:
    for region in REGIONS:
        watch(deployed, region)
    eventually(lambda: back(deployed, loss.queues), seconds=300)
    # Alarms for which missing data are breaching must be OK: INSUFFICIENT_DATA would mean that they received none.
    eventually(lambda: not any(without_data(deployed, region) for region in REGIONS), seconds=300)
    assert not any(in_alarm(deployed, region) for region in REGIONS)
