"""Read endpoints, health, drain flags and weights."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from healthcare_dr.cli.common import print_status
from healthcare_dr.cli.embedded import summary_lines
from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, Names
from healthcare_dr.ops.http import api_prober
from healthcare_dr.ops.lifecycle import Demo
from healthcare_dr.ops.status import flatten, read_status, write_outputs
from healthcare_dr.ops.terraform.state import StackState
from unit.http_server import Request, Response
from unit.ops.conftest import Serving
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
    """The deployed zone with two weighted records, or a control plane that does not respond."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost = lost

    def get_paginator(self, name: str) -> "Route53":
        assert name == "list_resource_record_sets"
        return self

    def paginate(self, *, HostedZoneId: str) -> list[dict[str, Any]]:  # noqa: N803 - boto3's names
        assert HostedZoneId == "Z"
        if self.lost:
            raise EndpointConnectionError(endpoint_url="https://route53.amazonaws.com")
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
    lost_route53: bool = False,
) -> Any:
    target = LocalTarget(
        root=Path(), urls={"one": "https://one", "two": "https://two"}, route53=Route53(lost=lost_route53)
    )
    return read_status(
        target=target,
        names=Names("dev"),
        regions=(EAST, WEST),
        states=states,
        running=running,
        probe=lambda url: answers[url],
    )


WELL = {
    "https://one/health": 200,
    "https://two/health": 200,
    "https://one/drain/us-west-2": 404,
    "https://two/drain/us-east-1": 404,
}


def test_status_of_a_healthy_platform() -> None:
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


def test_lost_route53_does_not_hide_other_results(capsys: pytest.CaptureFixture[str]) -> None:
    status = status_with({**WELL, "https://one/health": None}, deployed(), lost_route53=True)
    assert [(r.health, r.drain, r.weight) for r in status.regions] == [
        ("unreachable", "serving", None),
        ("healthy", "serving", None),
    ]
    print_status(status)
    assert "the weights cannot be read from Route 53: Could not connect" in capsys.readouterr().out


def test_regions_that_are_not_deployed_are_not_probed() -> None:
    answers = {name: code for name, code in WELL.items() if "one" not in name}
    status = status_with(answers, deployed(primary=StackState()))
    assert [(r.health, r.drain) for r in status.regions] == [("not deployed", "serving"), ("healthy", "unknown")]


def test_stopped_embedded_aws_is_not_probed() -> None:
    status = status_with({}, deployed(), running=False)
    assert [r.health for r in status.regions] == ["unreachable", "unreachable"]
    assert not status.healthy


def test_status_is_printed_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(status_with({**WELL, "https://one/health": 503}, deployed()))
    text = capsys.readouterr().out
    for part in ("us-east-1", "unhealthy", "70", "https://two", "global stack: 9 resources", "embedded AWS: running"):
        assert part in text


def test_health_is_probed_over_tls_with_the_local_authority_only(tls: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    served = tls(lambda request: Response(200 if request.path == "/health" else 404))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    trusting = LocalTarget(root=Path(), authority=served.authority)
    assert api_prober(trusting)(f"{served.url}/health") == 200
    assert api_prober(LocalTarget(root=Path()))(f"{served.url}/health") is None
    assert api_prober(trusting)("https://127.0.0.1:9/health") is None


def test_api_is_requested_through_its_listener_by_name(tls: Serving) -> None:
    requests: list[str] = []

    def respond(request: Request) -> Response:
        requests.append(f"{request.headers['host']}{request.path}")
        return Response(200)

    served = tls(respond)
    edge = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    address = "https://one.execute-api.us-east-1.amazonaws.com/health"
    for port, status in ((edge, 200), (("127.0.0.1", 9), None)):
        probe = api_prober(LocalTarget(root=Path(), authority=served.authority, front_doors={EAST: port}))
        assert probe(address) == status
    assert requests == ["one.execute-api.us-east-1.amazonaws.com/health"]


@pytest.mark.requirement("D9")
def test_outputs_are_flat_strings_with_stable_names() -> None:
    assert flatten(deployed()) == {
        "NameServers": "a,b",
        "PrimaryApiEndpoint": "https://one",
        "PrimaryApiId": "one",
        "RecordsTable": "t",
        "SecondaryApiEndpoint": "https://two",
        "SecondaryApiId": "two",
        "Ttl": "10",
        "ZoneId": "Z",
    }
    assert flatten(deployed(primary=StackState(outputs={"api_id": "old"}))).get("PrimaryApiId") is None


@pytest.mark.requirement("D9")
def test_outputs_are_written_atomically(tmp_path: Path) -> None:
    file = tmp_path / "cfn-outputs" / "flat-outputs.json"
    write_outputs({"B": "2", "A": "1"}, file)
    write_outputs({"B": "3", "A": "1"}, file)
    assert json.loads(file.read_text()) == {"A": "1", "B": "3"}
    assert list(file.parent.iterdir()) == [file]
    (file.parent / "folder").mkdir()
    with pytest.raises(DeploymentError, match="cannot be written"):
        write_outputs({}, file.parent / "folder")
    assert sorted(file.parent.iterdir()) == [file, file.parent / "folder"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DeploymentError, match="cannot be written"):
        write_outputs({}, tmp_path / "file" / "flat-outputs.json")


DEMO = Demo(patient_id="p1", version="v1", written_in=EAST, read_in=WEST, write_seconds=0.1, seen_after_seconds=0.2)


def test_commands_of_the_summary_name_the_environment_and_bypass_a_proxy() -> None:
    status = replace(status_with(dict(WELL), deployed()), suffix="bee")
    lines = list(summary_lines(status, DEMO, certificate="/ca.pem", hdr="hdr", curl="curl --noproxy 127.0.0.1"))
    commands = [line.split("#")[0].strip() for line in lines[lines.index("Try next:") + 1 :]]
    assert "ENVIRONMENT_SUFFIX=bee hdr down" in commands
    for command in commands:
        assert command.startswith(("ENVIRONMENT_SUFFIX=bee hdr ", "curl --noproxy 127.0.0.1 --cacert /ca.pem "))
        assert "$(hdr" not in command


def test_summary_contains_complete_commands() -> None:
    lines = list(summary_lines(status_with(dict(WELL), deployed()), DEMO, certificate="/ca.pem", hdr=".venv/bin/hdr"))
    assert "  curl --cacert /ca.pem https://one/health    # us-east-1" in lines
    assert (
        '  curl --cacert /ca.pem -H "Authorization: Bearer $(.venv/bin/hdr token)" https://two/fhir/Patient/p1' in lines
    )
