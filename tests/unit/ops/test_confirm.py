"""Show plans, and ask for confirmation before AWS is changed."""

import sys
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY
from healthcare_dr.ops.capacity import Place, Units
from healthcare_dr.ops.confirm import confirmation, destruction_confirmation, increase_confirmation, print_plans
from healthcare_dr.ops.terraform.events import OutputChange, PlannedChange
from healthcare_dr.ops.terraform.protection import HEADING, ProtectedChange
from healthcare_dr.ops.terraform.runner import Plan
from healthcare_dr.ops.warm_throughput import Increase, Proposal
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
    assert f"{GLOBAL} is planned after these, and requires another approval" in shown


def test_last_question_announces_no_further_question(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "asked again" not in ask(Terminal("yes\n"), monkeypatch, stack=GLOBAL)[1]


def test_without_a_terminal_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match="give --auto-approve"):
        ask(StringIO("yes\n"), monkeypatch)


def test_plan_is_shown_if_approved_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, shown = ask(StringIO(), monkeypatch, approve=True)
    assert answer
    assert "aws_vpc.vpc (delete)" in shown


PROPOSAL = Proposal(
    increases=(
        Increase(
            region="us-east-1",
            place=Place("audit_logs-dev", "by-record"),
            before=Units(12_000, 4_000),
            after=Units(12_000, 9_000),
            usd=3.25,
        ),
    ),
    rate=1000,
    quota=Units(40_000, 40_000),
    beyond_quota={},
)


def ask_increase(answer: StringIO, monkeypatch: pytest.MonkeyPatch, *, approve: bool = False) -> tuple[bool, str]:
    monkeypatch.setattr(sys, "stdin", answer)
    out = StringIO()
    asked = increase_confirmation(Console(file=out, width=140), RecordingProgress(), auto_approve=approve)
    return asked(PROPOSAL), out.getvalue()


@pytest.mark.parametrize(("typed", "raised"), [("yes\n", True), ("y\n", False), ("\n", False)])
def test_increase_is_shown_with_its_price_and_quota_before_the_question(
    monkeypatch: pytest.MonkeyPatch, typed: str, raised: bool
) -> None:
    answer, shown = ask_increase(Terminal(typed), monkeypatch)
    assert answer is raised
    flat = " ".join(shown.split())
    assert "us-east-1 │ audit_logs-dev/by-record │ 12,000 │ 4,000 → 9,000 │ 3.25" in flat
    assert "40,000 read and 40,000 write units (quotas L-CF0CBE56 and L-AB614373)" in flat
    assert "Raise them, for $3.25 once?" in flat


def test_increase_is_shown_if_approved_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, shown = ask_increase(StringIO(), monkeypatch, approve=True)
    assert answer
    assert "4,000 → 9,000" in shown


def test_without_a_terminal_the_throughput_is_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match="left as it was: give --auto-approve"):
        ask_increase(StringIO("yes\n"), monkeypatch)


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


TABLES = tuple(
    ProtectedChange(f"{GLOBAL}:aws_dynamodb_table.{name}", "destroy", "table", f"{name}-dev", "all its items")
    for name in ("audit_logs", "patient_records")
)
ZONE = ProtectedChange(f"{GLOBAL}:aws_route53_zone.zone", "destroy", "hosted zone", "example.org", "its records")


def test_protected_resources_are_shown_before_the_rest_of_all_plans() -> None:
    out = StringIO()
    plans = [plan(), replace(plan(GLOBAL), protected=TABLES)]
    print_plans(Console(file=out, width=120), plans)
    lines = out.getvalue().splitlines()
    assert lines[:3] == [HEADING, *(f"  {table.line()}" for table in TABLES)]
    assert lines[3].strip() == "Plan"


def confirm_destruction(
    answer: StringIO, monkeypatch: pytest.MonkeyPatch, *, confirmed: bool = False
) -> tuple[bool, str]:
    monkeypatch.setattr(sys, "stdin", answer)
    out = StringIO()
    console = Console(file=out, width=120)
    confirm = destruction_confirmation(console, RecordingProgress(), suffix="dev", confirmed=confirmed)
    lost = replace(plan(GLOBAL), destroys=True, remove=9, protected=(*TABLES, ZONE))
    return confirm([lost]), out.getvalue()


@pytest.mark.parametrize("typed", ["yes", "", "prod", "dev2", "DEV"])
def test_only_the_environment_suffix_confirms_a_destruction(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    answer, shown = confirm_destruction(Terminal("dev\n"), monkeypatch)
    assert answer
    assert shown.index(HEADING) < shown.index("Plan") < shown.index("aws_vpc.vpc (delete)")
    assert "This destroys 9 resources, among them 1 hosted zone, 2 tables" in shown
    with pytest.raises(
        DeploymentError, match=r"nothing was destroyed: the answer was .* the environment suffix is 'dev'"
    ):
        confirm_destruction(Terminal(f"{typed}\n"), monkeypatch)


def test_destruction_without_a_terminal_needs_the_suffix_as_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match=r"nothing was destroyed: .* give --confirm dev"):
        confirm_destruction(StringIO("dev\n"), monkeypatch)
    answer, shown = confirm_destruction(StringIO(), monkeypatch, confirmed=True)
    assert answer
    assert TABLES[0].line() in shown
