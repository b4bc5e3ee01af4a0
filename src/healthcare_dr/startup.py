"""Entry point of `hdr`: repairs streams and environment of the process before other modules are imported."""

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PYTHON_VARIABLES: Final = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONOPTIMIZE",
    "PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONDEBUG", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME", "PYTHONTRACEMALLOC",
    "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE",
)  # fmt: skip
"""Variables for other programs of the user. They change what Python imports and prints, and whether it ends."""


class StandardOutput(io.FileIO):
    """Standard output. `failure` is the first error of a write; Python discards the data of a failed write."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, and keep the first error."""
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            raise


class StandardError(io.FileIO):
    """Standard error. It discards data that cannot be written, so that no flush raises."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, or discard."""
        with suppress(OSError):
            # None: a full pipe in non-blocking mode.
            if (written := super().write(data)) is not None:
                return written
        return memoryview(data).nbytes


def main() -> None:
    """Run `hdr`: the entry point of the command."""
    _open_streams()
    _remove_empty_terminal_sizes()
    _restart_without_variables()
    from healthcare_dr.cli import main as command_line

    command_line()


def _restart_without_variables() -> None:
    """Start this program again without the variables that affect Python, unless Python ignores them (-I)."""
    present = [name for name in PYTHON_VARIABLES if name in os.environ]
    if not present:
        return
    for name in present:
        del os.environ[name]
    if sys.flags.ignore_environment:
        return
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - a shell is not needed


def _remove_empty_terminal_sizes() -> None:
    """Remove a terminal size of 0: rich prints nothing into 0 columns, not even errors."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) == 0:
            del os.environ[name]


def _open_streams() -> None:
    """Open the streams that the caller has closed: otherwise the next file would get their number and their output.

    A closed standard output is an error, because most commands do nothing but print.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        # The system chooses the lowest free number, which is this one.
        os.open(os.devnull, os.O_RDWR)
        os.set_inheritable(number, True)
    if 0 in closed:
        sys.stdin = open(0)  # noqa: SIM115 - open until the process ends
    if 2 in closed:
        sys.stderr = open(2, "w")  # noqa: SIM115 - as above
    if 1 in closed:
        print("hdr: standard output is closed: leave it open, or send it to a file or /dev/null", file=sys.stderr)
        sys.exit(1)
    # A terminal without UTF-8 cannot show every character.
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
    """Return the first error of standard output, None if there was none."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, StandardOutput) else None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
