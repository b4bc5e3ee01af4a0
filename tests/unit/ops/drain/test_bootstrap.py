"""Compose draining and restoring: clients, and the findings that prevent a restore."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PRIMARY
from healthcare_dr.ops.drain.bootstrap import reasons, traffic_switch
from healthcare_dr.ops.drain.switch import TrafficSwitch
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.check import Finding, Verification
from healthcare_dr.ops.verify.checks import CATALOG, RESTORE_CHECKS
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.runner import verify
from healthcare_dr.settings import Settings
from unit.ops.verify.fakes import ACCOUNT, EAST, NOW, WEST, Aws, deployed, live, refusal, resource


class DeployedTarget:
    """A target that records the clients that are created."""

    def __init__(self, half_deployed: str | None = None) -> None:
        self.clients: list[tuple[str, str]] = []
        self.half_deployed = half_deployed

    def read_state(self, stack: str) -> bytes:
        resources = [{"mode": "managed", "instances": [{}]}]
        outputs = {} if stack == self.half_deployed else {"api_endpoint": {"value": f"https://{stack}"}}
        return json.dumps({"version": 4, "resources": resources, "outputs": outputs}).encode()

    def edge_addresses(self) -> dict[str, tuple[str, int]]:
        return {}

    def client(self, service: str, region: str) -> object:
        self.clients.append((service, region))
        return SimpleNamespace(query=lambda **_: {"Count": 0})


def switch(target: DeployedTarget, region: str) -> TrafficSwitch:
    return traffic_switch(
        settings=Settings(_env_file=None), target=cast("Target", target), emulator=None, region=region, say=print
    )


@pytest.mark.trap(27)
@pytest.mark.parametrize(("drained", "surviving"), [("us-east-1", "us-west-2"), ("us-west-2", "us-east-1")])
def test_draining_needs_no_client_of_the_drained_region(drained: str, surviving: str) -> None:
    target = DeployedTarget()
    switch(target, drained)
    assert target.clients == [("dynamodb", surviving)]


@pytest.mark.trap(27)
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_restoring_begins_with_the_tables_of_both_regions(region: str) -> None:
    target = DeployedTarget()
    for conflicts in switch(target, region).readiness[:2]:
        conflicts()
    assert set(target.clients) == {("dynamodb", "us-east-1"), ("dynamodb", "us-west-2")}


def test_partly_deployed_region_prints_one_line() -> None:
    with pytest.raises(DeploymentError, match=r"nothing is deployed of healthcare-dr-primary: deploy first"):
        switch(DeployedTarget(half_deployed=PRIMARY), "us-east-1")


def finding(check: str, severity: Any, service: str | None = None) -> Finding:
    return Finding(check=check, severity=severity, region="us-east-1", problem=f"{check} is wrong", why="w",
                   numbers=("R1.1",), fix="m", service=service)  # fmt: skip


def against(*findings: Finding) -> tuple[list[str], list[str]]:
    said: list[str] = []
    done = Verification(target="aws", suffix="dev", checks=("a",), findings=findings, seconds=1.0)
    return reasons(done, said.append), said


def test_nothing_found_or_only_noted_is_no_reason() -> None:
    assert against() == ([], [])
    assert against(finding("a", "note")) == ([], [])


def test_finding_is_one_line_with_the_verify_command() -> None:
    assert against(finding("a", "failure"))[0] == ["a: a is wrong; `hdr verify` lists all"]
    findings = (finding("a", "failure"), finding("b", "unknown", "dynamodb"), finding("c", "unknown"))
    assert against(*findings)[0] == ["a: a is wrong, and 2 more; `hdr verify` lists all"]


def test_unresponsive_control_plane_is_reported_but_no_reason() -> None:
    assert against(finding("roles", "unknown", "iam"), finding("functions", "unknown", "lambda")) == (
        [],
        [
            "not checked: roles, because iam does not respond",
            "not checked: functions, because lambda does not respond",
        ],
    )
    assert against(finding("roles", "failure", "iam"))[0] == ["roles: roles is wrong; `hdr verify` lists all"]


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that a hanging service waits for, until the test ends."""
    event = threading.Event()
    yield event
    event.set()


CALLING_CONTROL_PLANES = {
    "roles", "permissions", "functions", "functions-equal", "function-concurrency", "function-callers",
    "event-sources", "quotas",
}  # fmt: skip


class Denying(Aws):
    """Denies the requests for which no response is given."""

    def answer(self, service: str, region: str, operation: str, request: dict[str, Any]) -> Any:
        if not {(service, operation), (service, region, operation)} & self.answers.keys():
            self.requests.append((service, region, operation, request))
            raise refusal("AccessDenied")
        return super().answer(service, region, operation, request)


HELD = deployed(
    primary=[
        resource("aws_iam_role", "role", name="role", arn="arn:role", assume_role_policy="{}"),
        resource("aws_iam_role_policy", "granted", name="granted", role="role",
                 policy='{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}'),
        resource("aws_lambda_function", "function", function_name="f"),
        resource("aws_lambda_permission", "leave", function_name="f", statement_id="s", principal="p"),
    ],
    secondary=[resource("aws_lambda_function", "function", function_name="f")],
)  # fmt: skip


