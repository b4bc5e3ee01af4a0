"""Draw the figure of `hdr slo`: how many failovers a recovery time allows, and what it costs beside other outages."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from healthcare_dr.ops.charts import Panel, environment, steps
from healthcare_dr.ops.slo.assumptions import Assumptions
from healthcare_dr.ops.slo.budget import MONTH, YEAR, affordable, budget
from healthcare_dr.ops.slo.measured import RecoveryTimes
from healthcare_dr.ops.slo.model import FAILOVER, Scenario

FASTEST: Final = 10
SLOWEST: Final = 300
GROUPS: Final = (
    ("identity provider and DNS", "#8a6fe0", ("identity", "DNS")),
    ("a change by the operator breaks both regions", "#a38a00", ("a change",)),
    ("both regions lost at once", "#e0455a", ("both regions lost",)),
    ("a region lost, and no failover", "#d9730d", ("no failover",)),
    ("failures too brief for a failover", "#1a9e6c", ("too briefly",)),
    ("failovers", "#0f8fd1", (FAILOVER,)),
)
"""From the bottom: the name of each group, its color, and parts of the names of its events."""


def affordances(assumptions: Assumptions, percent: float, period: timedelta) -> dict[int, int]:
    """Return how many losses of the primary region the budget of `period` allows, by recovery time in seconds."""
    allowed, share = budget(percent / 100, period), assumptions.value("primary_share")
    return {
        seconds: affordable(allowed, recovery=timedelta(seconds=seconds), traffic_share=share)
        for seconds in range(FASTEST, SLOWEST + 1)
    }


def losses(assumptions: Assumptions, *, may_fail: float = 0.0) -> dict[int, dict[str, float]]:
    """Return the average yearly cost of each group of events by recovery time in seconds, in seconds of all traffic.

    The cost is linear in the recovery time, so three points are enough.
    """
    found = {}
    for seconds in (FASTEST, 60, SLOWEST):
        case = Scenario(assumptions=assumptions, recoveries=(float(seconds),), may_fail=may_fail)
        cost = {event.name: event.per_year * event.expected_seconds for event in case.events}
        found[seconds] = {
            name: sum(lost for event, lost in cost.items() if any(mark in event for mark in marks))
            for name, _, marks in GROUPS
        }
    return found


def figure(assumptions: Assumptions, measured: RecoveryTimes, *, percent: float) -> str:
    """Return the figure as SVG; measured recoveries are dots on it."""
    shown = "No recovery was measured."
    if count := len(measured.recoveries):
        dates = sorted({trial.date[:10] for trial in measured.trials if trial.measured is not None})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        shown = f"Dots: {count} measured recover{'y' if count == 1 else 'ies'} ({measured.label}), {when}."
    return (
        environment(__package__)
        .get_template("figure.svg.j2")
        .render(
            percent=f"{percent:g}",
            shown=shown,
            affords=_affords(assumptions, percent, measured),
            costs=_costs(assumptions, percent, measured),
        )
    )


def _affords(assumptions: Assumptions, percent: float, measured: RecoveryTimes) -> dict[str, Any]:
    """Return the left panel: the failovers that the budgets of two periods allow."""
    share, periods = assumptions.value("primary_share"), {"#d9730d": YEAR, "#0f8fd1": MONTH}
    curves = {colour: affordances(assumptions, percent, period) for colour, period in periods.items()}
    top = 10.0 ** len(str(max(max(curve.values()) for curve in curves.values())))
    dots = [
        (colour, seconds, affordable(allowed, recovery=timedelta(seconds=seconds), traffic_share=share))
        for colour, period in periods.items()
        if (allowed := budget(percent / 100, period))
        for seconds in _within(measured.recoveries)
    ]
    return {
        "panel": Panel(left=64, top=44, width=360, height=260, start=FASTEST, end=SLOWEST, low=1, high=top, log=True),
        "ys": [10.0**power for power in range(len(str(int(top))))],
        "lines": [(colour, list(curve.items())) for colour, curve in curves.items()],
        "dots": dots,
        "legend": [(colour, f"in {period.days} days") for colour, period in periods.items()],
    }


def _costs(assumptions: Assumptions, percent: float, measured: RecoveryTimes) -> dict[str, Any]:
    """Return the right panel: the average yearly cost of each group of events, stacked."""
    found, allowed = losses(assumptions, may_fail=measured.bound), budget(percent / 100, YEAR).total_seconds()
    ticks = steps(max(allowed, *(sum(groups.values()) for groups in found.values())), 5)
    lower, areas = [(seconds, 0.0) for seconds in found], []
    for name, colour, _ in GROUPS:
        upper = [(seconds, under + found[seconds][name]) for seconds, under in lower]
        areas.append((colour, [*upper, *reversed(lower)]))
        lower = upper
    return {
        "panel": Panel(left=540, top=44, width=396, height=260, start=FASTEST, end=SLOWEST, low=0, high=ticks[-1]),
        "ys": ticks,
        "areas": areas,
        "allowed": allowed,
        "recoveries": _within(measured.recoveries),
        "legend": [(colour, name) for name, colour, _ in reversed(GROUPS)],
    }


def _within(recoveries: Sequence[float]) -> list[float]:
    """Return the recovery times within the horizontal axis."""
    return [seconds for seconds in recoveries if FASTEST <= seconds <= SLOWEST]
