"""Checks of the DNS records."""

from collections.abc import Sequence
from typing import Any

import pytest

from healthcare_dr.ops.verify.live_target import LiveTarget
from unit.ops.verify.fakes import EAST, WEST, deployed, live, problems, refusal, resource

API = "api.healthcare-dr-dev.com"


HELD = deployed(
    common=[
        record
        for region, role in ((EAST, "primary"), (WEST, "secondary"))
        for record in (
            resource("aws_route53_record", f"api_{role}", name=API, type="CNAME", set_identifier=region,
                     records=[f"api.{region}.example"]),
            resource("aws_route53_health_check", f"health_{role}", id=f"check-{region}", type="CALCULATED"),
        )
    ]
)  # fmt: skip


def record(region: str, weight: int, **changed: Any) -> dict[str, Any]:
    return {
        "Name": f"{API}.", "Type": "CNAME", "SetIdentifier": region, "Weight": weight, "TTL": 10,
        "ResourceRecords": [{"Value": f"api.{region}.example"}], "HealthCheckId": f"check-{region}",
    } | changed  # fmt: skip


OURS = [
    {"Name": "healthcare-dr-dev.com.", "Type": "NS", "TTL": 172800, "ResourceRecords": []},
    {"Name": f"_proof.{API}.", "Type": "CNAME", "TTL": 60, "ResourceRecords": []},
    record(EAST, 70),
    record(WEST, 30),
]


def answering(records: Sequence[dict[str, Any]]) -> LiveTarget:
    return live({("route53", "list_resource_record_sets"): {"ResourceRecordSets": records}}, held=HELD)


def test_deployed_records_are_no_finding() -> None:
    there = answering(OURS)
    assert problems("shared-name", there) == problems("records", there, EAST) == problems("records", there, WEST) == []


@pytest.mark.requirement("R4.1")
@pytest.mark.trap(21, 28)
@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (
            {"Name": f"{API}.", "Type": "CNAME", "SetIdentifier": "before", "Weight": 255, "TTL": 300,
             "ResourceRecords": [{"Value": "old.example"}]},
            "(before, CNAME): old.example, weight 255, TTL 300, health check None",
        ),
        (record("eu-west-1", 0), "(eu-west-1, CNAME): api.eu-west-1.example, weight 0, TTL 10, health check"),
        (
            {"Name": f"{API}.", "Type": "HTTPS", "TTL": 300, "ResourceRecords": [{"Value": "1 old.example."}]},
            "(without an identifier, HTTPS): 1 old.example., weight None, TTL 300",
        ),
        (record(EAST, 1, Type="A"), "(us-east-1, A)"),
    ],
)  # fmt: skip
def test_record_that_was_not_deployed_is_a_problem(left: dict[str, Any], expected: str) -> None:
    (problem,) = problems("shared-name", answering([*OURS, left]))
    assert problem.startswith(f"{API} has a record that was not deployed (")
    assert expected in problem


def test_missing_zone_is_one_finding_per_region() -> None:
    there = live({("route53", "list_resource_record_sets"): refusal("NoSuchHostedZone", 404)}, held=HELD)
    assert problems("shared-name", there) == []
    assert problems("records", there, WEST) == [f"{API} does not name us-west-2"]
