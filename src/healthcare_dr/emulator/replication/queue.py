"""Queue the changes of one region that the other regions do not have yet.

The number of pending changes is read from the process itself, so that it includes a write that was just acknowledged.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from healthcare_dr.emulator.replication.settings import Settings, read
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
class Lanes:
    """The changes of one kind: those of each table or bucket in the order of their writes."""

    by_name: dict[str, deque[Change]] = field(default_factory=dict)
    # Called after each write: threads write, too.
    written: Callable[[], None] = lambda: None

    def put(self, name: str, apply: Callable[[], None]) -> None:
        """Queue a write of now to a table or bucket."""
        self.by_name.setdefault(name, deque()).append(Change(written=time.monotonic(), apply=apply))
        self.written()

    def waiting(self, name: str) -> bool:
        """Return whether a change of a table or bucket is pending."""
        return bool(self.by_name.get(name))

    def heads(self) -> list[tuple[str, Change]]:
        """The oldest change that waits in each table or bucket, by its name, the oldest of all first."""
        found = [(name, changes[0]) for name, changes in list(self.by_name.items()) if changes]
        return sorted(found, key=lambda head: head[1].written)


class Queue:
    """Applies changes on the loop that serves requests, so that none of them meets half of a change."""

    def __init__(self, settings: Path) -> None:
        self.tables = Lanes()
        self.documents = Lanes()
        self._file = settings
        self._seen: tuple[int, int] | None = None
        self._settings = Settings()

    def pending(self, only: Collection[str] = ()) -> int:
        """Return how many changes of both kinds are pending, of some tables and buckets or of all."""
        lanes = [pair for kind in (self.tables, self.documents) for pair in list(kind.by_name.items())]
        return sum(len(changes) for name, changes in lanes if not only or name in only)

    def waiting_seconds(self, only: Collection[str] = ()) -> float:
        """Return the age of the oldest pending change; 0 without one. As `pending`."""
        heads = [*self.tables.heads(), *self.documents.heads()]
        written = [change.written for name, change in heads if not only or name in only]
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
        for kind in (self.tables, self.documents):
            while heads := kind.heads():
                try:
                    kind.by_name[heads[0][0]].popleft().apply()
                except Exception:  # noqa: BLE001 - logged with its traceback
                    # The others are applied all the same; the count of errors marks the state as not saved.
                    errors.exception("A write could not be replicated at the end")

    def _next_due(self) -> Change | None:
        self._notice_settings()
        now = time.monotonic()
        for lanes, name, due in self._moving():
            if due <= now:
                return lanes.by_name[name].popleft()
        return None

    def _moving(self) -> Iterator[tuple[Lanes, str, float]]:
        """The tables, then the buckets, whose changes wait and do not stand still, and when the next one is due."""
        for lanes, kind in ((self.tables, "tables"), (self.documents, "documents")):
            for name, change in lanes.heads():
                settings = self._settings.of(name)
                if getattr(settings, kind):
                    yield lanes, name, change.written + settings.lag_seconds

    def _pause(self) -> float:
        now = time.monotonic()
        return max(0.0, min([NOTICE_SECONDS, *(due - now for _, _, due in self._moving())]))

    def _notice_settings(self) -> None:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            self._seen, self._settings = None, Settings()
            return
        # Every change of the settings is another file.
        if self._seen != (seen := (status.st_ino, status.st_mtime_ns)):
            self._seen = seen
            try:
                self._settings = read(self._file)
            except EmulatorError as error:
                logger.warning("Replication goes on as before: %s", error)
