"""Show plans and faults, and ask for confirmation before AWS is changed or broken."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL
from healthcare_dr.ops.deploy import Confirm
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.progress import quiet
from healthcare_dr.ops.terraform.runner import Plan

SIGNS: Final = {
    "create": ("+", "green"), "delete": ("-", "red"), "update": ("~", "yellow"), "replace": ("±", "magenta"),
}  # fmt: skip
LISTED: Final = 12

Consent = Callable[[Sequence[str]], None]
"""Receives the faults to be injected, one line each; raises DeploymentError if the operator does not consent."""


def confirmation(console: Console, progress: Progress, *, auto_approve: bool) -> Confirm:
    """Return a function that shows the plans and asks for confirmation, unless approved in advance."""

    def confirm(plans: Sequence[Plan]) -> bool:
        with quiet(progress):
            print_plans(console, plans)
            if auto_approve:
                return True
            first = not plans[0].destroys and all(plan.stack != GLOBAL for plan in plans)
            note = f"{GLOBAL} is planned after these, and you are asked again.\n" if first else ""
            return _answered_yes(
                console,
                f"{note}Carry this out on AWS?",
                "there is no terminal to ask for approval, so nothing was changed: review with `hdr plan`, then "
                "give --auto-approve",
            )

    return confirm


def drill_consent(console: Console, progress: Progress, *, yes: bool) -> Consent:
    """Return a function that shows the faults to be injected and asks for confirmation, unless confirmed in advance."""

    def consent(lines: Sequence[str]) -> None:
        with quiet(progress):
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            missing = "there is no terminal to ask for consent, so nothing was broken: give --yes"
            if not yes and not _answered_yes(console, "Break this on AWS?", missing):
                raise DeploymentError("nothing was broken: the answer was not 'yes'")

    return consent


def _answered_yes(console: Console, question: str, without_terminal: str) -> bool:
    if not sys.stdin.isatty():
        raise DeploymentError(without_terminal)
    return console.input(f"{question} Only 'yes' does: ", markup=False).strip() == "yes"


def print_plans(console: Console, plans: Sequence[Plan]) -> None:
    """Print a table of numbers per stack, and the resources that are changed, replaced, destroyed or added."""
    table = Table(title="Plan", title_justify="left")
    table.add_column("stack", no_wrap=True)
    for column in ("add", "change", "destroy"):
        table.add_column(column, justify="right")
    for plan in plans:
        table.add_row(plan.stack, str(plan.add), str(plan.change), str(plan.remove))
    console.print(table)
    for plan in plans:
        _print_changes(console, plan)


def _print_changes(console: Console, plan: Plan) -> None:
    created = Counter(change.address.rpartition(".")[0] for change in plan.changes if change.action == "create")
    for change in plan.changes:
        if change.action != "create":
            sign, style = SIGNS.get(change.action, ("·", "cyan"))
            console.print(f"  {sign} {plan.stack}: {change.address} ({change.action})", style=style, highlight=False)
    shown = created.most_common(LISTED)
    if shown:
        kinds = ", ".join(f"{number} {kind}" for kind, number in shown)
        rest = created.total() - sum(number for _, number in shown)
        console.print(f"  + {plan.stack}: {kinds}{f' and {rest} more' if rest else ''}", style="green", highlight=False)
    for output in plan.outputs:
        if not created:
            console.print(f"  · {plan.stack}: output {output.name} ({output.action})", style="cyan", highlight=False)
