"""The `hdr` command: parses, calls `healthcare_dr.ops`, prints.

Reports go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or settings,
128 + the signal's number when interrupted.
"""

import functools
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from healthcare_dr import __version__
from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.naming import STACKS
from healthcare_dr.ops import wiring
from healthcare_dr.ops.confirm import approved, asking
from healthcare_dr.ops.deploy import Changes, Confirm
from healthcare_dr.ops.outputs import write_outputs
from healthcare_dr.ops.plans import prepare_folder, write_plans
from healthcare_dr.ops.progress import PlainProgress
from healthcare_dr.ops.session import Session, open_session
from healthcare_dr.ops.synthesis import synthesize
from healthcare_dr.ops.tables import print_done, print_outputs, print_plans, print_status, summary_lines
from healthcare_dr.ops.terraform.interrupts import Interrupted
from healthcare_dr.ops.token import DEMO_SCOPES, DEMO_SUBJECT, DEMO_TENANT, issue
from healthcare_dr.settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A multi-region disaster recovery platform for patient records. Begin with `hdr up`.",
    epilog="Settings come from the environment and .env; .env.example documents them. State is under .hdr (HDR_HOME).",
)
out, err = Console(), Console(stderr=True)


class TargetName(StrEnum):
    """Where the stacks go."""

    EMBEDDED = "embedded"
    AWS = "aws"


