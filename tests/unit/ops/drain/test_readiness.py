"""What of a verification keeps a region from being restored."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from healthcare_dr.ops.drain.readiness import reasons
from healthcare_dr.ops.verify.catalog import CATALOG, RESTORE_CHECKS
from healthcare_dr.ops.verify.check import Finding, Verification
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.runner import verify
from unit.ops.verify.fakes import ACCOUNT, EAST, NOW, WEST, Aws, deployed, live, refusal, resource


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
    told, _ = against(finding("a", "failure"), finding("b", "unknown", "dynamodb"), finding("c", "unknown"))
    assert told == ["a: a is wrong, and 2 more; `hdr verify` lists all"]


def test_unresponsive_control_plane_is_reported_but_no_reason() -> None:
    told, said = against(finding("roles", "unknown", "iam"), finding("functions", "unknown", "lambda"))
    assert told == []
    assert said == [
        "not asked: roles, since iam does not answer", "not asked: functions, since lambda does not answer",
    ]  # fmt: skip
    assert against(finding("roles", "failure", "iam"))[0] == ["roles: roles is wrong; `hdr verify` lists all"]


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a hanging service waits for, until the test is over."""
    event = threading.Event()
    yield event
    event.set()


CALLING_CONTROL_PLANES = {
    "roles", "permissions", "functions", "functions-equal", "function-concurrency", "function-callers",
    "event-sources", "quotas",
}  # fmt: skip


class Elsewhere(Aws):
    """Refuses whatever it has no answer to."""

    def answer(self, service: str, region: str, operation: str, request: dict[str, Any]) -> Any:
        if not {(service, operation), (service, region, operation)} & self.answers.keys():
            self.asked.append((service, region, operation, request))
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
        (service, operation): hang for service, asked in operations.items() for operation in asked
    }
    there = live({("sts", "get_caller_identity"): {"Account": ACCOUNT}} | hanging, held=HELD, target=Elsewhere)
    done = verify(there, RESTORE_CHECKS, regions=(EAST,), limit_seconds=1)
    overdue = [finding for finding in done.findings if "within the time limit" in finding.problem]
    assert {finding.check for finding in overdue} == CALLING_CONTROL_PLANES
    told, said = against(*overdue)
    assert told == []
    assert {line.split()[2].rstrip(",") for line in said} == CALLING_CONTROL_PLANES
    # The others are not held up by those that hang.
    assert not [finding for finding in done.findings if "took all the time" in finding.problem]


def lagging(
    *, beats: dict[tuple[str, str], float], stuck: str | None = None, late: tuple[str, str] | None = None
) -> LiveTarget:
    """Both regions with fresh metrics, a heartbeat of `beats[of, at]` seconds ago, a document `stuck` in a region for
    an hour, and a table whose writes in a region are `late`."""

    def beat(at: str) -> Any:
        def answer(request: dict[str, Any]) -> Any:
            if request["Key"]["pk"]["S"] != "$platform#heartbeat":
                return {}
            ago = beats.get((request["Key"]["sk"]["S"], at), 5.0)
            return {"Item": {"at": {"N": str(round((NOW.timestamp() - ago) * 1000))}}}

        return answer

    def shelf(region: str) -> Any:
        marker = {"pk": {"S": "clinic#DocumentReference#d"}, "sk": {"S": "pending"}}
        return {"Items": [marker] if region == stuck else []}

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
            ("dynamodb", region, "query"): shelf(region),
            ("s3", region, "head_object"): {"LastModified": NOW - timedelta(hours=1)},
            ("cloudwatch", region, "get_metric_statistics"): latency(region),
        }
    return live(answers, held=HELD, target=Elsewhere)


BETWEEN = {"documents-pending", "replication-lag", "heartbeat"}


@pytest.mark.trap(7)
@pytest.mark.parametrize("restored", [EAST, WEST])
@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({}, set()),
        # Younger than five minutes: the metrics of before are still there.
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
def test_restore_checks_data_missing_in_either_region(restored: str, trouble: dict[str, Any], says: set[str]) -> None:
    done = verify(lagging(**{"beats": {}} | trouble), RESTORE_CHECKS, regions=(restored,))
    assert {finding.check for finding in done.findings if finding.check in BETWEEN} == says


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
        ["roles: first does not exist; `hdr verify` lists all"], ["not asked: roles, since iam does not answer"],
    )  # fmt: skip
