"""Asks before a drill breaks something on AWS."""

import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.progress import quiet

Consent = Callable[[Sequence[str]], None]
"""Told what will be broken, one line each; raises `DeploymentError` unless it may be."""


def asking(console: Console, progress: Progress, *, yes: bool) -> Consent:
    """Shows what will be broken, and asks unless it was answered beforehand."""

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
