"""The events that cost availability, from measured recovery times and assumptions. All functions are pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from healthcare_dr.ops.slo.assumptions import HOURS_A_YEAR, Assumptions
from healthcare_dr.ops.slo.budget import YEAR, Event, Outcomes, expected_cost, simulate

HOUR: Final = 3600.0
MINUTE: Final = 60.0
FAILOVER: Final = "lost, failover"
"""The end of the names of the events that a failover follows."""
SWING_RUNS: Final = 2000
"""Simulated years for each end of each input."""


def events(assumptions: Assumptions, recoveries: Sequence[float], *, failover_fails: float) -> tuple[Event, ...]:
    """Return the events that cost availability, each with its rate and its cost.

    `recoveries` are seconds from fault to steady success, at least one; `failover_fails` is the share of the losses of
    one region that no failover follows. A failover costs all traffic of the lost region from the fault to steady
    success. A loss without failover costs it for the length of a known outage.
    """
    of = assumptions.value
    length = of("outage_length")
    times, lasting = tuple(recoveries), tuple(one.hours * HOUR * length for one in assumptions.history.outages)
    rates = {"primary": of("primary_outages_per_year"), "secondary": of("secondary_outages_per_year")}
    shares = {"primary": of("primary_share"), "secondary": 1 - of("primary_share")}
    common = of("both_regions_share")
    found = []
    for role, rate in rates.items():
        alone, share = rate * (1 - common), shares[role]
        found += [
            _event(f"{role} region {FAILOVER}", alone * (1 - failover_fails), times, share),
            _event(f"{role} region lost, no failover", alone * failover_fails, lasting, share),
            _event(f"{role} region fails too briefly", of("blips_per_year"), (of("blip_seconds"),), share),
        ]
    # By chance, one region is lost during an outage of the other one: the share of time in which the other is down.
    exposed = assumptions.history.mean_hours * length / HOURS_A_YEAR
    one, other = rates.values()
    chance = one * min(1.0, other * exposed) + other * min(1.0, one * exposed)
    found += [
        _event("both regions lost at once", common * max(rates.values()) + chance, lasting, 1.0),
        _event("DNS does not respond", of("dns_outages_per_year"), (of("dns_outage_minutes") * MINUTE,), 1.0),
        _event(
            "identity provider issues no tokens",
            of("idp_outages_per_year"),
            (of("idp_outage_minutes") * MINUTE,),
            of("idp_share"),
        ),
        _event("a change breaks both regions", of("bad_changes_per_year"), (of("bad_change_minutes") * MINUTE,), 1.0),
    ]
    return tuple(found)


def _event(name: str, per_year: float, seconds: tuple[float, ...], share: float) -> Event:
    return Event(name=name, per_year=per_year, recovery_seconds=seconds, traffic_share=share)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Assumptions, measured recoveries, and the share of failovers that may fail."""

    assumptions: Assumptions
    recoveries: tuple[float, ...]
    may_fail: float
    """The upper bound of `failover_fails` by the trials; 0 without trials."""

    @property
    def failover_fails(self) -> float:
        """Return the share of failovers that fail: the worse of the assumption and the bound by the trials."""
        return max(self.assumptions.value("failover_fails"), self.may_fail)

    @property
    def events(self) -> tuple[Event, ...]:
        """Return the events that cost availability."""
        return events(self.assumptions, self.recoveries, failover_fails=self.failover_fails)

    @property
    def lost_seconds(self) -> float:
        """Return the average yearly cost, in seconds of all traffic."""
        return expected_cost(self.events).total_seconds()

    def simulate(self, *, seed: int, runs: int, period: timedelta = YEAR) -> Outcomes:
        """Simulate periods of this scenario."""
        return simulate(self.events, seed=seed, runs=runs, period=period)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The effect of one input on the result: at its low and its high end, with all others unchanged."""

    name: str
    value: float
    low: float
    high: float
    lost_low: float
    """Seconds a year on average, at the low end."""
    lost_high: float
    within_low: float
    """The share of simulated years within the budget, at the low end."""
    within_high: float

    @property
    def width(self) -> float:
        """Return how far the average moves between both ends, in seconds a year."""
        return abs(self.lost_high - self.lost_low)


RTO: Final = "recovery time"
RTO_ENDS: Final = (10.0, 300.0)
"""In seconds: shorter than any detection, and the longest allowed. Measured recoveries beyond them extend the range."""


def swings(scenario: Scenario, *, budget: timedelta, seed: int) -> tuple[Sensitivity, ...]:
    """Return the effects of each input and of the recovery time on the result, largest first."""

    def swing(name: str, value: float, low: float, high: float, ends: Sequence[Scenario]) -> Sensitivity:
        within_low, within_high = (end.simulate(seed=seed, runs=SWING_RUNS).share_within(budget) for end in ends)
        return Sensitivity(
            name=name,
            value=value,
            low=low,
            high=high,
            lost_low=ends[0].lost_seconds,
            lost_high=ends[1].lost_seconds,
            within_low=within_low,
            within_high=within_high,
        )

    found = []
    for name, entry in scenario.assumptions.inputs.items():
        # An end of this range is an assumption, so the bound by the trials does not apply to it.
        is_bounded = name == "failover_fails"
        value = scenario.failover_fails if is_bounded else entry.value
        may_fail = 0.0 if is_bounded else scenario.may_fail
        low, high = entry.low, max(entry.high, value)
        changed = [scenario.assumptions.with_values({name: end}, source="swing") for end in (low, high)]
        ends = [replace(scenario, assumptions=each, may_fail=may_fail) for each in changed]
        found.append(swing(name, value, low, high, ends))
    times = scenario.recoveries
    low, high = min(RTO_ENDS[0], *times), max(RTO_ENDS[1], *times)
    ends = [replace(scenario, recoveries=(end,)) for end in (low, high)]
    found.append(swing(RTO, sum(times) / len(times), low, high, ends))
    return tuple(sorted(found, key=lambda one: (-one.width, one.name)))
