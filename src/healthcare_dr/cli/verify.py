"""`hdr verify`: whether recovery would work now."""

from typing import TYPE_CHECKING, Annotated

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, out, report, session
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.ports import Progress, Target

if TYPE_CHECKING:
    from healthcare_dr.ops.verify.check import Verification

OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="Only this check; may be given again.")]


def verify(target: TargetOption = TargetName.EMBEDDED, only: OnlyOption = None, as_json: JsonOption = False) -> None:
    """Check whether recovery of the live target would work now; read-only.

    Exits with 1 if not, or if a check cannot be made. docs/verify.md explains every check.
    """
    from healthcare_dr.ops.verify.catalog import select_checks
    from healthcare_dr.ops.verify.live_target import open_live_target  # botocore is slow to import
    from healthcare_dr.ops.verify.runner import verify as ask_all

    checks = select_checks(only)
    with session() as at_work:
        settings, progress = at_work.settings, at_work.progress
        there = bootstrap.target_of(settings, target)
        if target is TargetName.AWS:
            _preflight(there, progress)
        live = open_live_target(
            settings, there, bootstrap.emulator_of(settings) if target is TargetName.EMBEDDED else None
        )
        progress.say(f"Asking {len(checks)} questions of {' and '.join(settings.regions)}; nothing is changed")
        progress.begin("verify", "asking")
        done = ask_all(
            live,
            checks,
            on_progress=lambda done, total, newest: progress.advance("verify", done=done, total=total, current=newest),
        )
        progress.end("verify", f"{len(done.findings)} findings")
    _show(done, as_json=as_json)
    if not done.ready:
        raise typer.Exit(1)


def _preflight(there: Target, progress: Progress) -> None:
    """Reject an invalid target. A region that does not respond is left to the checks, which report it."""
    from botocore.exceptions import ConnectionError as Unreachable
    from botocore.exceptions import HTTPClientError

    try:
        there.preflight()
    except DeploymentError as error:
        if not isinstance(error.__cause__, (Unreachable, HTTPClientError)):
            raise
        progress.say(f"{error}; going on, since nothing is changed")


def _show(done: "Verification", *, as_json: bool) -> None:
    from healthcare_dr.ops.verify.report import print_verification

    if as_json:
        report(done.document())
    else:
        print_verification(out, done)
