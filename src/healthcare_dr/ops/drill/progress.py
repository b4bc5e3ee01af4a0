"""Show the progress of a drill, and detect that there is none."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from healthcare_dr.ops.drill.journal import Observation, Sample
from healthcare_dr.ops.ports import Progress

TITLE: Final = "drill"
RECENT_SECONDS: Final = 2.0
LINE_SECONDS: Final = 15.0
"""How often a wait is written as a line of its own."""
POLL_SECONDS: Final = 0.5
"""How long a wait for progress sleeps before it looks again."""
PAUSED_SECONDS: Final = 5.0
"""A wait that was not shown for this long has ended. The next is another one."""
STALL_SECONDS: Final = 120.0
"""After this time without progress, waiting has no use. It is longer than every pause of the platform: sweeps and
alarms run once a minute."""


class StallDetector:
    """Detects that nothing made progress for `seconds`. A state that was noted before is no progress."""

    def __init__(self, clock: Callable[[], float], seconds: float = STALL_SECONDS) -> None:
        self._clock, self._seconds = clock, seconds
        self._seen: set[Hashable] = set()
        self._since = clock()

    def note(self, state: Hashable) -> None:
        """Note the current state."""
        if state not in self._seen:
            self._seen.add(state)
            self._since = self._clock()

    @property
    def stalled(self) -> bool:
        """Return whether there was no progress for the permitted time."""
        return self._clock() - self._since >= self._seconds


@dataclass(kw_only=True)
class ProgressView:
    """Shows progress: at a terminal in one line that is kept up to date, elsewhere as a line for each event.

    A phase lasts until the next one begins or until `close`.
    """

    progress: Progress
    clock: Callable[[], float] = time.monotonic
    _phase: str | None = field(default=None, init=False)
    _line_at: float = field(default=0.0, init=False)
    _shown_at: float = field(default=0.0, init=False)

    def begin(self, phase: str) -> None:
        """Begin a phase."""
        self.close()
        self.progress.begin(TITLE, phase)
        self._phase = phase

    def close(self) -> None:
        """End the current phase, if there is one."""
        if self._phase is not None:
            self.progress.end(TITLE, f"{self._phase} ended")
            self._phase = None

    def note(self, text: str) -> None:
        """Show an event."""
        self.progress.say(text)

    def waiting(self, text: str) -> None:
        """Show what the drill waits for; every 15 s also as a line, because logs show no progress bar."""
        self.progress.advance(TITLE, done=0, total=1, current=text)
        now = self.clock()
        if now - self._shown_at > PAUSED_SECONDS:
            self._line_at = now
        self._shown_at = now
        if now - self._line_at >= LINE_SECONDS:
            self._line_at = now
            self.progress.say(f"waiting: {text}")

    def update(
        self, samples: Sequence[Sample], seen: Sequence[Observation], *, now: float, done: float, total: float
    ) -> None:
        """Show the state at `now`, `done` seconds into a phase that lasts at most `total`."""
        self.progress.advance(TITLE, done=int(done), total=max(1, int(total)), current=summary(samples, seen, now))


def summary(samples: Sequence[Sample], seen: Sequence[Observation], now: float) -> str:
    """Return the last two seconds in one line: requests, DNS answers by region, unhealthy checks."""
    # Requests end out of order, but not by more than their timeouts.
    recent = list(takewhile(lambda sample: sample.at > now - 4 * RECENT_SECONDS, reversed(samples)))
    recent = [sample for sample in recent if sample.at > now - RECENT_SECONDS]
    parts = [f"{sum(sample.succeeded for sample in recent)} of {len(recent)} requests succeed"]
    if seen:
        answers = sum(seen[-1].dns.values())
        parts += [f"{region} {100 * count // answers} %" for region, count in sorted(seen[-1].dns.items()) if answers]
        unhealthy = sorted(name for name, healthy in seen[-1].checks.items() if not healthy)
        parts += [f"unhealthy: {', '.join(unhealthy)}"] if unhealthy else []
    return " · ".join(parts)
