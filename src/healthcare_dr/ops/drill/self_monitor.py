"""Measure the lateness of the drill itself, and decide whether the machine was fast enough for the measurement.

A drill attributes what its clients and monitors observe to the platform. When the clients send late, or the embedded
AWS answers a trivial request late, they observed the machine instead.
"""

import http.client
import os
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from healthcare_dr.ops.drill.journal import InstrumentHealth, Reading

PERIOD_SECONDS: Final = 1.0
PROBE_TIMEOUT_SECONDS: Final = 15.0
"""Longer than every threshold and stall, so that a late response is measured."""
PROC_STAT: Final = Path("/proc/stat")


T = TypeVar("T")


class Recorder(ABC, Generic[T]):
    """Records a value every `period` seconds, on a thread of its own."""

    def __init__(self, name: str, *, period: float) -> None:
        self._period = period
        self._recorded: list[T] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start to record."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and return when the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _read(self) -> T:
        """Return the current value."""

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self._recorded.append(self._read())


@dataclass(frozen=True, kw_only=True)
class Lateness:
    """The lateness of the load generator since the previous call, in seconds; None when nothing was due."""

    send: float | None = None
    loop: float | None = None


class Probe:
    """Sends one trivial request a second to `url`, on a thread and a connection of its own."""

    def __init__(self, *, url: str, trust: ssl.SSLContext, clock: Callable[[], float]) -> None:
        self._parts, self._trust, self._clock = urlsplit(url), trust, clock
        self._lock = threading.Lock()
        self._waits_since: float | None = None
        self._worst: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def start(self) -> None:
        """Start to send requests."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more requests. Does not wait for a late response."""
        self._stop.set()

    def worst(self) -> float | None:
        """Return the longest latency since the previous call, or the time that the current request has been waiting."""
        with self._lock:
            worst, self._worst = self._worst, None
            if self._waits_since is None:
                return worst
            return max(worst or 0.0, self._clock() - self._waits_since)

    def _run(self) -> None:
        connection = self._connection()
        while not self._stop.is_set():
            with self._lock:
                self._waits_since = began = self._clock()
            try:
                connection.request("GET", self._parts.path)
                connection.getresponse().read()
                seconds: float | None = self._clock() - began
            except TimeoutError:
                connection.close()
                seconds = self._clock() - began
            except (OSError, http.client.HTTPException):
                # Nothing listens, or the server has just ended: an outage, not lateness.
                connection.close()
                seconds = None
            with self._lock:
                self._waits_since = None
                if seconds is not None:
                    self._worst = max(self._worst or 0.0, seconds)
            self._stop.wait(PERIOD_SECONDS)
        connection.close()

    def _connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._parts.netloc, timeout=PROBE_TIMEOUT_SECONDS, context=self._trust)


class Processors:
    """Reads how much processor time is used and stolen; nothing where the kernel does not report it."""

    def __init__(self, stat: Path = PROC_STAT) -> None:
        self._stat = stat
        self._before = self._times()

    def percentages(self) -> tuple[float | None, float | None]:
        """Return the percentages of processor time, used and stolen, since the previous call."""
        before, self._before = self._before, self._times()
        if before is None or self._before is None:
            return None, None
        passed = [now - then for now, then in zip(self._before, before, strict=True)]
        # Guest time (the last two) is part of user time already.
        whole = sum(passed[:8])
        if whole <= 0:
            return None, None
        idle, stolen = passed[3] + passed[4], passed[7]
        return 100.0 * (whole - idle - stolen) / whole, 100.0 * stolen / whole

    def _times(self) -> list[int] | None:
        """Return user, nice, system, idle, iowait, irq, softirq, steal, guest and guest_nice, in ticks (proc(5))."""
        try:
            fields = self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()
            times = [int(field) for field in fields[1:11]]
        except (OSError, ValueError):
            return None
        return times if fields[:1] == ["cpu"] and len(times) == 10 else None


class SelfMonitor(Recorder[Reading]):
    """Takes a reading once a second.

    `probes` are by the field of `Reading` that they fill: `services_seconds` and `edge_seconds`. No fault affects their
    paths. `lateness` is that of the load generator.
    """

    def __init__(
        self,
        *,
        lateness: Callable[[], Lateness],
        probes: Mapping[str, Probe],
        clock: Callable[[], float],
        processors: Processors | None = None,
    ) -> None:
        super().__init__("self-monitor", period=PERIOD_SECONDS)
        self._lateness, self._probes, self._clock = lateness, probes, clock
        self._processors = processors or Processors()

    def start(self) -> None:
        """Start to take readings."""
        for probe in self._probes.values():
            probe.start()
        super().start()

    def stop(self) -> None:
        """Stop, and return when the thread has ended."""
        for probe in self._probes.values():
            probe.stop()
        super().stop()

    def readings(self) -> tuple[Reading, ...]:
        """Return every reading so far, in order."""
        return tuple(self._recorded)

    def _read(self) -> Reading:
        late = self._lateness()
        busy, stolen = self._processors.percentages()
        return Reading(
            at=round(self._clock(), 3),
            send_seconds=late.send,
            loop_seconds=late.loop,
            busy_percent=busy,
            stolen_percent=stolen,
            load=_load(),
            **{field: probe.worst() for field, probe in self._probes.items()},
        )


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


