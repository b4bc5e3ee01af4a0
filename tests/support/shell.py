"""A bash process that runs several commands, as the terminal of an operator does."""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from support.platform import ROOT

COMMAND_SECONDS = 420
END_SECONDS = 60


@dataclass(frozen=True)
class CommandResult:
    """The output of a command, stdout and stderr in their order, and its exit code."""

    code: int
    lines: Sequence[str]


class Shell:
    """A bash without user settings; its variables persist between commands."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],  # noqa: S607 - a program on the PATH
            cwd=ROOT,
            env=dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(self, command: str) -> CommandResult:
        """Run the command and return its output."""
        assert self._process.stdin is not None
        mark = f"end-{uuid4()}"
        # A command that reads its standard input must not receive the next command.
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' {mark} $?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        deadline = time.monotonic() + COMMAND_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"`{command}` took longer than {COMMAND_SECONDS} s:\n" + "\n".join(lines)
                ) from None
            assert line is not None, f"`{command}` ended the shell:\n" + "\n".join(lines)
            if found := re.fullmatch(rf"{mark} (\d+)", line):
                return CommandResult(int(found[1]), lines)
            lines.append(line)

    def end(self) -> None:
        """End the shell and its child processes, which have a minute to clean up."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.stdin.close()
        deadline = time.monotonic() + END_SECONDS
        while self._is_running() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._is_running():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _is_running(self) -> bool:
        self._process.poll()
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


@contextmanager
def opened(variables: Mapping[str, str]) -> Iterator[Shell]:
    """Run a shell for the duration of the block."""
    shell = Shell(variables)
    try:
        yield shell
    finally:
        shell.end()
