"""What was written in one region and is not yet in the others."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from healthcare_dr.emulator.replication.settings import Replication, read
from healthcare_dr.errors import EmulatorError

# How long a change of the settings may go unnoticed.
NOTICE_SECONDS = 0.1

logger = logging.getLogger("healthcare_dr.emulator")
# An error here counts as state that was not saved (see `services`).
errors = logging.getLogger("persistence")


@dataclass(frozen=True)
class Change:
    """One write. `apply` brings it to the other regions."""

    written: float
    apply: Callable[[], None]


@dataclass
class Lane:
    """The changes of one kind, in the order of their writes."""

    changes: deque[Change] = field(default_factory=deque)
    # Called after each write: threads write, too.
    written: Callable[[], None] = lambda: None

    def put(self, apply: Callable[[], None]) -> None:
        """Queue a write of now."""
        self.changes.append(Change(written=time.monotonic(), apply=apply))
        self.written()


class Queue:
    """Applies changes on the loop that serves requests, so that none of them meets half of a change."""

    def __init__(self, settings: Path) -> None:
        self.tables = Lane()
        self.documents = Lane()
        self._file = settings
        self._seen: tuple[int, int] | None = None
        self._settings = Replication()

    def pending(self) -> int:
        """How many changes of both kinds wait."""
        return len(self.tables.changes) + len(self.documents.changes)

    def waiting_seconds(self) -> float:
        """How long ago the oldest change that waits was written; 0 when none waits."""
        written = [lane.changes[0].written for lane in (self.tables, self.documents) if lane.changes]
        return time.monotonic() - min(written) if written else 0.0

    async def run(self) -> None:
        """Apply each change when it is due, for ever."""
        written, loop = asyncio.Event(), asyncio.get_running_loop()

        def notify() -> None:
            # A thread may still write while the loop ends.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(written.set)

        self.tables.written = self.documents.written = notify
        while True:
            while change := self._next_due():
                change.apply()
                # Requests in between see some of a transaction's items, and others not yet.
                await asyncio.sleep(0)
            if self.pending():
                await asyncio.sleep(self._pause())
            else:
                # The settings matter to what waits alone.
                written.clear()
                if not self.pending():
                    await written.wait()

    def drain(self) -> None:
        """Apply everything now, also what stands still: the queue does not outlive the process."""
        for lane in (self.tables, self.documents):
            while lane.changes:
                try:
                    lane.changes.popleft().apply()
                except Exception:  # noqa: BLE001 - logged with its traceback
                    # The others are applied all the same; the count of errors marks the state as not saved.
                    errors.exception("A write could not be replicated at the end")

    def _next_due(self) -> Change | None:
        self._notice_settings()
        written_until = time.monotonic() - self._settings.lag_seconds
        for lane in self._moving():
            if lane.changes and lane.changes[0].written <= written_until:
                return lane.changes.popleft()
        return None

    def _moving(self) -> list[Lane]:
        lanes = ((self.tables, self._settings.tables), (self.documents, self._settings.documents))
        return [lane for lane, moves in lanes if moves]

    def _pause(self) -> float:
        now, lag = time.monotonic(), self._settings.lag_seconds
        waits = [lane.changes[0].written + lag - now for lane in self._moving() if lane.changes]
        return max(0.0, min([NOTICE_SECONDS, *waits]))

    def _notice_settings(self) -> None:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            self._seen, self._settings = None, Replication()
            return
        # Every change of the settings is another file.
        if self._seen != (seen := (status.st_ino, status.st_mtime_ns)):
            self._seen = seen
            try:
                self._settings = read(self._file)
            except EmulatorError as error:
                logger.warning("Replication goes on as before: %s", error)
