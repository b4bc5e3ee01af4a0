"""Assess whether the measurements support an availability target. All functions are pure."""

import math
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final

from healthcare_dr.ops.slo.assumptions import Assumptions
from healthcare_dr.ops.slo.budget import MONTH, YEAR, affordable, budget, expected_availability
from healthcare_dr.ops.slo.measured import RecoveryTimes
from healthcare_dr.ops.slo.model import FAILOVER, Scenario, Sensitivity, swings

SCHEMA: Final = 1
PERCENT: Final = 99.99
PERCENTILES: Final = (1, 5, 25, 50, 75)
CURVE: Final = (10.0, 30.0, 60.0, 120.0, 180.0, 300.0)
"""Recovery times in seconds: from shorter than any detection to the longest allowed."""
DECIDES: Final = 5
"""The percentile of the availability of simulated years that must reach the target: 95 of 100 years are as good."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The error budget of a period, in seconds of all traffic, and the number of failovers within it."""

    period_days: int
    seconds: float
    failovers: int | None
    """The losses of the primary region that it allows at the slowest measured recovery; None without a measurement or
    without a cost."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The result for one recovery time."""

    recovery_seconds: float
    failovers_in_30_days: int
    """Losses of the primary region that the budget allows."""
    failovers_in_a_year: int
    failovers_cost: float
    """The average yearly cost of failovers, in seconds of all traffic."""
    all_costs: float
    """The average yearly cost of all assumed failures."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The average yearly cost of one kind of event."""

    name: str
    per_year: float
    seconds_each: float
    seconds_a_year: float


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The distribution of simulated years. A percentile is an availability in percent that this share of years does not
    exceed.
    """

    seed: int
    runs: int
    years_within: float
    """The share of years within the budget."""
    months_within: float
    percentiles: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """The assessment of a target. Values that need a measurement are None or empty without one."""

    schema: int = SCHEMA
    percent: float
    carried: bool
    label: str | None
    """The source of the recovery times; None without any."""
    verdict: str
    reasons: tuple[str, ...]
    """Further limits of the result, one in each line."""
    recoveries: tuple[float, ...]
    trials: int
    missed: int
    ignored: tuple[str, ...]
    failover_fails: float | None = None
    budgets: tuple[Budget, ...]
    curve: tuple[CurvePoint, ...]
    expected_percent: float | None = None
    """The long-run average."""
    costs: tuple[Cost, ...] = ()
    spread: Spread | None = None
    swings: tuple[Sensitivity, ...] = ()
    promised_percent: float
    """The availability of one region whose services just meet their commitments."""
    assumptions: Assumptions

    def document(self) -> dict[str, Any]:
        """Return the assessment as JSON values."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "assumptions"}
        plain = ("budgets", "curve", "costs", "swings")
        found |= {name: [asdict(item) for item in found[name]] for name in plain}
        found["spread"] = None if self.spread is None else asdict(self.spread)
        return found | {"assumptions": self.assumptions.model_dump(mode="json")}


def assess(
    measured: RecoveryTimes, assumptions: Assumptions, *, seed: int, runs: int, percent: float = PERCENT
) -> Assessment:
    """Assess a target of `percent` availability. Without a measured recovery it is never supported.

    Raises:
        SettingsError: there is no run, or `percent` is out of its range.
    """
    recoveries, share = measured.recoveries, assumptions.value("primary_share")
    found = Assessment(
        percent=percent,
        carried=False,
        label=None,
        verdict="Nothing is claimed: no recovery was measured in real time. Run `hdr drill region-refused` first.",
        reasons=_attempts(measured, assumptions),
        recoveries=recoveries,
        trials=len(measured.trials),
        missed=measured.missed,
        ignored=measured.ignored,
        budgets=tuple(_budget(period, percent, recoveries, share) for period in (MONTH, YEAR)),
        curve=tuple(_point(seconds, percent, assumptions, measured) for seconds in CURVE if share > 0),
        promised_percent=assumptions.promised_share * 100,
        assumptions=assumptions,
    )
    if not recoveries:
        return found
    scenario = Scenario(assumptions=assumptions, recoveries=recoveries, may_fail=measured.bound)
    spread = _spread(scenario, percent, seed=seed, runs=runs)
    carried = spread.percentiles[DECIDES] >= percent
    within = f"{spread.years_within:.1%} of {runs:,} simulated years stay within the budget"
    supported = f"{percent:g} % is {'supported' if carried else 'not supported'} ({measured.label})"
    return replace(
        found,
        carried=carried,
        label=measured.label,
        verdict=f"{supported}: {within}; {100 - DECIDES} % are required.",
        reasons=_reasons(scenario, measured, spread),
        failover_fails=scenario.failover_fails,
        expected_percent=100 * expected_availability(scenario.events),
        costs=costs(scenario),
        spread=spread,
        swings=swings(scenario, budget=budget(percent / 100, YEAR), seed=seed),
    )


