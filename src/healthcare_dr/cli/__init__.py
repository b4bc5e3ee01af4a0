"""The `hdr` command: parses, calls `healthcare_dr.ops`, prints.

Reports go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or settings,
128 + the signal's number when interrupted.
"""

from typing import Annotated

import typer

from healthcare_dr import __version__
from healthcare_dr.cli.common import command, complete, session
from healthcare_dr.cli.conflicts import conflicts
from healthcare_dr.cli.drain import drain, restore
from healthcare_dr.cli.drill import drill
from healthcare_dr.cli.embedded import down, up
from healthcare_dr.cli.seed import seed, token
from healthcare_dr.cli.slo import slo
from healthcare_dr.cli.stacks import deploy, destroy, plan, synth
from healthcare_dr.cli.status import outputs, status
from healthcare_dr.cli.verify import verify

__all__ = ["app", "command", "main", "session"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A multi-region disaster recovery platform for patient records. Begin with `hdr up`.",
    epilog="Settings come from the environment and .env; .env.example documents them. State is under .hdr (HDR_HOME).",
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version, or go on to the command."""
    if version:
        typer.echo(f"hdr {__version__}")
        raise typer.Exit


COMMANDS = (
    synth, up, down, plan, deploy, destroy, status, outputs, verify, drain, restore, conflicts,
    drill, slo, token, seed,
)  # fmt: skip
# In the order in which the help lists them.
for function in COMMANDS:
    app.command()(command(function))


def main() -> None:
    """Run a command, and exit with its code."""
    with complete():
        app()
