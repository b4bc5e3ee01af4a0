"""Tests of reading Route 53's API and of publishing metrics."""

import asyncio
from collections.abc import Sequence
from typing import Any

import boto3
import pytest
from bench.ports import free_port
from botocore.stub import Stubber

from healthcare_dr.emulator.route53.data_plane import Finding, ZoneReader, publisher
from healthcare_dr.emulator.route53.model import Snapshot
from unit.emulator.route53.planes import data_plane


def client(service: str) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        endpoint_url="http://127.0.0.1:9",
    )


def test_zones_records_and_checks_are_read_from_all_pages() -> None:
    api = client("route53")
    config = {"Type": "HTTPS", "FullyQualifiedDomainName": "x.example", "EnableSNI": True, "Inverted": True}
    check = {"CallerReference": "r", "HealthCheckVersion": 1}
    zone = {"CallerReference": "r"}
    record = {"Name": "API.clinic.example.", "Type": "CNAME", "TTL": 10, "ResourceRecords": [{"Value": "x.example"}]}
    with Stubber(api) as stub:
        more = {"Marker": "", "MaxItems": "1"}
        stub.add_response(
            "list_hosted_zones",
            {
                "HostedZones": [
                    {"Id": "/hostedzone/Z1", "Name": "clinic.example.", "Config": {"PrivateZone": False}, **zone},
                    {"Id": "/hostedzone/Z2", "Name": "inside.example.", "Config": {"PrivateZone": True}, **zone},
                ],
                "IsTruncated": False,
                **more,
            },
        )
        weighted = {**record, "SetIdentifier": "east", "Weight": 70, "HealthCheckId": "one"}
        stub.add_response(
            "list_resource_record_sets", {"ResourceRecordSets": [weighted], "IsTruncated": False, "MaxItems": "1"}
        )
        one = {"Id": "one", "HealthCheckConfig": config, **check}
        two = {"Id": "two", "HealthCheckConfig": {"Type": "CALCULATED", "ChildHealthChecks": ["one"]}, **check}
        stub.add_response(
            "list_health_checks", {"HealthChecks": [one], "IsTruncated": True, "NextMarker": "one", **more}
        )
        stub.add_response("list_health_checks", {"HealthChecks": [two], "IsTruncated": False, **more})
        for check_id in ("one", "two"):
            tags = {"ResourceId": check_id, "Tags": [{"Key": "Name", "Value": f"name-{check_id}"}]}
            stub.add_response("list_tags_for_resource", {"ResourceTagSet": tags})
        read = ZoneReader(api)
        snapshot = read()
        stub.assert_no_pending_responses()
    assert [(zone.name, [(r.name, r.weight, r.check_id) for r in zone.records]) for zone in snapshot.zones] == [
        ("clinic.example", [("api.clinic.example", 70, "one")])
    ]
    assert {check.name for check in snapshot.checks.values()} == {"name-one", "name-two"}
    assert (snapshot.checks["one"].port, snapshot.checks["one"].inverted, snapshot.checks["one"].sni) == (
        443,
        True,
        True,
    )
    assert snapshot.checks["two"].children == ("one",)


def test_metrics_are_published() -> None:
    api = client("cloudwatch")
    dimensions = [{"Name": "HealthCheckId", "Value": "one"}]
    expected = [
        {"MetricName": "HealthCheckStatus", "Dimensions": dimensions, "Value": 0.0, "Unit": "None"},
        {"MetricName": "HealthCheckPercentageHealthy", "Dimensions": dimensions, "Value": 12.5, "Unit": "Percent"},
        {
            "MetricName": "HealthCheckStatus",
            "Dimensions": [{"Name": "HealthCheckId", "Value": "two"}],
            "Value": 1.0,
            "Unit": "None",
        },
    ]
    with Stubber(api) as stub:
        stub.add_response("put_metric_data", {}, {"Namespace": "AWS/Route53", "MetricData": expected})
        publisher(api)([("one", False, 0.125), ("two", True, None)])
        stub.assert_no_pending_responses()


def test_failure_to_publish_is_logged_and_repeated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("healthcare_dr.emulator.route53.data_plane.PUBLISH_SECONDS", 0.02)
    published = []

    def publish(findings: Sequence[Finding]) -> None:
        published.append(findings)
        raise OSError

    async def run() -> None:
        plane = data_plane(free_port(), Snapshot, publish)
        await plane.start()
        async with asyncio.timeout(30):
            while len(published) < 2:
                await asyncio.sleep(0.01)
        await plane.stop()

    asyncio.run(run())
    assert "The findings of the health checks were not published: OSError" in caplog.messages
