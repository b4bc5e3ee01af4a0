"""The application, and what its commands share: options, progress, reports and error handling."""

import errno
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from healthcare_dr import __version__
from healthcare_dr.errors import HealthcareDrError, SettingsError, SynthesisError
from healthcare_dr.naming import DEFAULT_TARGET, addressed
from healthcare_dr.ops.bootstrap import Session, open_session
from healthcare_dr.ops.deploy import Changes
from healthcare_dr.ops.progress import PlainProgress
from healthcare_dr.ops.status import Status
from healthcare_dr.ops.terraform.interrupts import Interrupted
from healthcare_dr.settings import CONTROLS, load_settings
from healthcare_dr.startup import failed_output

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


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version, or run the command."""
    if version:
        typer.echo(f"hdr {__version__}")
        raise typer.Exit


class _Console(Console):
    target: ClassVar[str] = DEFAULT_TARGET
    """The target of the current command."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and add the environment and the target to commands in the text."""
        super().print(*map(_addressed, objects), **options)

    def on_broken_pipe(self) -> None:
        """Raise the error that rich handles, so that `handle_errors` reports it; rich would exit silently."""
        raise


out, err = _Console(), _Console(stderr=True)
STYLES: Final = {
    "healthy": "green", "serving": "green", "draining": "yellow", "unhealthy": "red", "unreachable": "red",
}  # fmt: skip
HINTS = {
    errno.ENOSPC: "make room on the disk of HDR_HOME and of TMPDIR; the same command goes on from where it stopped",
    errno.EDQUOT: "make room within the quota; the same command goes on from where it stopped",
    errno.EACCES: "let this user write there, or choose another place with HDR_HOME",
    errno.EPERM: "let this user write there, or choose another place with HDR_HOME",
    errno.EROFS: "choose a place that can be written to with HDR_HOME",
    errno.EMFILE: "allow more open files (`ulimit -n 4096`)",
    errno.ENFILE: "end other programs: this machine has no more open files",
    errno.EFBIG: "allow larger files (`ulimit -f unlimited`)",
    errno.EAGAIN: "end other programs: this machine has no more processes",
    errno.ENOMEM: "end other programs: this machine has no more memory",
}
"""The fixes of errors of the operating system."""


class TargetName(StrEnum):
    """A deployment target."""

    EMBEDDED = "embedded"
    AWS = "aws"


TargetOption = Annotated[TargetName, typer.Option("--target", help="The deployment target: the embedded AWS, or AWS.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]


def _addressed(printed: Any) -> Any:
    text = printed.plain if isinstance(printed, Text) else printed
    if not isinstance(text, str) or "`hdr " not in text:
        return printed
    try:
        suffix = load_settings().environment_suffix
    except SettingsError:
        return printed  # the setting itself is invalid
    found = addressed(text, suffix, _Console.target)
    return found if printed is text else Text(found)


@contextmanager
def session() -> Iterator[Session]:
    """Open a session with the settings, and progress on stderr."""
    with open_session(load_settings(), err) as at_work:
        yield at_work


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Register a function as the command of its name."""
    handled = handle_errors(function)
    app.command()(handled)
    return handled


def handle_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Print one line and exit with a code, without a traceback, for errors that an operator can fix."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        _Console.target = str(kwargs.get("target", DEFAULT_TARGET))
        try:
            return function(*args, **kwargs)
        except HealthcareDrError as error:
            # Findings of the lint rules are a list.
            text = str(error) if isinstance(error, SynthesisError) else _one_line(str(error))
            PlainProgress(console=err).say(f"hdr: {text}")
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            PlainProgress(console=err).say(f"hdr: {_explain(error)}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stop:
            # Another signal ends the process at once, without a traceback.
            with suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            code = stop.exit_code if isinstance(stop, Interrupted) else 130
            PlainProgress(console=err).say("hdr: interrupted; the same command goes on from where it stopped")
            raise typer.Exit(code) from None
        finally:
            _Console.target = DEFAULT_TARGET

    return run


@contextmanager
def complete() -> Iterator[None]:
    """Print one line as well if standard output cannot be written at the end of a run."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        PlainProgress(console=err).say(f"hdr: {_explain(error)}")
        sys.exit(1)


def _one_line(text: str) -> str:
    """Escape control characters, which the name of a file may contain."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _explain(error: OSError) -> str:
    """Return one line on an error of the operating system, and how to fix it."""
    if isinstance(error, FileNotFoundError) and not error.filename and not _folder_exists():
        return "the current folder has been removed: change to one that exists"
    if (failure := failed_output()) is not None:
        # Python writes the remaining output when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return f"standard output cannot be written ({failure.strerror}): send it where all of it fits"
    reason = error.strerror or str(error) or type(error).__name__
    hint = HINTS.get(error.errno or 0, "fix that, and try again")
    return _one_line(f"{error.filename}: {reason}: {hint}" if error.filename else f"{reason}: {hint}")


def _folder_exists() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def report(document: Any) -> None:
    """Print a JSON document on stdout, and add the environment and the target to commands in it."""
    typer.echo(_addressed(json.dumps(document, indent=2, default=str)))


def finish(changes: Changes, began: float, *, as_json: bool) -> None:
    """Report the changes and the seconds since `began`, in the monotonic clock."""
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        report({"seconds": seconds, "changes": asdict(changes)})
    else:
        print_changes(changes, seconds)


def print_changes(changes: Changes, seconds: float) -> None:
    """Print the numbers of changed resources as the last line of a command."""
    print_plain(f"{changes.add} added, {changes.change} changed, {changes.remove} destroyed in {seconds:.1f} s")


def print_plain(text: str, *, style: str | None = None) -> None:
    """Print a line on stdout without markup and line breaks."""
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_status(status: Status) -> None:
    """Print a row for each region, and the state of the whole platform."""
    table = Table(title=f"{status.name} ({status.target}, suffix {status.suffix})", title_justify="left")
    for column in ("region", "resources", "health", "drain", "weight"):
        table.add_column(column)
    for region in status.regions:
        table.add_row(
            region.region,
            str(region.resources),
            f"[{STYLES.get(region.health, 'dim')}]{region.health}[/]",
            f"[{STYLES.get(region.drain, 'dim')}]{region.drain}[/]",
            "-" if region.weight is None else str(region.weight),
        )
    out.print(table)
    if status.weights_unread is not None:
        print_plain(f"the weights cannot be read from Route 53: {status.weights_unread}", style="yellow")
    for region in status.regions:
        if region.endpoint:
            print_plain(f"{region.region}: {region.endpoint}")
    print_plain(f"global stack: {status.global_resources} resources")
    print_plain(f"token issuer: {status.issuer or 'none, the APIs require IAM signatures'}")
    if status.running is not None:
        print_plain(f"embedded AWS: {'running' if status.running else 'stopped'}")


def print_outputs(flat: Mapping[str, str]) -> None:
    """Print a line for each name and value."""
    for name, value in flat.items():
        print_plain(f"{name}={value}")
