"""Show plans, and ask for confirmation before AWS is changed."""

import sys
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY
from healthcare_dr.ops.confirm import confirmation, print_plans
from healthcare_dr.ops.terraform.events import OutputChange, PlannedChange
from healthcare_dr.ops.terraform.runner import Plan
from unit.ops.fakes import RecordingProgress


class Terminal(StringIO):
    """Standard input of a terminal."""

    def isatty(self) -> bool:
        return True


def plan(stack: str = PRIMARY) -> Plan:
    changes = (PlannedChange("aws_vpc.vpc", "delete"),)
    return Plan(stack=stack, destroys=False, changes=changes, add=0, change=0, remove=1, outputs=(), pending=True)


def ask(
    answer: StringIO, monkeypatch: pytest.MonkeyPatch, *, approve: bool = False, stack: str = PRIMARY
) -> tuple[bool, str]:
    monkeypatch.setattr(sys, "stdin", answer)
    out = StringIO()
    confirm = confirmation(Console(file=out, width=120), RecordingProgress(), auto_approve=approve)
    return confirm([plan(stack)]), out.getvalue()


@pytest.mark.parametrize(("typed", "carried_out"), [("yes\n", True), (" yes \n", True), ("y\n", False), ("\n", False)])
def test_only_yes_confirms(monkeypatch: pytest.MonkeyPatch, typed: str, carried_out: bool) -> None:
    answer, shown = ask(Terminal(typed), monkeypatch)
    assert answer is carried_out
    assert "- healthcare-dr-primary: aws_vpc.vpc (delete)" in shown
    assert f"{GLOBAL} is planned after these, and you are asked again" in shown


def test_last_question_announces_no_further_question(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "asked again" not in ask(Terminal("yes\n"), monkeypatch, stack=GLOBAL)[1]


def test_without_a_terminal_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match="give --auto-approve"):
        ask(StringIO("yes\n"), monkeypatch)


def test_plan_is_shown_if_approved_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, shown = ask(StringIO(), monkeypatch, approve=True)
    assert answer
    assert "aws_vpc.vpc (delete)" in shown


def test_plan_shows_numbers_and_changed_resources() -> None:
    changes = (
        PlannedChange("aws_subnet.a", "create"),
        PlannedChange("aws_subnet.b", "create"),
        PlannedChange("aws_kms_key.data", "replace"),
        PlannedChange("aws_vpc.vpc", "update"),
    )
    out, outputs = StringIO(), (OutputChange("api_id", "create"),)
    touching = replace(plan(), changes=changes, add=3, change=1, outputs=outputs)
    print_plans(Console(file=out, width=120), [touching])
    assert "+ healthcare-dr-primary: 2 aws_subnet" in out.getvalue()
    assert "± healthcare-dr-primary: aws_kms_key.data (replace)" in out.getvalue()
    assert "~ healthcare-dr-primary: aws_vpc.vpc (update)" in out.getvalue()
