"""Print the findings of a verification."""

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from healthcare_dr.naming import addressed
from healthcare_dr.ops.verify.check import Verification

STYLES: Final = {"failure": "red", "unknown": "magenta", "draining": "yellow", "note": "cyan"}


def print_verification(console: Console, done: Verification) -> None:
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
        console.print(table)
    verdict = "recovery would work now" if done.ready else "recovery would NOT work as designed now"
    label = f"{done.target}, suffix {done.suffix}"
    console.print(
        f"{verdict} ({label}): {len(done.checks)} checks in {done.seconds} s",
        style="green" if done.ready else "red",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