def costs(scenario: Scenario) -> tuple[Cost, ...]:
    """Return the average yearly cost of each kind of event, highest first."""
    found = (
        Cost(
            name=event.name,
            per_year=event.per_year,
            seconds_each=event.expected_seconds,
            seconds_a_year=event.per_year * event.expected_seconds,
        )
        for event in scenario.events
    )
    return tuple(sorted(found, key=lambda cost: -cost.seconds_a_year))


def _budget(period: timedelta, percent: float, recoveries: tuple[float, ...], share: float) -> Budget:
    allowed = budget(percent / 100, period)
    slowest = timedelta(seconds=recoveries[-1]) if recoveries else timedelta(0)
    return Budget(
        period_days=period.days,
        seconds=allowed.total_seconds(),
        failovers=affordable(allowed, recovery=slowest, traffic_share=share) if slowest * share else None,
    )


def _point(seconds: float, percent: float, assumptions: Assumptions, measured: RecoveryTimes) -> CurvePoint:
    scenario = Scenario(assumptions=assumptions, recoveries=(seconds,), may_fail=measured.bound)
    recovery, share = timedelta(seconds=seconds), assumptions.value("primary_share")
    month, year = (
        affordable(budget(percent / 100, period), recovery=recovery, traffic_share=share) for period in (MONTH, YEAR)
    )
    return CurvePoint(
        recovery_seconds=seconds,
        failovers_in_30_days=month,
        failovers_in_a_year=year,
        failovers_cost=sum(cost.seconds_a_year for cost in costs(scenario) if cost.name.endswith(FAILOVER)),
        all_costs=scenario.lost_seconds,
    )


def _spread(scenario: Scenario, percent: float, *, seed: int, runs: int) -> Spread:
    years = scenario.simulate(seed=seed, runs=runs)
    months = scenario.simulate(seed=seed, runs=runs, period=MONTH)
    return Spread(
        seed=seed,
        runs=runs,
        years_within=years.share_within(budget(percent / 100, YEAR)),
        months_within=months.share_within(budget(percent / 100, MONTH)),
        # The p-th percentile of availability is the (100 - p)-th percentile of cost.
        percentiles={p: 100 * (1 - years.percentile(100 - p) / YEAR.total_seconds()) for p in PERCENTILES},
    )


def _reasons(scenario: Scenario, measured: RecoveryTimes, spread: Spread) -> tuple[str, ...]:
    count = len(measured.recoveries)
    reasons = [f"It rests on {count} recover{'y' if count == 1 else 'ies'} measured in real time, and on assumptions."]
    if "embedded" in measured.label:
        reasons.append("The embedded AWS is not AWS: its recoveries show the design at work, not AWS's own times.")
    if "given" in measured.label:
        reasons.append("Recovery times were given, not read from a drill's journal.")
    target = 1 - DECIDES / 100
    if abs(spread.years_within - target) < 2 * math.sqrt(target * (1 - target) / spread.runs):
        reasons.append(f"So near {100 - DECIDES} % another seed may decide otherwise: more --runs narrow it.")
    return (*reasons, *_attempts(measured, scenario.assumptions))


def _attempts(measured: RecoveryTimes, assumptions: Assumptions) -> tuple[str, ...]:
    """Return what the attempted failovers show, if it matters."""
    tried = f"Failovers tried: {len(measured.trials)}, of which {measured.missed} did not happen."
    if measured.bound > assumptions.value("failover_fails"):
        return (f"{tried} As that shows, {measured.bound:.1%} of them may fail. More drills narrow it.",)
    return (tried,) if measured.missed else ()
