"""Error budgets, and the cost of events.

Unavailability is counted in seconds of all traffic: half of the traffic refused for a minute costs 30 seconds.
Source: Google, "Site Reliability Workbook", chapter 2, request-based objectives.
"""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from healthcare_dr.errors import SettingsError

MONTH = timedelta(days=30)
YEAR = timedelta(days=365)


@dataclass(frozen=True, kw_only=True)
class Event:
    """A kind of failure that recurs.

    Attributes:
        name: describes the failure.
        per_year: the average rate; occurrences are independent.
        recovery_seconds: measured recovery times, all equally likely.
        traffic_share: the share of all traffic that fails meanwhile, from 0 to 1.

    Raises:
        SettingsError: a number is out of its range, or nothing was measured.
    """

    name: str
    per_year: float
    recovery_seconds: tuple[float, ...]
    traffic_share: float

    def __post_init__(self) -> None:
        if not 0 <= self.per_year < math.inf:
            raise SettingsError(f"{self.name}: {self.per_year} times a year is no rate: give 0 or more")
        if not self.recovery_seconds or not all(0 <= seconds < math.inf for seconds in self.recovery_seconds):
            raise SettingsError(f"{self.name}: give at least one recovery time, each of 0 seconds or more")
        _check_share(self.traffic_share)

    @property
    def expected_seconds(self) -> float:
        """Return the average cost of one event, in seconds of all traffic."""
        return statistics.fmean(self.recovery_seconds) * self.traffic_share


@dataclass(frozen=True)
class Outcomes:
    """The costs of the simulated periods: seconds of all traffic, ascending."""

    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Return the cost that `percent` % of the periods do not exceed, by nearest rank.

        Raises:
            SettingsError: `percent` is not above 0 and at most 100.
        """
        if not 0 < percent <= 100:
            raise SettingsError(f"{percent} is no percentile: give more than 0 and at most 100")
        return self.seconds[math.ceil(percent / 100 * len(self.seconds)) - 1]

    def share_within(self, budget: timedelta) -> float:
        """Return the share of the periods, from 0 to 1, that stay within `budget`."""
        return sum(cost <= budget.total_seconds() for cost in self.seconds) / len(self.seconds)


def budget(availability: float, period: timedelta = MONTH) -> timedelta:
    """Return how long all traffic may fail in `period` at an `availability` from 0 to 1.

    Raises:
        SettingsError: `availability` is out of its range.
    """
    _check_share(availability)
    return period * (1 - availability)


def affordable(allowed: timedelta, *, recovery: timedelta, traffic_share: float) -> int:
    """Return how many failovers fit into `allowed`, when each fails `traffic_share` of the traffic for `recovery`.

    Raises:
        SettingsError: a failover would cost nothing, or the share is out of its range.
    """
    _check_share(traffic_share)
    cost = recovery.total_seconds() * traffic_share
    if cost <= 0:
        raise SettingsError("A failover that costs nothing has no limit: give a recovery time and share above 0")
    # In floating point, 0.3 / 0.1 is less than 3.
    return math.floor(allowed.total_seconds() / cost + 1e-9)


def expected_cost(events: Sequence[Event], period: timedelta = YEAR) -> timedelta:
    """Return the average cost of the events in `period`, as time for which all traffic fails."""
    years = period / YEAR
    return timedelta(seconds=sum(event.per_year * years * event.expected_seconds for event in events))


def expected_availability(events: Sequence[Event]) -> float:
    """Return the long-run share of served traffic, at least 0."""
    return max(0.0, 1 - expected_cost(events) / YEAR)


def simulate(events: Sequence[Event], *, seed: int, runs: int = 10_000, period: timedelta = YEAR) -> Outcomes:
    """Simulate `runs` periods. Events are independent (Poisson), and each costs one of its measured recoveries.

    Overlapping events add up, but no period costs more than its own length. The same `seed` gives the same result.

    Raises:
        SettingsError: there is no run.
    """
    if runs < 1:
        raise SettingsError(f"{runs} runs show nothing: give at least 1")
    # Not for secrets: the same seed must give the same numbers.
    chance = random.Random(seed)  # noqa: S311
    most = period.total_seconds()
    costs = (sum(_cost(event, chance, period / YEAR) for event in events) for _ in range(runs))
    return Outcomes(tuple(sorted(min(cost, most) for cost in costs)))


def _cost(event: Event, chance: random.Random, years: float) -> float:
    """Return the cost of one kind of event in one period, in seconds of all traffic."""
    cost = 0.0
    if event.per_year > 0:
        at = chance.expovariate(event.per_year)
        while at < years:
            cost += chance.choice(event.recovery_seconds) * event.traffic_share
            at += chance.expovariate(event.per_year)
    return cost


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise SettingsError(f"{share} is no share: give a number from 0 to 1, such as 0.9999")
