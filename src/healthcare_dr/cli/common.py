"""Options, progress, reports and error handling that all commands share."""

import errno
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from healthcare_dr.errors import HealthcareDrError, SettingsError, SynthesisError
from healthcare_dr.naming import DEFAULT_TARGET, addressed
from healthcare_dr.ops.bootstrap import Session, open_session
from healthcare_dr.ops.deploy import Changes
from healthcare_dr.ops.progress import PlainProgress
from healthcare_dr.ops.tables import print_done
from healthcare_dr.ops.terraform.interrupts import Interrupted
from healthcare_dr.settings import CONTROLS, load_settings
from healthcare_dr.startup import failed_output

P = ParamSpec("P")
R = TypeVar("R")


class _Console(Console):
    target: ClassVar[str] = DEFAULT_TARGET
    """Of the command at work."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; commands in a text name the environment and the target that they were printed for."""
        super().print(*map(_addressed, objects), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to `command` to report it; rich would exit without a word."""
        # rich calls this while it handles the error.
        raise


out, err = _Console(), _Console(stderr=True)
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
"""How an operator mends what the system refuses."""


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
        # The setting is what is wrong.
        return printed
    found = addressed(text, suffix, _Console.target)
    return found if printed is text else Text(found)


@contextmanager
def session() -> Iterator[Session]:
    """A command at work, with its settings, and progress on stderr."""
    with open_session(load_settings(), err) as at_work:
        yield at_work


def command(function: Callable[P, R]) -> Callable[P, R]:
    """One clear line and an exit code for what an operator can mend; no traceback."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        _Console.target = str(kwargs.get("target", DEFAULT_TARGET))
        try:
            return function(*args, **kwargs)
        except HealthcareDrError as error:
            # What breaks a rule of the synthesized stacks is a list.
            text = str(error) if isinstance(error, SynthesisError) else _one_line(str(error))
            PlainProgress(console=err).say(f"hdr: {text}")
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            PlainProgress(console=err).say(f"hdr: {_explain(error)}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stop:
            # One more ends the process at once and without a word, instead of in a traceback.
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
    """Around a whole run of `hdr`: give one line as well for a report that standard output does not take in the end."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        PlainProgress(console=err).say(f"hdr: {_explain(error)}")
        sys.exit(1)


def _one_line(text: str) -> str:
    """Escape what would begin another line or steer the terminal: the name of a file may hold it, for example."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _explain(error: OSError) -> str:
    """Return one line on an error of the operating system, and how to fix it."""
    if isinstance(error, FileNotFoundError) and not error.filename and not _folder_exists():
        return "the current folder has been removed: change to one that exists"
    if (failure := failed_output()) is not None:
        # Python would write at its end what is left.
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
    """One JSON document on stdout; commands in it name the environment and the target as well."""
    typer.echo(_addressed(json.dumps(document, indent=2, default=str)))


def finish(changes: Changes, began: float, *, as_json: bool) -> None:
    """Report what was done."""
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        report({"seconds": seconds, "changes": asdict(changes)})
    else:
        print_done(out, changes, seconds)
