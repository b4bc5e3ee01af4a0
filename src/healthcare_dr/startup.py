"""The beginning of `hdr`: mends what is wrong with the process itself, before anything else is imported."""

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STEERING: Final = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONOPTIMIZE",
    "PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONDEBUG", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME", "PYTHONTRACEMALLOC",
    "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE",
)  # fmt: skip
"""Variables for the user's own programs. They make Python import other code than ours, print more, or not end."""


class StandardOutput(io.FileIO):
    """Standard output; `failure` is the first error of a write, after which Python forgets what it could not write."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, as a file does."""
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            raise


class StandardError(io.FileIO):
    """Standard error; what it does not take is lost, and raises nothing wherever Python flushes it."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, or drop."""
        with suppress(OSError):
            # None: it is a pipe that is full, and its other end does not let it block.
            if (written := super().write(data)) is not None:
                return written
        return memoryview(data).nbytes


def main() -> None:
    """Run `hdr`: the entry point of the command."""
    _open_streams()
    _forget_impossible_sizes()
    _restart_unsteered()
    from healthcare_dr.cli import main as command_line

    command_line()


def _restart_unsteered() -> None:
    """Start this program again without the variables that steer Python, unless it was started to ignore them (-I)."""
    present = [name for name in STEERING if name in os.environ]
    if not present:
        return
    for name in present:
        del os.environ[name]
    if sys.flags.ignore_environment:
        return
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted


def _forget_impossible_sizes() -> None:
    """Drop a size of the terminal that has room for nothing: into 0 columns rich prints nothing, errors included."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) == 0:
            del os.environ[name]


def _open_streams() -> None:
    """Open what the caller has closed: the next file would take its place, and be written into.

    A closed standard output is refused: what a command prints there is all that most commands are for.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        # The lowest number that is free, so this one.
        os.open(os.devnull, os.O_RDWR)
        os.set_inheritable(number, True)
    if 0 in closed:
        sys.stdin = open(0)  # noqa: SIM115 - a number, open until the end
    if 2 in closed:
        sys.stderr = open(2, "w")  # noqa: SIM115 - as above
    if 1 in closed:
        print("hdr: standard output is closed: leave it open, or send it to a file or /dev/null", file=sys.stderr)
        sys.exit(1)
    # A terminal that is not UTF-8 cannot show every sign.
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(StandardOutput(1, "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=sys.stdout.isatty(),
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(StandardError(2, "w", closefd=False)),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def failed_output() -> OSError | None:
    """Why standard output did not take what was written; None when it did."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, StandardOutput) else None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
