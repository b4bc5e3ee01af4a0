"""Show plans and faults, and require approval before AWS is changed, destroyed or broken."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL
from healthcare_dr.ops.capacity import READ_QUOTA, WRITE_QUOTA, free_rate
from healthcare_dr.ops.deploy import Confirm
from healthcare_dr.ops.ports import REGIONAL, Progress
from healthcare_dr.ops.progress import quiet
from healthcare_dr.ops.terraform.protection import HEADING
from healthcare_dr.ops.terraform.runner import Plan
from healthcare_dr.ops.warm_throughput import Approve, Proposal

SIGNS: Final = {
    "create": ("+", "green"), "delete": ("-", "red"), "update": ("~", "yellow"), "replace": ("±", "magenta"),
}  # fmt: skip
LISTED: Final = 12

Consent = Callable[[Sequence[str]], None]
"""Receives the faults to be injected, one line each; raises DeploymentError if the operator does not consent."""


def confirmation(console: Console, progress: Progress, *, auto_approve: bool) -> Confirm:
    """Return a function that shows the plans and prompts for approval, unless approved in advance."""

    def confirm(plans: Sequence[Plan]) -> bool:
        with quiet(progress):
            print_plans(console, plans)
            if auto_approve:
                return True
            first = all(plan.stack in REGIONAL for plan in plans)
            note = f"{GLOBAL} is planned after these, and requires another approval.\n" if first else ""
            return _answered_yes(
                console,
                f"{note}Carry this out on AWS?",
                "approval requires a terminal, so nothing was changed: review with `hdr plan`, then "
                "give --auto-approve",
            )

    return confirm


def increase_confirmation(console: Console, progress: Progress, *, auto_approve: bool) -> Approve:
    """Return a function that shows increases of throughput with their price, and prompts for approval.

    `auto_approve` approves the price too, because it has been shown.
    """

    def approve(proposal: Proposal) -> bool:
        with quiet(progress):
            print_increases(console, proposal)
            return auto_approve or _answered_yes(
                console,
                f"Raise them, for ${proposal.usd:,.2f} once?",
                "approval requires a terminal, so the stacks are deployed, but the warm throughput of the "
                "tables was left as it was: give --auto-approve, or lower HDR_THROTTLE_RATE",
            )

    return approve


def print_increases(console: Console, proposal: Proposal) -> None:
    """Print a table of the increases in each region, with what DynamoDB charges for them once."""
    table = Table(title=f"Warm throughput for HDR_THROTTLE_RATE={proposal.rate}, per second", title_justify="left")
    for column in ("region", "table or index"):
        table.add_column(column, no_wrap=True)
    for column in ("read units", "write units", "US dollars, once"):
        table.add_column(column, justify="right")
    for increase in proposal.increases:
        before, after = increase.before, increase.after
        table.add_row(
            increase.region,
            str(increase.place),
            _from_to(before.read, after.read),
            _from_to(before.write, after.write),
            f"{increase.usd:,.2f}",
        )
    table.add_section()
    table.add_row("total", "", "", "", f"{proposal.usd:,.2f}")
    console.print(table)
    console.print(
        f"Each table and index may have {proposal.quota.read:,} read and {proposal.quota.write:,} write units (quotas "
        f"{READ_QUOTA} and {WRITE_QUOTA}). An increase cannot be undone. A lower HDR_THROTTLE_RATE needs less; "
        f"up to {free_rate()} needs none.",
        highlight=False,
    )


def _from_to(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def destruction_confirmation(console: Console, progress: Progress, *, suffix: str, confirmed: bool) -> Confirm:
    """Return a function that shows what is lost and prompts for the environment suffix, unless it was confirmed."""

    def confirm(plans: Sequence[Plan]) -> bool:
        with quiet(progress):
            print_plans(console, plans)
            console.print(_losses(plans), markup=False, highlight=False, soft_wrap=True, style="bold red")
            if confirmed:
                return True
            answer = _answer(
                console,
                f"Type the environment suffix ({suffix}) to destroy all of this on AWS: ",
                "confirmation requires a terminal, so nothing was destroyed: review the list above, then "
                f"give --confirm {suffix}",
            )
        if answer != suffix:
            raise DeploymentError(
                f"nothing was destroyed: the answer was {answer!r}, and the environment suffix is {suffix!r}"
            )
        return True

    return confirm


def _losses(plans: Sequence[Plan]) -> str:
    """Return a line with the number of protected resources of each kind."""
    counts = Counter(change.kind for plan in plans for change in plan.protected)
    total = sum(plan.remove for plan in plans)
    kinds = ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in sorted(counts.items()))
    return f"This destroys {total} resources" + (f", among them {kinds}" if kinds else "")


def drill_consent(console: Console, progress: Progress, *, yes: bool) -> Consent:
    """Return a function that shows the faults to be injected and prompts for approval, unless confirmed in advance."""

    def consent(lines: Sequence[str]) -> None:
        with quiet(progress):
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            missing = "approval requires a terminal, so nothing was broken: give --yes"
            if not yes and not _answered_yes(console, "Break this on AWS?", missing):
                raise DeploymentError("nothing was broken: the answer was not 'yes'")

    return consent


def _answered_yes(console: Console, question: str, without_terminal: str) -> bool:
    return _answer(console, f"{question} Only 'yes' does: ", without_terminal) == "yes"


def _answer(console: Console, question: str, without_terminal: str) -> str:
    if not sys.stdin.isatty():
        raise DeploymentError(without_terminal)
    return console.input(question, markup=False).strip()


def print_plans(console: Console, plans: Sequence[Plan]) -> None:
    """Print the protected resources that the plans destroy, a table of numbers per stack, and the other resources that
    are changed, replaced, destroyed or added.
    """
    protected = [change for plan in plans for change in plan.protected]
    if protected:
        console.print(HEADING, style="bold red")
    for change in protected:
        console.print(f"  {change.line()}", style="red", markup=False, highlight=False, soft_wrap=True)
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
