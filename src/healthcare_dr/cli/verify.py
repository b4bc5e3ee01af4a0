"""`hdr verify`."""

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, out, print_plain, report, session
from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import addressed
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.ports import Progress, Target

if TYPE_CHECKING:
    from healthcare_dr.ops.verify.check import Verification

OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="Only this check; may be given again.")]
STYLES: Final = {"failure": "red", "unknown": "magenta", "draining": "yellow", "note": "cyan"}


@command
def verify(target: TargetOption = TargetName.EMBEDDED, only: OnlyOption = None, as_json: JsonOption = False) -> None:
    """Check whether recovery of the live target would work now; read-only.

    Exits with 1 if not, or if a check cannot be made. docs/verify.md explains every check.
    """
    from healthcare_dr.ops.verify import runner
    from healthcare_dr.ops.verify.checks import select_checks
    from healthcare_dr.ops.verify.live_target import open_live_target  # botocore is slow to import

    checks = select_checks(only)
    with session() as at_work:
        settings, progress = at_work.settings, at_work.progress
        chosen = bootstrap.target_of(settings, target)
        if target is TargetName.AWS:
            _preflight(chosen, progress)
        live = open_live_target(
            settings, chosen, bootstrap.emulator_of(settings) if target is TargetName.EMBEDDED else None
        )
        progress.say(f"Making {len(checks)} checks of {' and '.join(settings.regions)}; nothing is changed")
        progress.begin("verify", "checking")
        done = runner.verify(
            live,
            checks,
            on_progress=lambda done, total, newest: progress.advance("verify", done=done, total=total, current=newest),
        )
        progress.end("verify", f"{len(done.findings)} findings")
    if as_json:
        report(done.document())
    else:
        print_verification(done)
    if not done.ready:
        raise typer.Exit(1)


def _preflight(target: Target, progress: Progress) -> None:
    """Reject an invalid target. A region that does not respond is left to the checks, which report it."""
    from botocore.exceptions import ConnectionError as Unreachable
    from botocore.exceptions import HTTPClientError

    try:
        target.preflight()
    except DeploymentError as error:
        if not isinstance(error.__cause__, (Unreachable, HTTPClientError)):
            raise
        progress.say(f"{error}; going on, since nothing is changed")


def print_verification(done: "Verification") -> None:
    """Print a row for each finding, worst first, and whether recovery would work."""
    if done.findings:
        table = Table(title="Findings", title_justify="left", show_lines=True)
        table.add_column("check")
        table.add_column("what is wrong, why it matters, how to fix it", ratio=1)
        for finding in done.findings:
            where = f"{finding.region}: " if finding.region else ""
            table.add_row(
                Text.assemble(
                    (finding.severity, STYLES[finding.severity]),
                    f"\n{finding.check}\n",
                    (", ".join(finding.numbers), "dim"),
                ),
                Text.assemble(
                    f"{where}{finding.problem}\n",
                    (f"{finding.why}\n", "dim"),
                    f"→ {addressed(finding.fix, done.suffix, done.target)}",
                ),
            )
        out.print(table)
    verdict = "recovery would work now" if done.ready else "recovery would NOT work as designed now"
    label = f"{done.target}, suffix {done.suffix}"
    print_plain(
        f"{verdict} ({label}): {len(done.checks)} checks in {done.seconds} s", style="green" if done.ready else "red"
    )
