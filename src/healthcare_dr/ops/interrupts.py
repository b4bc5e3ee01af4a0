"""Ctrl-C, handed on so that Terraform stops in order and keeps its state.

The first signal asks every running Terraform to stop: it waits for the calls in flight, writes its state and ends.
A second one makes Terraform end at once, a third one is no longer asked. Where no Terraform runs, the first signal
ends the command.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from healthcare_dr.ops.ports import Progress

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The operator ended the command; `exit_code` is what a shell expects, such as 130 for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Interrupts:
    """Knows the running children, and hands signals on to them while `installed`."""

    def __init__(self, *, progress: Progress) -> None:
        self._progress = progress
        # Reentrant: the handler runs in the main thread, which may hold it.
        self._lock = threading.RLock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._received: list[int] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block; must be entered in the main thread."""
        former = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise `Interrupted` once a signal has come."""
        if self._received:
            raise Interrupted(self._received[0])

    @contextmanager
    def watching(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Hand signals on to `child`, which leads a process group of its own, inside the block."""
        with self._lock:
            self._children.add(child)
        try:
            yield
        finally:
            with self._lock:
                self._children.discard(child)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        with self._lock:
            children = [child for child in self._children if child.poll() is None]
        self._received.append(number)
        if not children:
            raise Interrupted(self._received[0])
        for child in children:
            if len(self._received) <= 2:
                child.send_signal(signal.SIGINT)
            else:
                os.killpg(child.pid, signal.SIGKILL)
        if len(self._received) == 1:
            self._progress.say(
                "Stopping: Terraform finishes the calls in flight and saves its state "
                "(once more to end at once, which may lose track of resources)"
            )
