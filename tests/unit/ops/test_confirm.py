"""AWS is changed only after it was shown what will be, and a person said yes."""

import sys
from io import StringIO

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY
from healthcare_dr.ops.confirm import confirmation
from healthcare_dr.ops.terraform.events import PlannedChange
from healthcare_dr.ops.terraform.runner import Plan
from unit.ops.fakes import RecordingProgress


class Terminal(StringIO):
    """A person at a keyboard."""

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
def test_only_yes_does(monkeypatch: pytest.MonkeyPatch, typed: str, carried_out: bool) -> None:
    answer, shown = ask(Terminal(typed), monkeypatch)
    assert answer is carried_out
    assert "- healthcare-dr-primary: aws_vpc.vpc (delete)" in shown
    assert f"{GLOBAL} is planned after these, and you are asked again" in shown


def test_the_last_question_announces_no_further_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "asked again" not in ask(Terminal("yes\n"), monkeypatch, stack=GLOBAL)[1]


def test_without_a_terminal_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match="give --auto-approve"):
        ask(StringIO("yes\n"), monkeypatch)


def test_approval_beforehand_still_shows_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, shown = ask(StringIO(), monkeypatch, approve=True)
    assert answer
    assert "aws_vpc.vpc (delete)" in shown
