"""Synthesis in a process of its own.

Node, which jsii starts, would otherwise share our process group: a Ctrl-C at the terminal would end it beside
Terraform, and jsii would complain about that at our exit. A process group of its own can also be ended as a whole.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from healthcare_dr.errors import HealthcareDrError, SynthesisError
from healthcare_dr.settings import Settings

LIMIT_SECONDS: Final = 300.0
"""It takes 7 s, and 24 s when the bindings have to be unpacked first."""
POLL_SECONDS: Final = 0.1
STEERING: Final = ("CDKTF_", "CDKTN_", "SYNTH_HCL_OUTPUT", "JSII_")
"""What variables begin with that steer the toolkit (its own command line sets some) or jsii: another kernel, another
cache, another format, every message on stderr."""
CHOSEN: Final = "JSII_NODE"
"""The one of them that an operator may set."""

STDERR: Final = "stderr"
"""What the synthesis and Node write there besides, in the temporary folder: of no use beside an error in one line."""

Outcome = HealthcareDrError | OSError | str | None
"""What an operator can mend, the traceback of a defect, or nothing."""


class DefectError(Exception):
    """The synthesis failed with an error that is no operator's; the text is its traceback."""


def synthesize(settings: Settings, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
    """Write `<folder>/stacks/<stack>/cdk.tf.json` and the assets.

    `check` is called meanwhile; what it raises ends the synthesis.

    Raises:
        SynthesisError: the description breaks a rule, the folder cannot be made, or the synthesis died or took too
            long.
        OSError: the system refuses something, such as room on the disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynthesisError(f"{folder} cannot be made a folder: {error.strerror}") from error
    # What the processes leave behind when they are ended goes with it.
    with tempfile.TemporaryDirectory(prefix="hdr-synthesis-", ignore_cleanup_errors=True) as scratch:
        outcome = _in_own_process(settings, folder, scratch, check)
        said = Path(scratch) / STDERR
        if not isinstance(outcome, HealthcareDrError | OSError) and said.exists():
            sys.stderr.write(said.read_text(errors="replace"))
    if isinstance(outcome, HealthcareDrError | OSError):
        raise outcome
    if outcome is not None:
        raise DefectError(outcome)


def _in_own_process(settings: Settings, folder: Path, scratch: str, check: Callable[[], None]) -> Outcome:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(settings, folder, scratch, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return _await(ours, check)
    finally:
        ours.close()
        for end in (os.kill, os.killpg):
            # It leads its process group soon after its start, and Node is in that group too.
            with suppress(ProcessLookupError, PermissionError):
                end(process.pid or 0, signal.SIGKILL)
        process.join()


def _await(answers: Connection, check: Callable[[], None]) -> Outcome:
    began = time.monotonic()
    while not answers.poll(POLL_SECONDS):
        check()
        if time.monotonic() - began > LIMIT_SECONDS:
            raise SynthesisError(
                f"the synthesis did not end within {LIMIT_SECONDS:.0f} s and was ended: is the machine busy, or "
                "the disk slow? The same command begins anew"
            )
    try:
        outcome: Outcome = answers.recv()
    except EOFError:
        raise SynthesisError("the synthesis was ended before it was done: is there enough memory?") from None
    return outcome


def _run(settings: Settings, folder: Path, scratch: str, answers: Connection) -> None:
    os.setpgid(0, 0)
    os.environ["TMPDIR"] = scratch
    for name in [name for name in os.environ if name.startswith(STEERING) and name != CHOSEN]:
        del os.environ[name]
    os.dup2(os.open(Path(scratch) / STDERR, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    # The process that waits for us decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers.send(_outcome(settings, folder))


def _outcome(settings: Settings, folder: Path) -> Outcome:
    from healthcare_dr.infra import synth

    try:
        synth(settings, folder)
    except (HealthcareDrError, OSError) as error:
        return error
    except Exception:  # noqa: BLE001 - it is shown as a defect by the process that waits
        return traceback.format_exc()
    return None
