"""Queue the changes of one region that the other region does not have yet."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from healthcare_dr.emulator.files import CachedFile
from healthcare_dr.emulator.replication.settings import Settings, read

# The longest delay until a change of the settings applies.
POLL_SECONDS = 0.1

# `services.server` counts errors of this logger as state that was not saved.
errors = logging.getLogger("persistence")


@dataclass(frozen=True)
class Change:
    """One write. `apply` applies it to the other regions."""

    written_at: float
    apply: Callable[[], None]


@dataclass
class ChangeQueues:
    """The pending changes of one kind, by table or bucket, in the order of their writes."""

    by_name: dict[str, deque[Change]] = field(default_factory=dict)
    # Called after each write, also on other threads.
    on_write: Callable[[], None] = lambda: None

    def put(self, name: str, apply: Callable[[], None]) -> None:
        """Queue a write that was made now."""
        self.by_name.setdefault(name, deque()).append(Change(written_at=time.monotonic(), apply=apply))
        self.on_write()

    def has_pending(self, name: str) -> bool:
        """Return whether a change of a table or bucket is pending."""
        return bool(self.by_name.get(name))

    def heads(self) -> list[tuple[str, Change]]:
        """Return the oldest pending change of each table or bucket by its name, the oldest of all first."""
        found = [(name, changes[0]) for name, changes in list(self.by_name.items()) if changes]
        return sorted(found, key=lambda head: head[1].written_at)


class ReplicationQueue:
    """Applies changes on the loop that serves requests, so that no request sees a part of a change."""

    def __init__(self, settings: Path) -> None:
        self.tables = ChangeQueues()
        self.documents = ChangeQueues()
        self._settings = CachedFile(settings, read, Settings())

    def pending(self, only: Collection[str] = ()) -> int:
        """Return the number of pending changes of the tables and buckets `only`, or of all when it is empty."""
        queues = [pair for kind in (self.tables, self.documents) for pair in list(kind.by_name.items())]
        return sum(len(changes) for name, changes in queues if not only or name in only)

    def waiting_seconds(self, only: Collection[str] = ()) -> float:
        """Return the age in seconds of the oldest of the `pending` changes; 0 without one."""
        heads = [*self.tables.heads(), *self.documents.heads()]
        times = [change.written_at for name, change in heads if not only or name in only]
        return time.monotonic() - min(times) if times else 0.0

    async def run(self) -> None:
        """Apply each change when it is due, forever."""
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def notify() -> None:
            # A thread may still write after the loop has ended.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(changed.set)

        self.tables.on_write = self.documents.on_write = notify
        while True:
            while change := self._next_due():
                change.apply()
                # Requests run in between, and may see only some of a transaction's items.
                await asyncio.sleep(0)
            if self.pending():
                await asyncio.sleep(self._pause())
            else:
                # Without pending changes, the settings do not matter.
                changed.clear()
                if not self.pending():
                    await changed.wait()

    def drain(self) -> None:
        """Apply all changes now, even paused ones: the queue is not part of the saved state."""
        for kind in (self.tables, self.documents):
            while heads := kind.heads():
                try:
                    kind.by_name[heads[0][0]].popleft().apply()
                except Exception:  # noqa: BLE001 - logged with its traceback
                    # Continue with the others. The counted error marks the state as not saved.
                    errors.exception("A write could not be replicated at the end")

    def _next_due(self) -> Change | None:
        now = time.monotonic()
        for queues, name, due in self._active():
            if due <= now:
                return queues.by_name[name].popleft()
        return None

    def _active(self) -> Iterator[tuple[ChangeQueues, str, float]]:
        """Yield the pending changes that are not paused, tables before buckets, with the time at which the next one is
        due.
        """
        present = self._settings.current()
        for queues, kind in ((self.tables, "tables"), (self.documents, "documents")):
            for name, change in queues.heads():
                settings = present.of(name)
                if getattr(settings, kind):
                    yield queues, name, change.written_at + settings.lag_seconds

    def _pause(self) -> float:
        now = time.monotonic()
        return max(0.0, min([POLL_SECONDS, *(due - now for _, _, due in self._active())]))