LATE_SHARE: Final = 0.05
"""The share of late readings that makes a measurement unreliable: one second in twenty."""
LATE_READINGS: Final = 3
"""The smallest number of late readings that counts: in a short drill, one or two may be chance."""
STALL_FACTOR: Final = 6.0
"""A single reading of this many times its threshold is enough: 1.5 s of the 2 s in which a health checker needs a
response once it is connected (Route 53, "How Route 53 determines whether a health check is healthy")."""
ADVICE: Final = (
    "close other programs, send less (`--rate 5`) or speed up less (a smaller `--time-scale`), and run it again"
)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The limit of one instrument."""

    field: str
    """The field of `Reading`."""
    limit: float
    unit: str
    what: str
    """What a late reading shows, as a clause."""
    reason: str
    """Why the limit is what it is."""
    stalls: bool = True
    """Whether a single reading of `STALL_FACTOR` times the limit is enough."""


THRESHOLDS: Final[tuple[Threshold, ...]] = (
    Threshold(
        field="send_seconds",
        limit=0.25,
        unit="s",
        what="the drill's clients sent late",
        reason="a twentieth of the 5 s that a client waits for an answer; on two cores with one kept busy it is 0.08 s "
        "at worst",
    ),
    Threshold(
        field="loop_seconds",
        limit=0.25,
        unit="s",
        what="the drill's clients were not given the processor",
        reason="as above; it also covers the time between two requests",
    ),
    Threshold(
        field="services_seconds",
        limit=0.25,
        unit="s",
        what="the AWS services took long to answer a request that needs no work",
        reason="an API request needs about ten such turns, and a health checker waits 2 s for an answer; on two cores "
        "with one kept busy it is 0.05 s at worst",
    ),
    Threshold(
        field="edge_seconds",
        limit=0.25,
        unit="s",
        what="the embedded edge took long to answer a request that needs no work",
        reason="edge proxies, DNS and health checkers run there: a DNS client waits 1 s, a health checker 2 s",
    ),
    Threshold(
        field="stolen_percent",
        limit=20.0,
        unit="%",
        what="the hypervisor gave processor time to other machines",
        reason="with a fifth of the processors gone, two processors cannot serve one client and the platform at once",
        stalls=False,
    ),
)


def late_instruments(reading: Reading) -> tuple[Threshold, ...]:
    """Return the thresholds that a reading exceeds."""
    return tuple(each for each in THRESHOLDS if (value := _value(reading, each)) is not None and value > each.limit)


def instrument_health(readings: Iterable[Reading], *, since: float = 0.0) -> InstrumentHealth:
    """Judge the readings taken after `since`: before it, the calibration saturates the machine on purpose."""
    judged = [reading for reading in readings if reading.at > since]
    late = [reading for reading in judged if late_instruments(reading)]
    worst = {
        each.field: max(values)
        for each in THRESHOLDS
        if (values := [value for reading in judged if (value := _value(reading, each)) is not None])
    }
    stalled = any(each.stalls and worst.get(each.field, 0.0) > STALL_FACTOR * each.limit for each in THRESHOLDS)
    often = len(late) >= max(LATE_READINGS, LATE_SHARE * len(judged))
    sufficient = not (stalled or often)
    return InstrumentHealth(
        sufficient=sufficient,
        readings=len(judged),
        late=len(late),
        worst=worst,
        reason="" if sufficient else _reason(judged, late, worst),
    )


def _reason(judged: Sequence[Reading], late: Sequence[Reading], worst: dict[str, float]) -> str:
    exceeded = [each for each in THRESHOLDS if worst.get(each.field, 0.0) > each.limit]
    parts = [f"{each.what} (up to {worst[each.field]:.1f} {each.unit}, limit {each.limit:g})" for each in exceeded]
    busy = [reading.busy_percent for reading in late if reading.busy_percent is not None]
    text = f"{', '.join(parts)} in {len(late)} of {len(judged)} readings"
    return f"{text}, while the processors were {sum(busy) / len(busy):.0f} % busy" if busy else text


def _value(reading: Reading, threshold: Threshold) -> float | None:
    value: float | None = getattr(reading, threshold.field)
    return value
