"""Tests of reading Route 53's API, publishing metrics, and GetHealthCheckStatus."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.parsers import create_parser
from botocore.stub import ANY, Stubber
from ministack.services import route53

from healthcare_dr.emulator.patches.route53 import add_get_health_check_status
from healthcare_dr.emulator.route53.data_plane import publisher
from healthcare_dr.emulator.route53.model import CheckStatus, Observation
from healthcare_dr.emulator.route53.zone_reader import ZoneReader


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


def test_metrics_are_published_and_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
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
        stub.add_client_error("put_metric_data", expected_params={"Namespace": ANY, "MetricData": ANY})
        publish = publisher(api)
        publish([("one", False, 0.125), ("two", True, None)])
        assert not caplog.records
        publish([("one", True, 1.0)])
    assert "did not take the metrics" in caplog.text


def test_get_health_check_status_returns_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    async def known(*_: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, b""

    monkeypatch.setattr(route53, "handle_request", known)
    check_id = str(uuid.uuid4())
    seen = Observation("us-west-2", "127.0.0.1", "Success: HTTP Status Code 200, OK", 1_700_000_000.0)
    checks: Callable[[], dict[str, CheckStatus]] = lambda: {  # noqa: E731 - typed
        check_id: CheckStatus(healthy=True, share=1.0, name="a", observations=(seen,))
    }
    add_get_health_check_status(checks)
    status, headers, body = asyncio.run(
        route53.handle_request("GET", f"/2013-04-01/healthcheck/{check_id}/status", {}, b"", {})
    )
    shape = client("route53").meta.service_model.operation_model("GetHealthCheckStatus").output_shape
    parsed = create_parser("rest-xml").parse({"status_code": status, "headers": headers, "body": body}, shape)
    assert parsed["HealthCheckObservations"] == [
        {
            "Region": "us-west-2",
            "IPAddress": "127.0.0.1",
            "StatusReport": {"Status": seen.status, "CheckedTime": datetime.fromtimestamp(seen.epoch, UTC)},
        }
    ]
