"""What Terraform complains about becomes one line that says how to mend it."""

from pathlib import Path

import pytest

from healthcare_dr.ops.terraform.events import Diagnostic, condense, parse

STREAMS = Path(__file__).parent / "streams"


def error(summary: str, detail: str = "", address: str = "") -> Diagnostic:
    return Diagnostic(severity="error", summary=summary, detail=detail, address=address)


def line(*diagnostics: Diagnostic) -> str:
    text = condense(diagnostics, folder=Path("/home/op/stack"), program="terraform")
    assert "\n" not in text
    return text


def test_held_lock_names_its_holder_and_the_release_command() -> None:
    events = [parse(raw) for raw in (STREAMS / "locked_plan.jsonl").read_text(encoding="utf-8").splitlines()]
    text = line(*[event for event in events if isinstance(event, Diagnostic)])
    assert "operator@workstation" in text
    assert "(apply)" in text
    assert "`terraform -chdir=/home/op/stack force-unlock " in text


@pytest.mark.parametrize(
    ("said", "mend"),
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
def test_known_diagnostics_state_the_fix(said: str, mend: str) -> None:
    assert mend in line(error(said, address="aws_thing.x"))
    assert line(error(said, address="aws_thing.x")).startswith("aws_thing.x: ")


def test_an_unknown_complaint_is_given_flat_and_bounded() -> None:
    text = line(error("invalid\n  argument", "because\n\nof " + "x" * 5000))
    assert text.startswith("invalid argument: because of xxx")
    assert len(text) < 500


def test_the_number_of_further_errors_is_given_once_each() -> None:
    text = line(error("first"), error("second", address="a.b"), error("second", address="a.b"))
    assert text == "first (and 1 more)"


def test_warnings_are_no_errors() -> None:
    warning = Diagnostic(severity="warning", summary="deprecated", detail="", address="")
    assert line(warning) == "terraform failed without saying why"
    assert line(warning, error("broken")) == "broken"
