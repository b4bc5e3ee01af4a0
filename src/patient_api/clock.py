"""A hybrid logical clock, after Kulkarni et al., "Logical Physical Clocks" (2014).

It orders the versions of a record by time, and still puts an update after the version it replaces when the
clocks of two regions disagree. Its text is the record's `meta.versionId`.

A wrong clock does no lasting harm (ADR 37). A process issues no version while its time of day differs from DynamoDB's.
A stored version from the future is followed by its counter, however far ahead it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Final, Self

from patient_api.contract.keys import instant
from patient_api.errors import StorageFault, WrongClock

FUTURE_MS: Final = 60_000
"""A version whose stamp is further ahead of the time of day was stamped by a wrong clock."""
LAST_COUNTER: Final = 9_999
OLDEST_SECONDS: Final = 60.0
"""Without a response of DynamoDB for so long, the time is measured again before a version is issued."""
STEADY_SECONDS: Final = 1.0
"""By which the two clocks of a process may disagree on the duration of a request that measures."""
WIDE_SECONDS: Final = 2.0
"""A request that took longer, such as one that botocore repeated, measures too inexactly for the bound."""

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
    """The clock of one process.

    `now_ms` returns the time of day in milliseconds since 1970. `issuing_ms` returns it for a new version, and raises
    while it is wrong, as `CheckedTime.checked_ms`. `followed` is called with the milliseconds by which a new version
    that is stored is from the future.
    """

    def __init__(
        self,
        *,
        region: str,
        now_ms: Callable[[], int],
        issuing_ms: Callable[[], int] | None = None,
        followed: Callable[[int], None] | None = None,
        future_ms: int = FUTURE_MS,
    ) -> None:
        self._region = region
        self._now_ms = now_ms
        self._issuing_ms = issuing_ms or now_ms
        self._followed = followed
        self._future_ms = future_ms
        self._last = (0, 0)
        self._lock = Lock()

    def check(self) -> None:
        """Raise WrongClock while no version may be issued. Raises StorageFault when that cannot be found out."""
        self._issuing_ms()

    def next(self, *, after: Stamp | None = None) -> Stamp:
        """Return a stamp later than `after`, the time of day, and all stamps that were issued or observed before.

        `after` comes from the client and may be invented, so it moves this stamp but not the clock. `observe`
        moves the clock once the store has the stamp. Raises WrongClock and StorageFault, without effect.
        """
        # Outside the lock, because it may send a request.
        now = self._issuing_ms()
        with self._lock:
            if self._last[0] - now > self._future_ms:
                # This clock ran ahead and was set back. `after` keeps the order of each record.
                self._last = (0, 0)
            own = _following(self._last, now)
            issued = max(own, _following((after.millis, after.counter), now)) if after else own
            self._last = own
        return Stamp(*issued, self._region)

    def observe(self, stamp: Stamp) -> None:
        """Issue only later stamps than this one, which the store has.

        Ignores a stamp from the future: one wrong clock must not advance other clocks.
        """
        with self._lock:
            if stamp.millis - self._now_ms() <= self._future_ms:
                self._last = max(self._last, (stamp.millis, stamp.counter))

    def stored(self, stamp: Stamp) -> None:
        """Observe a stamp of this clock with which a version is stored now, and report one from the future."""
        self.observe(stamp)
        ahead = stamp.millis - self._now_ms()
        if ahead > self._future_ms and self._followed is not None:
            self._followed(ahead)


def _following(last: tuple[int, int], now: int) -> tuple[int, int]:
    millis, counter = last
    if now > millis:
        return now, 0
    return (millis, counter + 1) if counter < LAST_COUNTER else (millis + 1, 0)


@dataclass(frozen=True)
class Reading:
    """The time of day in seconds since 1970, and a monotonic clock in seconds, at one moment."""

    wall: float
    monotonic: float

    def until(self, later: "Reading") -> float:
        """Return the seconds until a later reading, by the monotonic clock."""
        return later.monotonic - self.monotonic

    def steady(self, later: "Reading") -> bool:
        """Return whether both clocks agree on the time until a later reading.

        Otherwise the time of day jumped between them, or the container was frozen.
        """
        return abs(later.wall - self.wall - self.until(later)) <= STEADY_SECONDS


@dataclass(frozen=True)
class Measurement:
    """The `Date` of a response of DynamoDB, and readings from before its request was sent and after it was received."""

    date: float
    sent: Reading
    received: Reading

    @property
    def wide(self) -> bool:
        """Whether its request took too long for an exact measurement."""
        return self.sent.until(self.received) > WIDE_SECONDS

    def recent(self, now: Reading) -> bool:
        """Return whether the measurement is recent by both clocks.

        The monotonic clock may stand still while Lambda freezes the container.
        """
        elapsed = (now.monotonic - self.received.monotonic, abs(now.wall - self.received.wall))
        return max(elapsed) <= OLDEST_SECONDS

    def ahead(self, now: Reading) -> float:
        """Return by how many seconds the time of day is certainly ahead of DynamoDB's, negative if it is behind.

        Returns 0 within the uncertainty of the measurement: `Date` has whole seconds, and is from any moment between
        sending and receiving.
        """
        least = now.wall - (self.date + 1 + now.monotonic - self.sent.monotonic)
        most = now.wall - (self.date + now.monotonic - self.received.monotonic)
        return max(least, 0.0) + min(most, 0.0)


class CheckedTime:
    """The time of day of a process, compared with DynamoDB's before a version is issued.

    Every response of DynamoDB measures the difference. The monotonic clock measures the time since the last
    measurement, so a later jump of the time of day is found too. A slow response replaces no exact measurement that
    is still of use.

    `now` returns seconds since 1970, `monotonic` a monotonic clock in seconds. `request` sends a request to DynamoDB
    whose response calls `measured`; it raises StorageFault.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        bound_seconds: float,
        request: Callable[[], None],
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._bound = bound_seconds
        self._request = request
        self._latest: tuple[str, Reading, Reading] | None = None
        self._responses = 0
        self._lock = Lock()

    def read(self) -> Reading:
        """Return the present reading of both clocks."""
        return Reading(self._now(), self._monotonic())

    def measured(self, date: str, sent: Reading) -> None:
        """Keep the `Date` of a response that was received just now."""
        received = self.read()
        if not sent.steady(received):
            return
        with self._lock:
            self._responses += 1
            if not self._more_exact(sent, received):
                self._latest = (date, sent, received)

    def checked_ms(self) -> int:
        """Return the time of day in milliseconds since 1970.

        Raises WrongClock when it certainly differs from DynamoDB's by more than the bound, or cannot be measured, and
        StorageFault when DynamoDB fails. Sends a request only where the last measurement does not allow an answer.
        """
        now = self.read()
        measurement = self._measurement()
        if (
            measurement is None
            or measurement.wide
            or not measurement.recent(now)
            or abs(measurement.ahead(now)) > self._bound
        ):
            measurement = self._measure()
            now = self.read()
        ahead = measurement.ahead(now)
        if abs(ahead) > self._bound:
            raise WrongClock(ahead_ms=round(ahead * 1000))
        return int(now.wall * 1000)

    def _more_exact(self, sent: Reading, received: Reading) -> bool:
        """Return whether the last measurement is to be kept, because a response with these readings was slow."""
        if self._latest is None or sent.until(received) <= WIDE_SECONDS:
            return False
        _, begun, ended = self._latest
        narrower = begun.until(ended) < sent.until(received)
        return narrower and ended.steady(received) and ended.until(received) <= OLDEST_SECONDS

    def _measure(self) -> Measurement:
        before = self._responses
        try:
            self._request()
        except StorageFault:
            # An error response has a date too: AWS rejects signatures of a clock that is wrong by five minutes.
            if self._responses == before:
                raise
        measurement = self._measurement()
        if measurement is None or self._responses == before:
            raise WrongClock(ahead_ms=None)
        return measurement

    def _measurement(self) -> Measurement | None:
        """Return the measurement that is kept, None without a usable one."""
        latest = self._latest
        if latest is None:
            return None
        date, sent, received = latest
        try:
            return Measurement(parsedate_to_datetime(date).timestamp(), sent, received)
        except ValueError:
            return None
