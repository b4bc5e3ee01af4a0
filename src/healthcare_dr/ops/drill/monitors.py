"""Observe health checks, DNS and replication while a drill runs."""

import threading
from collections.abc import Callable, Mapping
from typing import Final

from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.ops.drill.journal import Event, Observation

PERIOD_SECONDS: Final = 1.0
"""In real time: an observation costs the embedded AWS a connection and eight DNS answers."""
SHORTEST_PERIOD_SECONDS: Final = 0.5


class Monitors:
    """Observes health checks, DNS and replication on its own thread, more often when the drill is sped up.

    A source that does not respond is missing in that observation.
    """

    def __init__(
        self,
        *,
        checks: Callable[[], Mapping[str, bool]],
        dns: Callable[[], Mapping[str, int] | None],
        lag: Callable[[], Mapping[str, float]],
        clock: Callable[[], float],
        time_scale: float = 1.0,
    ) -> None:
        self._checks, self._dns, self._lag, self._clock = checks, dns, lag, clock
        self._period = max(SHORTEST_PERIOD_SECONDS, PERIOD_SECONDS / time_scale)
        self._seen: list[Observation] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="instruments", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, and return when it has."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def observations(self) -> tuple[Observation, ...]:
        """Everything seen so far, in order."""
        return tuple(self._seen)

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self._seen.append(self._look())

    def _look(self) -> Observation:
        at = self._clock()
        try:
            checks = dict(self._checks())
        except HealthcareDrError:
            checks = {}
        return Observation(at=at, checks=checks, dns=dict(self._dns() or {}), lag=dict(self._lag()))


def changes(observations: tuple[Observation, ...]) -> list[Event]:
    """Return the times at which each health check changed its status."""
    events, verdicts = [], dict[str, bool]()
    for seen in observations:
        for name, healthy in seen.checks.items():
            if verdicts.get(name, healthy) != healthy:
                text = f"{name} is {'healthy' if healthy else 'unhealthy'}"
                events.append(Event(at=seen.at, kind="check", text=text, region=name.rpartition(" ")[2]))
            verdicts[name] = healthy
    return events
