"""What of a verification keeps a region from being restored."""

from typing import Any

from healthcare_dr.ops.drain.verified import reasons
from healthcare_dr.ops.verify.model import Finding, Verification


def finding(check: str, severity: Any, service: str | None = None) -> Finding:
    return Finding(check=check, severity=severity, region="us-east-1", problem=f"{check} is wrong", why="w",
                   numbers=("R1.1",), mend="m", service=service)  # fmt: skip


def against(*findings: Finding) -> tuple[list[str], list[str]]:
    said: list[str] = []
    done = Verification(target="aws", suffix="dev", asked=("a",), findings=findings, seconds=1.0)
    return reasons(done, said.append), said


def test_nothing_found_or_only_noted_is_no_reason() -> None:
    assert against() == ([], [])
    assert against(finding("a", "note")) == ([], [])


def test_a_finding_is_named_in_one_line_with_the_command_that_tells_more() -> None:
    assert against(finding("a", "failure"))[0] == ["a: a is wrong; `hdr verify` tells all"]
    told, _ = against(finding("a", "failure"), finding("b", "unknown", "dynamodb"), finding("c", "unknown"))
    assert told == ["a: a is wrong, and 2 more; `hdr verify` tells all"]


def test_a_control_plane_that_does_not_answer_is_told_and_no_reason() -> None:
    told, said = against(finding("roles", "unknown", "iam"), finding("functions", "unknown", "lambda"))
    assert told == []
    assert said == [
        "not asked: roles, since iam does not answer", "not asked: functions, since lambda does not answer",
    ]  # fmt: skip
    assert against(finding("roles", "failure", "iam"))[0] == ["roles: roles is wrong; `hdr verify` tells all"]
