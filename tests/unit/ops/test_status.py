"""What `hdr status` finds: endpoints, health, drain and weights."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from rich.console import Console

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, Names
from healthcare_dr.ops.status import api_prober, read_status
from healthcare_dr.ops.tables import print_status
from healthcare_dr.ops.terraform.state import StackState
from unit.ops.conftest import Answer, Serving
from unit.ops.fakes import LocalTarget

EAST, WEST = "us-east-1", "us-west-2"


def deployed(**changes: StackState) -> dict[str, StackState]:
    return {
        PRIMARY: StackState(resources=3, outputs={"api_id": "one", "api_endpoint": "https://one"}),
        SECONDARY: StackState(resources=3, outputs={"api_id": "two", "api_endpoint": "https://two"}),
        GLOBAL: StackState(
            resources=9, outputs={"records_table": "t", "name_servers": ["a", "b"], "ttl": 10, "zone_id": "Z"}
        ),
    } | {{"primary": PRIMARY, "secondary": SECONDARY, "spanning": GLOBAL}[name]: s for name, s in changes.items()}


class Route53:
    """The deployed zone with two weighted records; one of the same name that was left over comes first by its id."""

    def list_hosted_zones_by_name(self, *, DNSName: str, MaxItems: str) -> dict[str, Any]:  # noqa: N803
        return {"HostedZones": [{"Id": "/hostedzone/A", "Name": "healthcare-dr-dev.com."}]}

    def get_paginator(self, name: str) -> "Route53":
        assert name == "list_resource_record_sets"
        return self

    def paginate(self, *, HostedZoneId: str) -> list[dict[str, Any]]:  # noqa: N803
        assert HostedZoneId == "Z"
        api = "api.healthcare-dr-dev.com."
        return [
            {"ResourceRecordSets": [{"Name": "healthcare-dr-dev.com.", "Type": "NS"}]},
            {
                "ResourceRecordSets": [
                    {"Name": api, "Type": "CNAME", "SetIdentifier": EAST, "Weight": 70},
                    {"Name": api, "Type": "CNAME", "SetIdentifier": WEST, "Weight": 30},
                ]
            },
        ]


def status_with(
    answers: Mapping[str, int | None],
    states: dict[str, StackState],
    *,
    running: bool | None = True,
    route53: "Route53 | None" = None,
) -> Any:
    target = LocalTarget(root=Path(), urls={"one": "https://one", "two": "https://two"}, route53=route53 or Route53())
    return read_status(
        target=target,
        names=Names("dev"),
        regions=(EAST, WEST),
        states=states,
        running=running,
        ask=lambda url: answers[url],
    )


WELL = {
    "https://one/health": 200,
    "https://two/health": 200,
    "https://one/drain/us-west-2": 404,
    "https://two/drain/us-east-1": 404,
}


def test_a_healthy_platform() -> None:
    status = status_with(dict(WELL), deployed())
    assert status.healthy
    assert [(r.region, r.health, r.drain, r.weight) for r in status.regions] == [
        (EAST, "healthy", "serving", 70),
        (WEST, "healthy", "serving", 30),
    ]


def test_drain_state_is_read_from_the_peer() -> None:
    answers = {
        **WELL,
        "https://two/drain/us-east-1": 200,
        "https://one/health": None,
        "https://one/drain/us-west-2": None,
    }
    status = status_with(answers, deployed())
    assert not status.healthy
    assert [(r.health, r.drain) for r in status.regions] == [("unreachable", "draining"), ("healthy", "unknown")]


class LostRoute53(Route53):
    """Its control plane is in us-east-1, and gone with it."""

    def paginate(self, *, HostedZoneId: str) -> list[dict[str, Any]]:  # noqa: N803
        super().paginate(HostedZoneId=HostedZoneId)
        raise EndpointConnectionError(endpoint_url="https://route53.amazonaws.com")


def test_lost_route53_does_not_hide_other_results() -> None:
    status = status_with({**WELL, "https://one/health": None}, deployed(), route53=LostRoute53())
    assert [(r.health, r.drain, r.weight) for r in status.regions] == [
        ("unreachable", "serving", None),
        ("healthy", "serving", None),
    ]
    out = StringIO()
    print_status(Console(file=out, width=160), status)
    assert "the weights cannot be read from Route 53: Could not connect" in out.getvalue()


def test_regions_that_are_not_deployed_are_not_probed() -> None:
    answers = {name: code for name, code in WELL.items() if "one" not in name}
    status = status_with(answers, deployed(primary=StackState()))
    assert [(r.health, r.drain) for r in status.regions] == [("not deployed", "serving"), ("healthy", "unknown")]


def test_stopped_embedded_aws_is_not_probed() -> None:
    status = status_with({}, deployed(), running=False)
    assert [r.health for r in status.regions] == ["unreachable", "unreachable"]
    assert not status.healthy


def test_the_status_is_a_table() -> None:
    out = StringIO()
    print_status(Console(file=out, width=160), status_with({**WELL, "https://one/health": 503}, deployed()))
    text = out.getvalue()
    for part in ("us-east-1", "unhealthy", "70", "https://two", "global stack: 9 resources", "embedded AWS: running"):
        assert part in text


def test_health_is_probed_over_tls_with_the_local_authority_only(tls: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return (200 if path == "/health" else 404), b""

    served = tls(respond)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    trusting = LocalTarget(root=Path(), authority=served.authority)
    assert api_prober(trusting)(f"{served.url}/health") == 200
    assert api_prober(LocalTarget(root=Path()))(f"{served.url}/health") is None
    assert api_prober(trusting)("https://127.0.0.1:9/health") is None


def test_api_is_requested_through_its_listener_by_name(tls: Serving) -> None:
    asked: list[str] = []

    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        asked.append(f"{headers['Host']}{path}")
        return 200, b""

    served = tls(respond)
    door = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    ask = api_prober(LocalTarget(root=Path(), authority=served.authority, front_doors={EAST: door}))
    assert ask("https://one.execute-api.us-east-1.amazonaws.com/health") == 200
    assert asked == ["one.execute-api.us-east-1.amazonaws.com/health"]
    closed = {EAST: ("127.0.0.1", 9)}
    ask = api_prober(LocalTarget(root=Path(), authority=served.authority, front_doors=closed))
    assert ask("https://one.execute-api.us-east-1.amazonaws.com/health") is None
