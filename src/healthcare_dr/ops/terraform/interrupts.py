"""Forward Ctrl-C so that Terraform stops gracefully and saves its state.

When interrupted, Terraform cancels the calls in flight. A call that has created a resource by then, and whose response
is lost, leaves a resource in no state. So the first signal is forwarded when no resource has been started for a few
seconds: the calls in flight then only poll. A second signal is forwarded at once, and a third one kills. Where no
Terraform runs, the first signal ends the command.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from healthcare_dr.ops.ports import Progress

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIET_SECONDS = 3.0
PATIENCE_SECONDS = 30.0


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; `exit_code` is that of the signal, such as 130 for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Watch:
    """A child process, and when it can be interrupted safely. The reader of its output calls `tick`."""

    def __init__(self, child: subprocess.Popen[bytes], received: list[int]) -> None:
        self._child = child
        self._received = received
        self._last_started: float | None = None
        self._received_at: float | None = None
        self._interrupted = False

    def began(self) -> None:
        """Record that the child has started a resource."""
        self._last_started = time.monotonic()

    def tick(self) -> None:
        """Interrupt the child once, if the operator requested it and it is safe."""
        if not self._received or self._interrupted:
            return
        now = time.monotonic()
        self._received_at = self._received_at or now
        quiet = self._last_started is None or now - self._last_started >= QUIET_SECONDS
        if quiet or now - self._received_at >= PATIENCE_SECONDS:
            self.interrupt()

    def interrupt(self) -> None:
        """Interrupt the child immediately."""
        self._interrupted = True
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill the child and its own children."""
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)


class Interrupts:
    """Forwards signals to the running children while `installed`."""

    def __init__(self, *, progress: Progress) -> None:
        self._progress = progress
        # Reentrant: the handler runs in the main thread, which may hold it.
        self._lock = threading.RLock()
        self._watched: set[Watch] = set()
        self._received: list[int] = []
        self._held: str | None = None

    @contextmanager
    def held(self, why: str) -> Iterator[None]:
        """Ignore signals inside the block, and print `why` for each."""
        self._held = why
        try:
            yield
        finally:
            self._held = None

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
        """Raise `Interrupted` if a signal was received."""
        if self._received:
            raise Interrupted(self._received[0])

    def exit_code(self) -> int:
        """Return the exit code of a command that ended in order after a signal, such as 130; 0 without a signal."""
        return 128 + self._received[0] if self._received else 0

    @contextmanager
    def watching(self, child: subprocess.Popen[bytes]) -> Iterator[Watch]:
        """Forward signals to `child`, which leads its own process group, inside the block."""
        watch = Watch(child, self._received)
        with self._lock:
            self._watched.add(watch)
        try:
            yield watch
        finally:
            with self._lock:
                self._watched.discard(watch)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        with self._lock:
            watched = list(self._watched)
        self._received.append(number)
        if self._held is not None:
            self._progress.say(self._held)
            return
        if not watched:
            raise Interrupted(self._received[0])
        if len(self._received) == 1:
            self._progress.say(
                "Stopping: Terraform finishes the calls in flight and saves its state; the next run goes on from "
                "there (once more to stop at once, which may lose track of resources)"
            )
            return
        for watch in watched:
            if len(self._received) == 2:
                watch.interrupt()
            else:
                watch.kill()
