"""Parse the events of streams that Terraform wrote, and condense its diagnostics."""

from pathlib import Path

import pytest

from healthcare_dr.ops.terraform.events import (
    ChangeSummary,
    Diagnostic,
    Event,
    OutputChange,
    PlannedChange,
    ResourceEvent,
    Text,
    condense,
    parse,
)
from healthcare_dr.ops.terraform.runner import resource_events

STREAMS = Path(__file__).parent / "streams"


def recorded(name: str) -> list[Event]:
    lines = (STREAMS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for line in lines if (event := parse(line)) is not None]


def test_plan_contains_resources_numbers_and_outputs() -> None:
    events = recorded("plan")
    assert {event.address for event in events if isinstance(event, PlannedChange)} == {
        "terraform_data.a",
        "terraform_data.c",
        "terraform_data.slow",
    }
    assert ChangeSummary(add=3, change=0, remove=0) in events
    assert (OutputChange(name="o", action="create"), OutputChange(name="s", action="create")) in events


def test_apply_reports_each_resource() -> None:
    events = [event for event in recorded("mixed_apply") if isinstance(event, ResourceEvent)]
    phases = [(event.address.removeprefix("terraform_data."), event.action, event.phase) for event in events]
    assert ("replaced", "delete", "complete") in phases
    assert ("replaced", "create", "progress") in phases
    assert ("replaced", "create", "complete") in phases
    assert ("changed", "update", "complete") in phases
    assert ("gone", "delete", "complete") in phases
    waited = [event.seconds for event in events if event.phase == "progress"]
    assert waited
    assert max(waited) >= 10


def test_number_of_completions_is_the_sum_of_the_plan() -> None:
    events = recorded("mixed_apply")
    planned = next(event for event in events if isinstance(event, ChangeSummary))
    seen: list[ResourceEvent] = []
    listen = resource_events(seen.append)
    for event in events:
        listen(event)
    completions = [event for event in seen if event.phase == "complete"]
    assert len(completions) == planned.add + planned.change + planned.remove == 4


def test_interrupted_apply_reports_failures() -> None:
    events = recorded("interrupted_apply")
    assert any(
        isinstance(event, ResourceEvent) and (event.address, event.phase) == ("terraform_data.slow", "errored")
        for event in events
    )
    errors = [event for event in events if isinstance(event, Diagnostic)]
    assert errors[0].address == "terraform_data.slow"
    assert "execution halted" in {error.summary for error in errors}


def test_unknown_lines_are_kept_and_empty_ones_dropped() -> None:
    assert parse("panic: runtime error\n") == Text("panic: runtime error")
    assert parse("[1, 2]") == Text("[1, 2]")
    assert parse("\n") is None
    assert parse('{"type": "version", "terraform": "1.11.4"}') is None
    assert parse('{"type": "something_new"}') is None


def error(summary: str, detail: str = "", address: str = "") -> Diagnostic:
    return Diagnostic(severity="error", summary=summary, detail=detail, address=address)


def line(*diagnostics: Diagnostic) -> str:
    text = condense(diagnostics, folder=Path("/home/op/stack"), program="terraform")
    assert "\n" not in text
    return text


def test_held_lock_names_its_holder_and_the_release_command() -> None:
    text = line(*[event for event in recorded("locked_plan") if isinstance(event, Diagnostic)])
    assert "operator@workstation" in text
    assert "(apply)" in text
    assert "`terraform -chdir=/home/op/stack force-unlock " in text


@pytest.mark.parametrize(
    ("diagnostic", "fix"),
    [
        (
            "Retrieving AWS account details: validating provider credentials: retrieving caller identity from STS: "
            "operation error STS: GetCallerIdentity, https response error StatusCode: 403, RequestID: 1, api error "
            "ExpiredToken: The security token included in the request is expired",
            "the AWS credentials have expired: give valid credentials in AWS_PROFILE",
        ),
        ("No valid credential sources found", "there are no AWS credentials"),
        (
            "validating provider credentials: operation error STS: GetCallerIdentity, https response error "
            "StatusCode: 403, api error InvalidClientTokenId: The security token included in the request is invalid.",
            "AWS rejects these credentials",
        ),
        (
            "creating KMS Key: operation error KMS: CreateKey, https response error StatusCode: 400, RequestID: x, "
            "AccessDeniedException: User: arn:aws:iam::1:user/op is not authorized to perform: kms:CreateKey",
            "AWS refuses KMS:CreateKey: the credentials lack that permission",
        ),
        (
            "creating EC2 VPC: operation error EC2: CreateVpc, https response error StatusCode: 400, api error "
            "VpcLimitExceeded: The maximum number of VPCs has been reached.",
            "an AWS quota is used up (VpcLimitExceeded)",
        ),
        (
            "creating Lambda Function (healthcare-dr-patient-api-dev): operation error Lambda: CreateFunction, https "
            "response error StatusCode: 400, RequestID: x, api error ValidationException: 'MemorySize' value failed to "
            "satisfy constraint: Member must have value less than or equal to 3008",
            "allows functions of at most 3008 MB in this region, but the API needs 3072 MB: open a support case",
        ),
        ("Backend configuration changed", "terraform init -migrate-state"),
        (
            "Failed to save state: Error saving state: failed to upload state: operation error S3: PutObject, api "
            "error AccessDenied: Access Denied",
            "push it with `terraform -chdir=/home/op/stack state push errored.tfstate`",
        ),
        (
            "creating IAM Role (x): operation error IAM: CreateRole, api error EntityAlreadyExists: Role exists",
            "belongs to no state here",
        ),
        ("Post https://127.0.0.1:9/: dial tcp 127.0.0.1:9: connect: connection refused", "AWS cannot be reached"),
    ],
)
def test_known_diagnostics_state_the_fix(diagnostic: str, fix: str) -> None:
    text = line(error(diagnostic, address="aws_thing.x"))
    assert fix in text
    assert text.startswith("aws_thing.x: ")


def test_unknown_diagnostic_is_one_line_of_limited_length() -> None:
    text = line(error("invalid\n  argument", "because\n\nof " + "x" * 5000))
    assert text.startswith("invalid argument: because of xxx")
    assert len(text) < 500


def test_number_of_other_errors_counts_each_once() -> None:
    text = line(error("first"), error("second", address="a.b"), error("second", address="a.b"))
    assert text == "first (and 1 more)"


def test_warnings_are_ignored() -> None:
    warning = Diagnostic(severity="warning", summary="deprecated", detail="", address="")
    assert line(warning) == "terraform failed without an error message"
    assert line(warning, error("broken")) == "broken"