TargetOption = Annotated[TargetName, typer.Option("--target", help="Where the stacks are: the embedded AWS, or AWS.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
ApproveOption = Annotated[bool, typer.Option("--auto-approve", help="Do not ask before AWS is changed.")]


@contextmanager
def session() -> Iterator[Session]:
    """A command at work, with its settings, and progress on stderr."""
    with open_session(load_settings(), err) as at_work:
        yield at_work


def command(function: Callable[P, R]) -> Callable[P, R]:
    """One clear line and an exit code for what an operator can mend; no traceback."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except HealthcareDrError as error:
            PlainProgress(console=err).say(f"hdr: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as stop:
            code = stop.exit_code if isinstance(stop, Interrupted) else 130
            PlainProgress(console=err).say("hdr: interrupted; the same command goes on from where it stopped")
            raise typer.Exit(code) from None

    return run


def report(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, default=str))


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version, or go on to the command."""
    if version:
        typer.echo(f"hdr {__version__}")
        raise typer.Exit


@app.command()
@command
def synth(
    outdir: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path("cdktf.out"),
    validate: Annotated[bool, typer.Option("--validate", help="Also run `terraform validate` on all three.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the Terraform JSON of the three stacks, and check it against the platform's rules."""
    with session() as at_work:
        at_work.progress.say("Synthesizing the three stacks")
        synthesize(at_work.settings, outdir)
        if validate:
            with wiring.claim_of(at_work.settings, "embedded"):
                at_work.deployment("embedded").validate()
    files = {stack: str(outdir / "stacks" / stack / "cdk.tf.json") for stack in STACKS}
    if as_json:
        report(files)
    else:
        print_outputs(out, files)


@app.command()
@command
def up(as_json: JsonOption = False) -> None:
    """Start the embedded AWS, deploy all three stacks to it, and prove that records cross regions."""
    began = time.monotonic()
    with session() as at_work:
        settings = at_work.settings
        done = at_work.lifecycle().up()
        status = wiring.status_of(settings, wiring.target_of(settings, "embedded"))
        certificate = wiring.emulator_of(settings).certificate
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        report(
            {"seconds": seconds, "changes": asdict(done.changes), "demo": asdict(done.demo), "status": asdict(status)}
        )
        return
    print_status(out, status)
    for line in summary_lines(status, done.demo, certificate=_from_here(certificate), hdr=_how_we_were_called()):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    print_done(out, done.changes, seconds)


@app.command()
@command
def down(
    keep: Annotated[bool, typer.Option("--keep", help="Only stop; the next `hdr up` finds everything again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Destroy what is deployed to the embedded AWS, and stop it."""
    began = time.monotonic()
    with session() as at_work:
        changes = at_work.lifecycle().down(keep=keep)
    finish(changes, began, as_json=as_json)


@app.command()
@command
def plan(
    target: TargetOption = TargetName.EMBEDDED,
    plans_to: Annotated[
        Path | None, typer.Option("--plans", help="Also write each plan as <stack>.json into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `hdr deploy` would change; nothing is changed."""
    with session() as at_work, wiring.claim_of(at_work.settings, target):
        if plans_to is not None:
            prepare_folder(plans_to)
        deployment = at_work.deployment(target)
        plans = deployment.plan()
        if plans_to is not None:
            write_plans(deployment.show_plans(plans), plans_to)
    if as_json:
        report({item.stack: asdict(item) for item in plans})
    else:
        print_plans(out, plans)


@app.command()
@command
def deploy(
    target: TargetOption = TargetName.EMBEDDED, auto_approve: ApproveOption = False, as_json: JsonOption = False
) -> None:
    """Bring all three stacks to what is described. On AWS it shows the plan and asks first."""
    began = time.monotonic()
    with session() as at_work, wiring.claim_of(at_work.settings, target):
        confirm = _confirmation(at_work, target, auto_approve=auto_approve)
        changes = at_work.deployment(target).deploy(confirm)
    finish(changes, began, as_json=as_json)


@app.command()
@command
def destroy(
    target: TargetOption = TargetName.EMBEDDED, auto_approve: ApproveOption = False, as_json: JsonOption = False
) -> None:
    """Remove everything that was deployed. On AWS it shows the plan and asks first."""
    began = time.monotonic()
    with session() as at_work, wiring.claim_of(at_work.settings, target):
        confirm = _confirmation(at_work, target, auto_approve=auto_approve)
        changes = at_work.deployment(target).destroy(confirm)
    finish(changes, began, as_json=as_json)


@app.command()
@command
def status(target: TargetOption = TargetName.EMBEDDED, as_json: JsonOption = False) -> None:
    """Show endpoints, stacks, health, weights and drain state; exits with 1 unless both regions are healthy."""
    settings = load_settings()
    chosen = wiring.target_of(settings, target)
    if target is TargetName.AWS:
        chosen.preflight()
    found = wiring.status_of(settings, chosen)
    if as_json:
        report(asdict(found) | {"healthy": found.healthy})
    else:
        print_status(out, found)
    if not found.healthy:
        raise typer.Exit(1)


@app.command()
@command
def outputs(
    target: TargetOption = TargetName.EMBEDDED,
    outputs_file: Annotated[
        Path | None, typer.Option("--outputs-file", help="Write them here, such as cfn-outputs/flat-outputs.json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the outputs of all three stacks as one flat list, or write them to a file."""
    settings = load_settings()
    flat = wiring.outputs_of(settings, wiring.target_of(settings, target))
    if outputs_file is not None:
        write_outputs(flat, outputs_file)
    if as_json:
        report(flat)
    elif outputs_file is None:
        print_outputs(out, flat)


@app.command()
@command
def token(
    tenant: Annotated[str, typer.Option(help="Whose records it opens.")] = DEMO_TENANT,
    subject: Annotated[str, typer.Option(help="Who is calling.")] = DEMO_SUBJECT,
    scope: Annotated[list[str] | None, typer.Option(help="A SMART scope; may be given again.")] = None,
    lifetime: Annotated[int, typer.Option(min=1, max=86400, help="Seconds until it expires.")] = 3600,
) -> None:
    """Print a token of the embedded issuer, and nothing else."""
    settings = load_settings()
    typer.echo(
        issue(
            wiring.emulator_of(settings),
            tenant=tenant,
            subject=subject,
            scopes=scope or list(DEMO_SCOPES),
            audience=settings.oidc_audience,
            lifetime=timedelta(seconds=lifetime),
        )
    )


def finish(changes: Changes, began: float, *, as_json: bool) -> None:
    """Report what was done."""
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        report({"seconds": seconds, "changes": asdict(changes)})
    else:
        print_done(out, changes, seconds)


def _confirmation(at_work: Session, target: TargetName, *, auto_approve: bool) -> Confirm:
    if target is TargetName.EMBEDDED:
        return approved
    return asking(err, at_work.progress, auto_approve=auto_approve)


def _how_we_were_called() -> str:
    """How to call this command again from here, shell-quoted."""
    called, found = Path(sys.argv[0]), shutil.which("hdr")
    return "hdr" if found and called.exists() and called.samefile(found) else _from_here(called)


def _from_here(path: Path) -> str:
    """As short as it can be named in the current folder, shell-quoted."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def main() -> None:
    """The entry point."""
    app()
