"""CloudWatch: what moves a metric alarm."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch

from healthcare_dr.emulator.patches.alarm_evaluation import COMPARISONS, Point, period_seconds, range_seconds, verdict
from healthcare_dr.emulator.patches.clock import scaled_interval, time_scale

Alarm = dict[str, Any]
# Account, region, namespace, name and dimensions.
MetricKey = tuple[Any, ...]
# Account, region and name.
AlarmKey = tuple[str, str, str]

# How often the alarms that are due are looked for. That costs microseconds, an evaluation reads all data of a metric.
TICK_SECONDS = 1.0
# While data come in, how often an alarm is evaluated between the beginnings of its periods.
EVALUATION_SECONDS = 5.0
SHORTEST_SECONDS = 0.5

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
    """An alarm moved only while PutMetricData was called: never by silence, nor by the metrics of functions. And each
    PutMetricData evaluated every alarm of the region, whatever it is about."""
    bucket_inner = cloudwatch._metric_bucket
    schedule = Schedule(started=time.time())

    def bucket(key: tuple[str, str, str]) -> list[Point]:
        # Asked for in order to add a datum, and for nothing else.
        schedule.note((get_account_id(), get_region(), *key))
        found: list[Point] = bucket_inner(key)
        return found

    def evaluate_changed() -> None:
        alarms = dict(cloudwatch._alarms._data)
        _evaluate_each(alarms, schedule.changed_in(alarms, get_account_id(), get_region(), now=time.time()))

    cloudwatch._metric_bucket = bucket
    # ministack calls it at the end of PutMetricData.
    cloudwatch._evaluate_all_alarms = evaluate_changed
    # On the loop that serves, and that ends the evaluation with itself.
    task = asyncio.get_running_loop().create_task(_run(schedule))
    _evaluations.add(task)
    task.add_done_callback(_evaluations.discard)


@dataclass
class Schedule:
    """Which alarms are due: those with new data, those that are new, each at the beginning of every period of its own,
    and once when silence begins to mean something. `started` is when metrics began to be kept."""

    started: float
    _changed: set[MetricKey] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # By alarm: as it was when it was last evaluated, when that was, and in which period.
    _evaluated: dict[AlarmKey, tuple[Alarm, float, int]] = field(default_factory=dict)

    def due(self, alarms: Mapping[AlarmKey, Alarm], *, now: float, scale: float) -> list[AlarmKey]:
        """The keys of the alarms to evaluate now, which count as evaluated from here on."""
        # Data that come in meanwhile count for the next time.
        changed = self._take(lambda _: True)
        pause = scaled_interval(EVALUATION_SECONDS, SHORTEST_SECONDS)
        found = []
        for key, alarm in alarms.items():
            period = int(now // period_seconds(alarm, scale=scale))
            known, last, last_period = self._evaluated.get(key, (None, 0.0, 0))
            silence = max(self.started, alarm["AlarmConfigurationUpdatedTimestamp"]) + range_seconds(alarm, scale=scale)
            # PutMetricAlarm makes another alarm of the same name.
            if known is alarm and period == last_period and not last < silence <= now:
                metric = _metric_of(key, alarm)
                if metric not in changed:
                    continue
                if now - last < pause:
                    self.note(metric)
                    continue
            self._evaluated[key] = (alarm, now, period)
            found.append(key)
        for key in self._evaluated.keys() - alarms.keys():
            del self._evaluated[key]
        return found

    def changed_in(self, alarms: Mapping[AlarmKey, Alarm], account: str, region: str, *, now: float) -> list[AlarmKey]:
        """The keys of one region's alarms with new data, which count as evaluated from here on."""
        changed, found = self._take(lambda metric: metric[:2] == (account, region)), []
        for key, alarm in alarms.items():
            if key[:2] == (account, region) and _metric_of(key, alarm) in changed:
                found.append(key)
                self._evaluated[key] = (alarm, now, int(now // period_seconds(alarm, scale=time_scale())))
        return found

    def note(self, metric: MetricKey) -> None:
        """Note that a metric has new data; functions' threads call it, too."""
        with self._lock:
            self._changed.add(metric)

    def _take(self, wanted: Callable[[MetricKey], bool]) -> set[MetricKey]:
        """Return the wanted metrics with new data, and forget them."""
        with self._lock:
            taken = {metric for metric in self._changed if wanted(metric)}
            self._changed -= taken
        return taken


def _metric_of(key: AlarmKey, alarm: Alarm) -> MetricKey:
    account, region, _ = key
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
    return account, region, alarm.get("Namespace"), alarm.get("MetricName"), dimensions


async def _run(schedule: Schedule) -> None:
    while True:
        await asyncio.sleep(scaled_interval(TICK_SECONDS, SHORTEST_SECONDS))
        try:
            alarms = dict(cloudwatch._alarms._data)
            _evaluate_each(alarms, schedule.due(alarms, now=time.time(), scale=time_scale()))
        except Exception:
            logger.exception("The alarms that are due could not be found")


def _evaluate_each(alarms: Mapping[AlarmKey, Alarm], keys: Iterable[AlarmKey]) -> None:
    for account, region, name in keys:
        with request_scope(account, region):
            try:
                cloudwatch._evaluate_alarm(alarms[account, region, name])
            except Exception:
                logger.exception("The alarm %s in %s could not be evaluated", name, region)


def _evaluate(alarm: Alarm, *, now: float, started: float) -> None:
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"

    def value(points: Sequence[Point]) -> float | None:
        found: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
        return found

    scale = time_scale()
    points = _points(alarm)
    # Silence means nothing while nobody could publish, or before anybody had to.
    silent_since = max(started, alarm["AlarmConfigurationUpdatedTimestamp"])
    if now - silent_since < range_seconds(alarm, scale=scale) and not any(
        p["Timestamp"] >= silent_since for p in points
    ):
        return
    found = verdict(alarm, points, statistic=value, now=now, scale=scale)
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
