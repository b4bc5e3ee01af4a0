"""Run the synthesis in its own process and process group.

In the process group of `hdr`, Ctrl-C would also end Node, which jsii starts, and jsii would print an error at the exit.
A process group can also be ended as a whole.
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
REMOVED_PREFIXES: Final = ("CDKTF_", "CDKTN_", "SYNTH_HCL_OUTPUT", "JSII_")
"""The prefixes of variables that change the behaviour of the toolkit or of jsii."""
KEPT: Final = "JSII_NODE"
"""The one of these variables that an operator may set."""

STDERR: Final = "stderr"
"""The file in the temporary folder with the output of the synthesis and Node, which is shown for defects only."""

Outcome = HealthcareDrError | OSError | str | None
"""An error that an operator can fix, the traceback of a defect, or nothing."""


class DefectError(Exception):
    """The synthesis failed because of a defect; the text is the traceback."""


def synthesize(settings: Settings, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
    """Write `<folder>/stacks/<stack>/cdk.tf.json` and the assets.

    `check` is called meanwhile; an error that it raises ends the synthesis.

    Raises:
        SynthesisError: the stacks break a rule, the folder cannot be created, or the synthesis ended or took too long.
        OSError: the operating system returned an error, such as a full disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynthesisError(f"{folder} cannot be made a folder: {error.strerror}") from error
    # The folder also contains the files that the processes leave when they are killed.
    with tempfile.TemporaryDirectory(prefix="hdr-synthesis-", ignore_cleanup_errors=True) as scratch:
        outcome = _in_own_process(settings, folder, scratch, check)
        output = Path(scratch) / STDERR
        if isinstance(outcome, HealthcareDrError | OSError):
            raise outcome
        if output.exists():
            sys.stderr.write(output.read_text(errors="replace"))
    if outcome is not None:
        raise DefectError(outcome)


def _in_own_process(settings: Settings, folder: Path, scratch: str, check: Callable[[], None]) -> Outcome:
    context = get_context("spawn")
    results, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(settings, folder, scratch, sending), daemon=True)
    process.start()
    sending.close()
    try:
        return _await(results, check)
    finally:
        results.close()
        for end in (os.kill, os.killpg):
            # The process leads a process group soon after its start; Node is in this group.
            with suppress(ProcessLookupError, PermissionError):
                end(process.pid or 0, signal.SIGKILL)
        process.join()


def _await(results: Connection, check: Callable[[], None]) -> Outcome:
    began = time.monotonic()
    while not results.poll(POLL_SECONDS):
        check()
        if time.monotonic() - began > LIMIT_SECONDS:
            raise SynthesisError(
                f"the synthesis did not end within {LIMIT_SECONDS:.0f} s and was ended: is the machine busy, or "
                "the disk slow? The same command begins anew"
            )
    try:
        outcome: Outcome = results.recv()
    except EOFError:
        raise SynthesisError("the synthesis ended before it was complete: is there enough memory?") from None
    return outcome


def _run(settings: Settings, folder: Path, scratch: str, results: Connection) -> None:
    os.setpgid(0, 0)
    os.environ["TMPDIR"] = scratch
    for name in [name for name in os.environ if name.startswith(REMOVED_PREFIXES) and name != KEPT]:
        del os.environ[name]
    os.dup2(os.open(Path(scratch) / STDERR, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    # The parent process handles the signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results.send(_outcome(settings, folder))


def _outcome(settings: Settings, folder: Path) -> Outcome:
    from healthcare_dr.infra import synth

    try:
        synth(settings, folder)
    except (HealthcareDrError, OSError) as error:
        return error
    except Exception:  # noqa: BLE001 - the parent process raises it as a defect
        return traceback.format_exc()
    return None
