"""A hybrid logical clock, after Kulkarni et al., "Logical Physical Clocks" (2014).

It orders the versions of a record by time, and still puts an update after the version it replaces when the
clocks of two regions disagree. Its text is the record's `meta.versionId`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final, Self

from patient_api.contract.keys import instant
from patient_api.errors import ClockAhead

MAX_AHEAD_MS: Final = 60_000
LAST_COUNTER: Final = 9_999

_STAMP: Final = re.compile(r"([0-9]{13})-([0-9]{4})-([a-z0-9-]{1,45})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Stamp:
    """One reading of a clock: milliseconds since 1970, a counter within them, and the region.

    `str()` is a valid FHIR id. Its order is that of the stamps until the year 2286.
    """

    millis: int
    counter: int
    region: str

    def __str__(self) -> str:
        return f"{self.millis:013d}-{self.counter:04d}-{self.region}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the stamp with the text, None for a text of another form."""
        match = _STAMP.fullmatch(text)
        return cls(int(match[1]), int(match[2]), match[3]) if match else None

    @property
    def time(self) -> datetime:
        """The physical part, in UTC."""
        return _EPOCH + timedelta(milliseconds=self.millis)

    @property
    def instant(self) -> str:
        """The physical part as a FHIR instant."""
        return instant(self.time)


class Clock:
    """The clock of one process. `now_ms` returns milliseconds since 1970; `max_ahead_ms` limits the drift."""

    def __init__(self, *, region: str, now_ms: Callable[[], int], max_ahead_ms: int = MAX_AHEAD_MS) -> None:
        self._region = region
        self._now_ms = now_ms
        self._max_ahead_ms = max_ahead_ms
        self._last = (0, 0)
        self._lock = Lock()

    def next(self, *, after: Stamp | None = None) -> Stamp:
        """Return a stamp later than `after`, the time of day, and all stamps that were issued or observed before.

        `after` comes from the client and may be invented, so it moves this stamp but not the clock. `observe`
        moves the clock once the store has the stamp. Raises ClockAhead, without effect, when `after` or the clock is
        too far ahead of the time of day.
        """
        with self._lock:
            now = self._now_ms()
            own = self._following(self._last, now)
            issued = max(own, self._following((after.millis, after.counter), now)) if after else own
            self._last = own
        return Stamp(*issued, self._region)

    def observe(self, stamp: Stamp) -> None:
        """Issue only later stamps than this one, which the store has.

        Ignores a stamp that is too far ahead: one wrong clock must not stop all others.
        """
        with self._lock:
            if stamp.millis - self._now_ms() <= self._max_ahead_ms:
                self._last = max(self._last, (stamp.millis, stamp.counter))

    def _following(self, last: tuple[int, int], now: int) -> tuple[int, int]:
        millis, counter = last
        if millis - now > self._max_ahead_ms:
            raise ClockAhead(ahead_ms=millis - now, allowed_ms=self._max_ahead_ms)
        if now > millis:
            return now, 0
        return (millis, counter + 1) if counter < LAST_COUNTER else (millis + 1, 0)
