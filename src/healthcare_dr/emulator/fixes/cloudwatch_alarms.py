"""CloudWatch: what moves a metric alarm."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch

from healthcare_dr.emulator.alarms import COMPARISONS, Point, range_seconds, verdict

Alarm = dict[str, Any]

EVALUATION_SECONDS = 5

logger = logging.getLogger("healthcare_dr.emulator")

# asyncio itself keeps no task alive.
_evaluations: set[asyncio.Task[None]] = set()


def evaluate_each_period_of_an_alarms_own_metric() -> None:
    """An alarm was moved by the data of every dimension of its metric, so that one replica's lag alarmed for all; and
    by all periods at once, so that one that has to last did not have to."""
    started = time.time()

    def evaluate(alarm: Alarm) -> None:
        # An alarm on a metric's expression has no metric, and those on anomalies no threshold.
        if alarm.get("MetricName") and alarm.get("ComparisonOperator") in COMPARISONS:
            _evaluate(alarm, now=time.time(), started=started)

    cloudwatch._evaluate_alarm = evaluate


def evaluate_alarms_periodically() -> None:
    """An alarm moved only while PutMetricData was called: never by silence, nor by the metrics of functions."""
    # On the loop that serves, and that ends the evaluation with itself.
    task = asyncio.get_running_loop().create_task(_run())
    _evaluations.add(task)
    task.add_done_callback(_evaluations.discard)


async def _run() -> None:
    while True:
        await asyncio.sleep(EVALUATION_SECONDS)
        for (account, region, name), alarm in list(cloudwatch._alarms._data.items()):
            with request_scope(account, region):
                try:
                    cloudwatch._evaluate_alarm(alarm)
                except Exception:
                    logger.exception("The alarm %s in %s could not be evaluated", name, region)


def _evaluate(alarm: Alarm, *, now: float, started: float) -> None:
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"

    def value(points: Sequence[Point]) -> float | None:
        found: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
        return found

    points = _points(alarm)
    # Silence means nothing while nobody could publish, or before anybody had to.
    silent_since = max(started, alarm["AlarmConfigurationUpdatedTimestamp"])
    if now - silent_since < range_seconds(alarm) and not any(p["Timestamp"] >= silent_since for p in points):
        return
    found = verdict(alarm, points, statistic=value, now=now)
    if found is None or found.state == (old := alarm["StateValue"]):
        return
    # As ministack does it.
    alarm.update(StateValue=found.state, StateReason=found.reason, StateUpdatedTimestamp=int(now))
    cloudwatch._record_history(alarm["AlarmName"], old, found.state, found.reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, found.state, found.reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _points(alarm: Alarm) -> list[Point]:
    """The data of the alarm's own metric, in the account and region of the request."""
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
    return list(cloudwatch._metrics.get((alarm.get("Namespace"), alarm["MetricName"], dimensions)) or ())
