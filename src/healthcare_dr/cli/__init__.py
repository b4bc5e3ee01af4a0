"""The `hdr` command: parses, calls `healthcare_dr.ops`, prints.

Reports go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or settings,
128 + the signal's number when interrupted.
"""

# The modules register their commands, and the help lists them in this order: it is neither alphabetical nor unused.
from healthcare_dr.cli import embedded, stacks, status, verify, notify, drain, conflicts, drill, slo, cost, seed  # noqa: F401, I001
from healthcare_dr.cli.common import app, complete

__all__ = ["app", "main"]


def main() -> None:
    """Run a command, and exit with its code."""
    with complete():
        app()
