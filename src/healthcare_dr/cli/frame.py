"""What every command shares: its options, its progress, its reports, and how it fails."""

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.ops.deploy import Changes
from healthcare_dr.ops.progress import PlainProgress
from healthcare_dr.ops.session import Session, open_session
from healthcare_dr.ops.tables import print_done
from healthcare_dr.ops.terraform.interrupts import Interrupted
from healthcare_dr.settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")

out, err = Console(), Console(stderr=True)


class TargetName(StrEnum):
    """Where the stacks go."""

    EMBEDDED = "embedded"
    AWS = "aws"


TargetOption = Annotated[TargetName, typer.Option("--target", help="Where the stacks are: the embedded AWS, or AWS.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]


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


def finish(changes: Changes, began: float, *, as_json: bool) -> None:
    """Report what was done."""
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        report({"seconds": seconds, "changes": asdict(changes)})
    else:
        print_done(out, changes, seconds)
