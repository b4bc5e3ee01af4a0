"""The figure of `hdr slo`: what a recovery time affords, and what it costs beside everything else. Pure."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from healthcare_dr.ops.charts import INK, Frame, dashes, document, legend, steps, text
from healthcare_dr.ops.slo.assumptions import Assumptions
from healthcare_dr.ops.slo.budget import MONTH, YEAR, affordable, budget
from healthcare_dr.ops.slo.measured import RecoveryTimes
from healthcare_dr.ops.slo.model import FAILOVER, Scenario

WIDTH: Final = 960
HEIGHT: Final = 486
FASTEST: Final = 10
SLOWEST: Final = 300
TICKS: Final = (10, 60, 120, 180, 240, 300)
ACROSS: Final = "recovery time in seconds"
GROUPS: Final = (
    ("identity provider and DNS", "#8a6fe0", ("identity", "DNS")),
    ("a change by the operator breaks both regions", "#a38a00", ("a change",)),
    ("both regions lost at once", "#e0455a", ("both regions lost",)),
    ("a region lost, and no failover", "#d9730d", ("no failover",)),
    ("failures too brief for a failover", "#1a9e6c", ("too briefly",)),
    ("failovers", "#0f8fd1", (FAILOVER,)),
)
"""From the ground up: what it is called, its colour, and what is in the names of its events."""


def affordances(assumptions: Assumptions, percent: float, period: timedelta) -> dict[int, int]:
    """By recovery time in seconds: how many losses of the primary region the budget of `period` affords."""
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
    """The figure as SVG; measured recoveries are dots on it."""
    shapes = [
        *_affords(assumptions, percent, measured),
        *_costs(assumptions, percent, measured.bound, measured.recoveries),
    ]
    shown = "No recovery was measured."
    if measured.recoveries:
        dates = sorted({trial.date[:10] for trial in measured.trials if trial.measured is not None})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        count = len(measured.recoveries)
        shown = f"Dots: {count} measured recover{'y' if count == 1 else 'ies'} ({measured.label}), {when}."
    shapes.append(text(64, HEIGHT - 8, shown))
    return document(
        WIDTH,
        HEIGHT,
        title=f"The effect of recovery time on {percent:g} % of availability",
        desc=f"Left: failovers that the error budget affords. Right: what a year costs on average. {shown}",
        shapes=shapes,
    )


def _affords(assumptions: Assumptions, percent: float, measured: RecoveryTimes) -> list[str]:
    periods = ((f"in {YEAR.days} days", "#d9730d", YEAR), (f"in {MONTH.days} days", "#0f8fd1", MONTH))
    curves = [affordances(assumptions, percent, period) for _, _, period in periods]
    top = 10.0 ** len(str(max(max(curve.values()) for curve in curves)))
    powers = [10.0**power for power in range(len(str(int(top))))]
    frame = Frame(left=64, top=44, width=360, height=260, start=10, end=300, low=1, high=top, log=True)
    shapes = [
        frame.axes(title=f"Losses of the primary region that {percent:g} % affords", across=ACROSS, xs=TICKS, ys=powers)
    ]
    for (_, colour, period), curve in zip(periods, curves, strict=True):
        shapes.append(frame.line(list(curve.items()), colour))
        allowed, share = budget(percent / 100, period), assumptions.value("primary_share")
        dots = [
            (seconds, affordable(allowed, recovery=timedelta(seconds=seconds), traffic_share=share))
            for seconds in _within(measured.recoveries)
        ]
        shapes.append(frame.dots(dots, colour))
    return [*shapes, legend(72, 372, [(colour, name) for name, colour, _ in periods])]


def _costs(assumptions: Assumptions, percent: float, may_fail: float, recoveries: Sequence[float]) -> list[str]:
    found, allowed = losses(assumptions, may_fail=may_fail), budget(percent / 100, YEAR).total_seconds()
    ticks = steps(max(allowed, *(sum(groups.values()) for groups in found.values())), 5)
    frame = Frame(left=540, top=44, width=396, height=260, start=10, end=300, low=0, high=ticks[-1])
    shapes = [
        frame.axes(title="Seconds of all traffic lost a year, on average", across=ACROSS, xs=TICKS, ys=ticks),
    ]
    lower = [(seconds, 0.0) for seconds in found]
    for name, colour, _ in GROUPS:
        upper = [(seconds, under + found[seconds][name]) for seconds, under in lower]
        shapes.append(frame.area(upper, lower, colour))
        lower = upper
    shapes.append(frame.line([(frame.start, allowed), (frame.end, allowed)], INK, dashed=True))
    shapes.append(dashes(548, 368, f"what {percent:g} % allows in a year: {allowed:,.1f} s"))
    shapes += [frame.upright(seconds) for seconds in _within(recoveries)]
    return [*shapes, legend(548, 386, [(colour, name) for name, colour, _ in reversed(GROUPS)])]


def _within(recoveries: Sequence[float]) -> list[float]:
    """Those that the figure's axis shows."""
    return [seconds for seconds in recoveries if FASTEST <= seconds <= SLOWEST]
