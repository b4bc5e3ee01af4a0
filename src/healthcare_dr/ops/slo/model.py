"""Which events cost availability, made from measured recovery times and assumptions. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from healthcare_dr.ops.slo.assumptions import HOURS_A_YEAR, Assumptions
from healthcare_dr.ops.slo.budget import YEAR, Event, Outcomes, expected_cost, simulate

HOUR: Final = 3600.0
MINUTE: Final = 60.0
FAILOVER: Final = "lost, failover"
"""How the names of the events end that a failover follows."""
SWING_RUNS: Final = 2000
"""Simulated years for each end of each input."""


def events(assumptions: Assumptions, recoveries: Sequence[float], *, failover_fails: float) -> tuple[Event, ...]:
    """Everything that costs availability, with its rate and what one of it costs.

    `recoveries` are seconds from fault to steady success, at least one; `failover_fails` is the share of the losses of
    one region after which no failover comes. A failover is taken to cost all traffic of the lost region from the fault
    to steady success, and a loss without failover to cost it for as long as a known outage lasted.
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
    # The second falls into the first by chance: the time for which each leaves the other exposed, at most always.
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
    """One set of numbers that can be reckoned with: what was assumed, measured, and which share of failovers fails."""

    assumptions: Assumptions
    recoveries: tuple[float, ...]
    may_fail: float
    """What the trials leave open of `failover_fails`; 0 where there are none to bound it."""

    @property
    def failover_fails(self) -> float:
        """The worse of what is assumed and what the trials leave open."""
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
        """Play periods of this case."""
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
"""Seconds: less than any detection takes, and what is required; further where recoveries were measured beyond."""


def swings(case: Scenario, *, budget: timedelta, seed: int) -> tuple[Sensitivity, ...]:
    """Return the effects of each input and of the recovery time on the result, largest first."""

    def swing(name: str, value: float, ends: tuple[float, float], cases: tuple[Scenario, Scenario]) -> Sensitivity:
        within = [one.simulate(seed=seed, runs=SWING_RUNS).share_within(budget) for one in cases]
        return Sensitivity(
            name=name,
            value=value,
            low=ends[0],
            high=ends[1],
            lost_low=cases[0].lost_seconds,
            lost_high=cases[1].lost_seconds,
            within_low=within[0],
            within_high=within[1],
        )

    found = []
    for name, entry in case.assumptions.inputs.items():
        value = case.failover_fails if name == "failover_fails" else entry.value
        ends = (entry.low, max(entry.high, value))
        low, high = (
            # An end is a supposition about the world: it is not bounded by what was tried.
            replace(case, assumptions=case.assumptions.with_values({name: end}, source="swing"), may_fail=0.0)
            if name == "failover_fails"
            else replace(case, assumptions=case.assumptions.with_values({name: end}, source="swing"))
            for end in ends
        )
        found.append(swing(name, value, ends, (low, high)))
    mean = sum(case.recoveries) / len(case.recoveries)
    ends = (min(RTO_ENDS[0], *case.recoveries), max(RTO_ENDS[1], *case.recoveries))
    fast, slow = (replace(case, recoveries=(end,)) for end in ends)
    found.append(swing(RTO, mean, ends, (fast, slow)))
    return tuple(sorted(found, key=lambda one: (-one.width, one.name)))