@pytest.mark.trap(27)
def test_hanging_control_planes_are_reported_but_no_reason(never: threading.Event) -> None:
    def hang(_: dict[str, Any]) -> Any:
        never.wait(30)
        return refusal("ServiceUnavailable", 503)

    operations = {
        "iam": ("get_role", "simulate_principal_policy"),
        "lambda": ("get_function_configuration", "get_function_concurrency", "get_policy",
                   "list_event_source_mappings", "get_account_settings"),
    }  # fmt: skip
    hanging: dict[tuple[str, ...], Any] = {
        (service, operation): hang for service, names in operations.items() for operation in names
    }
    there = live({("sts", "get_caller_identity"): {"Account": ACCOUNT}} | hanging, held=HELD, target=Denying)
    done = verify(there, RESTORE_CHECKS, regions=(EAST,), limit_seconds=1)
    overdue = [finding for finding in done.findings if "within the time limit" in finding.problem]
    assert {finding.check for finding in overdue} == CALLING_CONTROL_PLANES
    found, said = against(*overdue)
    assert found == []
    assert {line.split()[2].rstrip(",") for line in said} == CALLING_CONTROL_PLANES
    # The other checks are made meanwhile.
    assert not [finding for finding in done.findings if "used all of the time limit" in finding.problem]


def lagging(
    *, beats: dict[tuple[str, str], float], stuck: str | None = None, late: tuple[str, str] | None = None
) -> LiveTarget:
    """Return a live target with a heartbeat of `beats[of, at]` seconds ago, a document that is `stuck` in a region for
    an hour, and a table whose writes in a region are `late`."""

    def beat(at: str) -> Any:
        def answer(request: dict[str, Any]) -> Any:
            if request["Key"]["pk"]["S"] != "$platform#heartbeat":
                return {}
            ago = beats.get((request["Key"]["sk"]["S"], at), 5.0)
            return {"Item": {"at": {"N": str(round((NOW.timestamp() - ago) * 1000))}}}

        return answer

    def pending(region: str) -> Any:
        stored = round((NOW - timedelta(hours=1)).timestamp() * 1000)
        return {"Items": [{"updated": {"S": f"clinic#{stored}#d"}}] if region == stuck else []}

    def latency(region: str) -> Any:
        def answer(request: dict[str, Any]) -> Any:
            if request["MetricName"] != "ReplicationLatency":
                return {"Datapoints": []}
            table = request["Dimensions"][0]["Value"]
            return {"Datapoints": [{"Maximum": 90_000.0 if (table, region) == late else 700.0}]}

        return answer

    answers: dict[tuple[str, ...], Any] = {("sts", "get_caller_identity"): {"Account": ACCOUNT}}
    for region in (EAST, WEST):
        answers |= {
            ("dynamodb", region, "get_item"): beat(region),
            ("dynamodb", region, "query"): pending(region),
            ("cloudwatch", region, "get_metric_statistics"): latency(region),
        }
    return live(answers, held=HELD, target=Denying)


BETWEEN = {"documents-pending", "replication-lag", "heartbeat"}


@pytest.mark.trap(7)
@pytest.mark.parametrize("restored", [EAST, WEST])
@pytest.mark.parametrize(
    ("problem", "checks"),
    [
        ({}, set()),
        # The metrics of five minutes do not show it yet.
        ({"beats": {(EAST, WEST): 130.0}}, {"heartbeat"}),
        ({"beats": {(WEST, EAST): 130.0}}, {"heartbeat"}),
        ({"beats": {(EAST, EAST): 130.0, (EAST, WEST): 130.0}}, {"heartbeat"}),
        ({"beats": {(WEST, WEST): 130.0, (WEST, EAST): 130.0}}, {"heartbeat"}),
        ({"stuck": EAST}, {"documents-pending"}),
        ({"stuck": WEST}, {"documents-pending"}),
        ({"late": ("patient_records-dev", EAST)}, {"replication-lag"}),
        ({"late": ("patient_records-dev", WEST)}, {"replication-lag"}),
        ({"late": ("audit_logs-dev", EAST)}, {"replication-lag"}),
        ({"late": ("audit_logs-dev", WEST)}, {"replication-lag"}),
    ],
)
def test_restore_checks_data_missing_in_either_region(restored: str, problem: dict[str, Any], checks: set[str]) -> None:
    done = verify(lagging(**{"beats": {}} | problem), RESTORE_CHECKS, regions=(restored,))
    assert {finding.check for finding in done.findings if finding.check in BETWEEN} == checks


def test_finding_before_a_control_plane_hung_is_a_reason(never: threading.Event) -> None:
    def first_alone(request: dict[str, Any]) -> Any:
        if request["RoleName"] == "second":
            never.wait(30)
        return refusal("NoSuchEntity", 404)

    held = deployed(primary=[resource("aws_iam_role", name, name=name) for name in ("first", "second")])
    answers: dict[tuple[str, ...], Any] = {
        ("sts", "get_caller_identity"): {"Account": ACCOUNT},
        ("iam", "get_role"): first_alone,
    }
    done = verify(live(answers, held=held), [CATALOG["roles"]], regions=(EAST,), limit_seconds=1)
    assert against(*done.findings) == (
        ["roles: first does not exist; `hdr verify` lists all"], ["not checked: roles, because iam does not respond"],
    )  # fmt: skip
