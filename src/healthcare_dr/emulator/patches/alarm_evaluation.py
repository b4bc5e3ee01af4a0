"""Evaluate a metric alarm as CloudWatch does, from DescribeAlarms and the data of its metric. Pure functions.

Data are put into periods that start at whole multiples of their length. Of the evaluation range, which is longer than
the periods that decide, the newest periods with data count; missing ones are treated as the alarm defines
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html).
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Alarm = Mapping[str, Any]
Point = Mapping[str, Any]
Statistic = Callable[[Sequence[Point]], float | None]

# How many periods beyond those that decide are looked at, the running one among them. AWS does not say; what is
# published once a period must not seem silent when it comes a little later than the last time.
SPARE_PERIODS = 2
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
# What silence means; `ignore` means nothing: the state stays.
STATES_OF_SILENCE = {"breaching": "ALARM", "notBreaching": "OK", "missing": "INSUFFICIENT_DATA"}


@dataclass(frozen=True)
class AlarmState:
    """A state, and why."""

    state: str
    reason: str


def period_seconds(alarm: Alarm, *, scale: float = 1.0) -> float:
    """Return the length of a period when the run is `scale` times as fast as real time."""
    return int(alarm.get("Period") or 60) / scale


def range_seconds(alarm: Alarm, *, scale: float = 1.0) -> float:
    """Return the length of the evaluation range."""
    return period_seconds(alarm, scale=scale) * (_periods(alarm) + SPARE_PERIODS)


def verdict(
    alarm: Alarm, points: Sequence[Point], *, statistic: Statistic, now: float, scale: float = 1.0
) -> AlarmState | None:
    """The state of an alarm; None when it stays as it is.

    Args:
        points: the data of the alarm's metric, each with its `Timestamp`; in seconds since the epoch, as `now`.
        statistic: the alarm's, of the data of one period; None where they have none.
        scale: how many times as fast as real time periods pass.
    """
    known = _newest(alarm, points, statistic, now, period_seconds(alarm, scale=scale))
    missing = _periods(alarm) - len(known)
    treatment = str(alarm.get("TreatMissingData") or "missing")
    if not known:
        if treatment not in STATES_OF_SILENCE:
            return None
        reason = f"No data were received, and missing data are treated as {treatment}"
        return AlarmState(STATES_OF_SILENCE[treatment], reason)
    name, threshold = str(alarm["ComparisonOperator"]), float(alarm["Threshold"])
    breaching = sum(COMPARISONS[name](value, threshold) for value in known)
    needed = int(alarm.get("DatapointsToAlarm") or _periods(alarm))
    if treatment == "breaching":
        breaching += missing
    elif treatment == "missing":
        needed = min(needed, len(known))
    elif treatment == "ignore" and missing and breaching:
        return None
    state = "ALARM" if breaching >= needed else "OK"
    return AlarmState(state, f"Threshold Crossed: {', '.join(map(str, known))} {name} {threshold}, {missing} missing")


def _newest(alarm: Alarm, points: Sequence[Point], statistic: Statistic, now: float, length: float) -> list[float]:
    """The values of the newest periods that have data, newest first, as many as decide at most."""
    running, oldest = int(now // length), int(now // length) - _periods(alarm) - SPARE_PERIODS + 1
    by_period: dict[int, list[Point]] = {}
    for point in points:
        if oldest <= (period := int(point["Timestamp"] // length)) <= running:
            by_period.setdefault(period, []).append(point)
    values = [statistic(by_period[period]) for period in sorted(by_period, reverse=True)]
    return [value for value in values if value is not None][: _periods(alarm)]


def _periods(alarm: Alarm) -> int:
    return int(alarm.get("EvaluationPeriods") or 1)
