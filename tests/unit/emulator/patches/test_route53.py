"""Tests of Route 53's API: health checks, their tags and status, and DNSSEC."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from ministack.services import route53

from healthcare_dr.emulator.patches.route53 import add_get_health_check_status
from healthcare_dr.emulator.route53.model import CheckStatus, Observation
from unit.emulator.aws import EAST, Aws, only_when_patched


def create_check(aws: Aws, **config: Any) -> str:
    check = {"Type": "HTTPS", "FullyQualifiedDomainName": "a.example", "Port": 443} | config
    created = aws("route53").create_health_check(CallerReference=uuid.uuid4().hex, HealthCheckConfig=check)
    return str(created["HealthCheck"]["Id"])


def config_of(aws: Aws, check_id: str) -> dict[str, Any]:
    return dict(aws("route53").get_health_check(HealthCheckId=check_id)["HealthCheck"]["HealthCheckConfig"])


@only_when_patched
def test_calculated_check_keeps_its_children(aws: Aws) -> bool:
    children = ["11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"]
    created = aws("route53").create_health_check(
        CallerReference=uuid.uuid4().hex,
        HealthCheckConfig={"Type": "CALCULATED", "HealthThreshold": 2, "ChildHealthChecks": children},
    )
    return bool(config_of(aws, created["HealthCheck"]["Id"])["ChildHealthChecks"] == children)


@only_when_patched
def test_inverted_check_is_read_back_as_inverted(aws: Aws) -> bool:
    config = config_of(aws, create_check(aws, Inverted=True, EnableSNI=True))
    return config["Inverted"] is True and config["EnableSNI"] is True


@only_when_patched
def test_get_dnssec_reports_not_signing(aws: Aws) -> bool:
    route53 = aws("route53")
    zone = route53.create_hosted_zone(Name="clinic.example", CallerReference=uuid.uuid4().hex)["HostedZone"]
    try:
        status = route53.get_dnssec(HostedZoneId=zone["Id"])["Status"]
    except ClientError:
        return False
    return bool(status["ServeSignature"] == "NOT_SIGNING")


@only_when_patched
def test_list_tags_for_resources_returns_tags_of_each_check(aws: Aws) -> bool:
    client, tags = aws("route53"), {}
    for name in ("check-0", "check-1"):
        check_id = create_check(aws)
        tags[check_id] = [{"Key": "Name", "Value": name}]
        client.change_tags_for_resource(ResourceType="healthcheck", ResourceId=check_id, AddTags=tags[check_id])
    try:
        found = client.list_tags_for_resources(ResourceType="healthcheck", ResourceIds=list(tags))["ResourceTagSets"]
    except ClientError:
        return False
    return tags == {tagged["ResourceId"]: tagged["Tags"] for tagged in found}


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("get_dnssec", {"HostedZoneId": "Z0123456789ABC"}, "NoSuchHostedZone"),
        (
            "list_tags_for_resources",
            {"ResourceType": "healthcheck", "ResourceIds": ["11111111-2222-3333-4444-555555555555"]},
            "NoSuchHealthCheck",
        ),
    ],
)
def test_unknown_resource_is_rejected(patched: Aws, operation: str, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        getattr(patched("route53"), operation)(**arguments)


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
    shape = (
        boto3.client("route53", region_name=EAST)
        .meta.service_model.operation_model("GetHealthCheckStatus")
        .output_shape
    )
    parsed = create_parser("rest-xml").parse({"status_code": status, "headers": headers, "body": body}, shape)
    assert parsed["HealthCheckObservations"] == [
        {
            "Region": "us-west-2",
            "IPAddress": "127.0.0.1",
            "StatusReport": {"Status": seen.status, "CheckedTime": datetime.fromtimestamp(seen.epoch, UTC)},
        }
    ]
