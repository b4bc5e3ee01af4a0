"""Ask for confirmation before AWS is changed, or before a drill injects a fault on AWS."""

import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL
from healthcare_dr.ops.deploy import Confirm
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.progress import quiet
from healthcare_dr.ops.tables import print_plans
from healthcare_dr.ops.terraform.runner import Plan


def confirmation(console: Console, progress: Progress, *, auto_approve: bool) -> Confirm:
    """Return a function that shows the plans and asks for confirmation, unless approved in advance."""

    def confirm(plans: Sequence[Plan]) -> bool:
        with quiet(progress):
            print_plans(console, plans)
            if auto_approve:
                return True
            if not sys.stdin.isatty():
                raise DeploymentError(
                    "there is no terminal to ask for approval, so nothing was changed: review with `hdr plan`, then "
                    "give --auto-approve"
                )
            if not plans[0].destroys and all(plan.stack != GLOBAL for plan in plans):
                console.print(f"{GLOBAL} is planned after these, and you are asked again.", highlight=False)
            answer = console.input("Carry this out on AWS? Only 'yes' does: ", markup=False)
            return answer.strip() == "yes"

    return confirm


def approved(plans: Sequence[Plan]) -> bool:
    """Confirm without asking, on the embedded AWS."""
    del plans
    return True


Consent = Callable[[Sequence[str]], None]
"""Told what will be broken, one line each; raises `DeploymentError` unless it may be."""


def drill_consent(console: Console, progress: Progress, *, yes: bool) -> Consent:
    """Return a function that shows the faults to be injected and asks for confirmation, unless confirmed in advance."""

    def consent(lines: Sequence[str]) -> None:
        with quiet(progress):
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            if yes:
                return
            if not sys.stdin.isatty():
                raise DeploymentError("there is no terminal to ask for consent, so nothing was broken: give --yes")
            if console.input("Break this on AWS? Only 'yes' does: ", markup=False).strip() != "yes":
                raise DeploymentError("nothing was broken: the answer was not 'yes'")

    return consent
