"""Show the progress of a drill: at a terminal in one line that is kept up to date, elsewhere a line for each event."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from healthcare_dr.ops.drill.journal import Observation, Sample
from healthcare_dr.ops.ports import Progress

TITLE = "drill"
LOOKED_BACK_SECONDS = 2.0
SAID_SECONDS = 15.0
PAUSED_SECONDS = 5.0
"""A wait that was not shown for so long has ended; the next is another one."""


@dataclass(kw_only=True)
class ProgressView:
    """Reports to `progress`. A phase lasts until the next one starts or `close`."""

    progress: Progress
    clock: Callable[[], float] = time.monotonic
    _phase: str | None = field(default=None, init=False)
    _said_at: float = field(default=0.0, init=False)
    _shown_at: float = field(default=0.0, init=False)

    def begin(self, phase: str) -> None:
        """A phase begins."""
        self.close()
        self.progress.begin(TITLE, phase)
        self._phase = phase

    def close(self) -> None:
        """The phase, if there is one, has ended."""
        if self._phase is not None:
            self.progress.end(TITLE, f"{self._phase} ended")
            self._phase = None

    def tell(self, text: str) -> None:
        """Something happened."""
        self.progress.say(text)

    def show(self, text: str) -> None:
        """Show what is waited for; after 15 s, and every 15 s from then on, as a line too: logs show no bar."""
        self.progress.advance(TITLE, done=0, total=1, current=text)
        now = self.clock()
        if now - self._shown_at > PAUSED_SECONDS:
            self._said_at = now
        self._shown_at = now
        if now - self._said_at >= SAID_SECONDS:
            self._said_at = now
            self.progress.say(f"waiting: {text}")

    def look(
        self, samples: Sequence[Sample], seen: Sequence[Observation], *, now: float, done: float, total: float
    ) -> None:
        """Report the state at `now`, `done` seconds into a phase that lasts at most `total`."""
        self.progress.advance(TITLE, done=int(done), total=max(1, int(total)), current=standing(samples, seen, now))


def standing(samples: Sequence[Sample], seen: Sequence[Observation], now: float) -> str:
    """The last two seconds in one line: requests, DNS answers by region, unhealthy checks."""
    # Requests end out of order, but not by more than their timeouts.
    recent = list(takewhile(lambda sample: sample.at > now - 4 * LOOKED_BACK_SECONDS, reversed(samples)))
    recent = [sample for sample in recent if sample.at > now - LOOKED_BACK_SECONDS]
    good = sum(sample.succeeded for sample in recent)
    parts = [f"{good} of {len(recent)} requests succeed"]
    if seen:
        answers = sum(seen[-1].dns.values())
        parts += [f"{region} {100 * count // answers} %" for region, count in sorted(seen[-1].dns.items()) if answers]
        ill = sorted(name for name, healthy in seen[-1].checks.items() if not healthy)
        parts += [f"unhealthy: {', '.join(ill)}"] if ill else []
    return " · ".join(parts)
