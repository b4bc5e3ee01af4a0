"""Patch CloudWatch: DescribeAlarms, the evaluation of metric alarms, and the embedded metric format of CloudWatch Logs.

The embedded metric format is specified in
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html.
"""

import asyncio
import json
import logging
import operator
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch, cloudwatch_logs

from healthcare_dr.emulator.patches.clock import scaled_interval, time_scale
from healthcare_dr.emulator.patches.replacement import Operation, Response, replaces

# Members that AWS omits when they are unset; ministack keeps them empty.
OMITTED_WHEN_EMPTY = ("AlarmDescription", "ExtendedStatistic", "Statistic", "TreatMissingData", "Unit")

Alarm = dict[str, Any]
Point = Mapping[str, Any]
Statistic = Callable[[Sequence[Point]], float | None]
# Account, region, namespace, name and dimensions.
MetricKey = tuple[Any, ...]
# Account, region and name.
AlarmKey = tuple[str, str, str]
# The interval between searches for due alarms. A search costs microseconds; an evaluation reads all data of a metric.
TICK_SECONDS = 1.0
# The shortest interval between evaluations of an alarm within a period, while new data arrive.
EVALUATION_SECONDS = 5.0
SHORTEST_SECONDS = 0.5
# asyncio keeps only weak references to tasks.
_evaluations: list[asyncio.Task[None]] = []
# The number of periods of the evaluation range besides those that decide, including the present one. AWS does not
# document it. A metric that is published once per period must not count as missing when it arrives a little late.
SPARE_PERIODS = 2
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
# The state of an alarm without data, by the treatment of missing data; `ignore` keeps the state.
STATES_WITHOUT_DATA = {"breaching": "ALARM", "notBreaching": "OK", "missing": "INSUFFICIENT_DATA"}
MARK = '"_aws"'

logger = logging.getLogger("healthcare_dr.emulator")


@replaces(cloudwatch, "_describe_alarms")
def describe_all_alarm_members(
    inner: Operation, params: dict[str, Any], data: dict[str, Any], is_cbor: bool, is_json: bool = False
) -> Response:
    """DescribeAlarms over the Query protocol omitted actions, dimensions, period, statistic, treatment of missing data
    and more, so that every alarm differed in the next plan and composite alarms were replaced.
    """
    if is_cbor or is_json:
        return inner(params, data, is_cbor, is_json)
    # The response of the JSON protocol is complete: write it as XML.
    status, headers, body = inner({}, _query_arguments(params), False, True)
    if status != 200:
        return status, headers, body
    result = f"<DescribeAlarmsResult>{_xml_members(json.loads(body))}</DescribeAlarmsResult>"
    response: Response = cloudwatch._xml(200, "DescribeAlarmsResponse", result)
    return response


def _query_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a Query request in the shape of a JSON request."""
    arguments: dict[str, Any] = {}
    for name in ("AlarmNamePrefix", "StateValue", "NextToken", "MaxRecords"):
        if value := cloudwatch._p(params, name):
            arguments[name] = value
    for name in ("AlarmNames", "AlarmTypes"):
        prefix = f"{name}.member."
        keys = sorted((key for key in params if key.startswith(prefix)), key=lambda key: int(key[len(prefix) :]))
        if keys:
            arguments[name] = [cloudwatch._p(params, key) for key in keys]
    return arguments


def _xml_members(value: Mapping[str, Any]) -> str:
    parts = []
    for name, member in value.items():
        if member is None or (member == "" and name in OMITTED_WHEN_EMPTY):
            continue
        if name == "Statistic" and value.get("ExtendedStatistic"):
            continue
        text = _iso_time(member) if name.endswith("Timestamp") else _xml(member)
        parts.append(f"<{name}>{text}</{name}>")
    return "".join(parts)


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return _xml_members(value)
    if isinstance(value, list):
        return "".join(f"<member>{_xml(item)}</member>" for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def evaluate_alarm_periods() -> None:
    """The data of every dimension of a metric moved an alarm, so that the lag of one replica raised the alarms of all.
    All periods were evaluated as one, so that a single period sufficed for an alarm that requires several.
    """
    started = time.time()

    def evaluate(alarm: Alarm) -> None:
        # An alarm on a metric expression has no metric name, and an anomaly alarm has no threshold.
        if alarm.get("MetricName") and alarm.get("ComparisonOperator") in COMPARISONS:
            _evaluate(alarm, now=time.time(), started=started)

    cloudwatch._evaluate_alarm = evaluate


def evaluate_alarms_periodically() -> None:
    """An alarm moved only during PutMetricData: never by missing data, nor by the metrics of functions. Each
    PutMetricData evaluated every alarm of the region, also those of other metrics.
    """
    bucket_inner = cloudwatch._metric_bucket
    schedule = Schedule(started=time.time())

    def bucket(key: tuple[str, str, str]) -> list[Point]:
        # ministack calls it only to add a datum.
        schedule.note((get_account_id(), get_region(), *key))
        response: list[Point] = bucket_inner(key)
        return response

    def evaluate_changed() -> None:
        alarms = dict(cloudwatch._alarms._data)
        _evaluate_each(alarms, schedule.changed_in(alarms, get_account_id(), get_region(), now=time.time()))

    cloudwatch._metric_bucket = bucket
    # ministack calls it at the end of PutMetricData.
    cloudwatch._evaluate_all_alarms = evaluate_changed
    # The loop that serves ends the task with itself.
    _evaluations.append(asyncio.get_running_loop().create_task(_run(schedule)))


@dataclass
class Schedule:
    """The alarms that are due.

    An alarm is due when its metric has new data, when it is new, at the beginning of each of its periods, and once when
    its missing data start to count. Metrics are kept since `started`.
    """

    started: float
    _changed: set[MetricKey] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # By alarm: its definition, time and period at its last evaluation.
    _evaluated: dict[AlarmKey, tuple[Alarm, float, int]] = field(default_factory=dict)

    def due(self, alarms: Mapping[AlarmKey, Alarm], *, now: float, scale: float) -> list[AlarmKey]:
        """Return the keys of the alarms to evaluate now, and record them as evaluated."""
        # Data that arrive from now on count for the next call.
        changed = self._take(lambda _: True)
        pause = scaled_interval(EVALUATION_SECONDS, SHORTEST_SECONDS)
        found = []
        for key, alarm in alarms.items():
            period = int(now // period_seconds(alarm, scale=scale))
            evaluated, last, last_period = self._evaluated.get(key, (None, 0.0, 0))
            silence = max(self.started, alarm["AlarmConfigurationUpdatedTimestamp"]) + range_seconds(alarm, scale=scale)
            # PutMetricAlarm replaces the alarm object.
            if evaluated is alarm and period == last_period and not last < silence <= now:
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
        """Return the keys of one region's alarms with new data, and record them as evaluated."""
        changed, found = self._take(lambda metric: metric[:2] == (account, region)), []
        for key, alarm in alarms.items():
            if key[:2] == (account, region) and _metric_of(key, alarm) in changed:
                found.append(key)
                self._evaluated[key] = (alarm, now, int(now // period_seconds(alarm, scale=time_scale())))
        return found

    def note(self, metric: MetricKey) -> None:
        """Record that a metric has new data. Threads of functions call it, too."""
        with self._lock:
            self._changed.add(metric)

    def _take(self, selects: Callable[[MetricKey], bool]) -> set[MetricKey]:
        """Return the selected metrics with new data, and remove them."""
        with self._lock:
            taken = {metric for metric in self._changed if selects(metric)}
            self._changed -= taken
        return taken


def _metric_of(key: AlarmKey, alarm: Alarm) -> MetricKey:
    return (*key[:2], *_metric_in_region(alarm))


def _metric_in_region(alarm: Alarm) -> tuple[Any, ...]:
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
    return alarm.get("Namespace"), alarm.get("MetricName"), dimensions


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
        response: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
        return response

    scale = time_scale()
    # Of the account and region of the request.
    points: list[Point] = list(cloudwatch._metrics.get(_metric_in_region(alarm)) or ())
    # Missing data do not count before the metric and the alarm have existed for a whole evaluation range.
    silent_since = max(started, alarm["AlarmConfigurationUpdatedTimestamp"])
    if now - silent_since < range_seconds(alarm, scale=scale) and not any(
        p["Timestamp"] >= silent_since for p in points
    ):
        return
    found = next_state(alarm, points, statistic=value, now=now, scale=scale)
    if found is None or found.state == (old := alarm["StateValue"]):
        return
    # The same steps as in ministack.
    alarm.update(StateValue=found.state, StateReason=found.reason, StateUpdatedTimestamp=int(now))
    cloudwatch._record_history(alarm["AlarmName"], old, found.state, found.reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, found.state, found.reason)
    cloudwatch._evaluate_parent_alarms(alarm)


@dataclass(frozen=True)
class AlarmState:
    """The state of an alarm, and the reason."""

    state: str
    reason: str


def period_seconds(alarm: Alarm, *, scale: float = 1.0) -> float:
    """Return the length of a period when the run is `scale` times as fast as real time."""
    return int(alarm.get("Period") or 60) / scale


def range_seconds(alarm: Alarm, *, scale: float = 1.0) -> float:
    """Return the length of the evaluation range."""
    return period_seconds(alarm, scale=scale) * (_periods(alarm) + SPARE_PERIODS)


def next_state(
    alarm: Alarm, points: Sequence[Point], *, statistic: Statistic, now: float, scale: float = 1.0
) -> AlarmState | None:
    """Return the state of an alarm; None when it does not change.

    Data are assigned to periods that begin at whole multiples of their length. Of the evaluation range, the newest
    periods with data decide; the alarm's treatment of missing data stands in for the rest
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html).

    Args:
        points: the data of the alarm's metric, each with its `Timestamp`, in seconds since the epoch, as `now`.
        statistic: returns the alarm's statistic of the data of one period; None without data.
        scale: how many times faster than real time periods pass.
    """
    values = _newest(alarm, points, statistic, now, period_seconds(alarm, scale=scale))
    missing = _periods(alarm) - len(values)
    treatment = str(alarm.get("TreatMissingData") or "missing")
    if not values:
        if treatment not in STATES_WITHOUT_DATA:
            return None
        reason = f"No data were received, and missing data are treated as {treatment}"
        return AlarmState(STATES_WITHOUT_DATA[treatment], reason)
    name, threshold = str(alarm["ComparisonOperator"]), float(alarm["Threshold"])
    breaching = sum(COMPARISONS[name](value, threshold) for value in values)
    needed = int(alarm.get("DatapointsToAlarm") or _periods(alarm))
    if treatment == "breaching":
        breaching += missing
    elif treatment == "missing":
        needed = min(needed, len(values))
    elif treatment == "ignore" and missing and breaching:
        return None
    state = "ALARM" if breaching >= needed else "OK"
    return AlarmState(state, f"Threshold Crossed: {', '.join(map(str, values))} {name} {threshold}, {missing} missing")


def _newest(alarm: Alarm, points: Sequence[Point], statistic: Statistic, now: float, length: float) -> list[float]:
    """Return the values of the newest periods with data, newest first, at most as many as decide."""
    running, oldest = int(now // length), int(now // length) - _periods(alarm) - SPARE_PERIODS + 1
    by_period: dict[int, list[Point]] = {}
    for point in points:
        if oldest <= (period := int(point["Timestamp"] // length)) <= running:
            by_period.setdefault(period, []).append(point)
    values = [statistic(by_period[period]) for period in sorted(by_period, reverse=True)]
    return [value for value in values if value is not None][: _periods(alarm)]


def _periods(alarm: Alarm) -> int:
    return int(alarm.get("EvaluationPeriods") or 1)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The values of a metric in one line; `at` is in seconds since the epoch."""

    namespace: str
    name: str
    unit: str
    dimensions: Mapping[str, str]
    values: Sequence[float]
    at: float


def embedded_metrics(line: str) -> Iterator[Metric]:
    """Yield the metrics of a line, one for each set of dimensions; none if the line does not follow the format."""
    if MARK not in line:
        return
    try:
        found = list(_parse_metrics(json.loads(line)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    yield from found


def _parse_metrics(document: Mapping[str, Any]) -> Iterator[Metric]:
    at = document["_aws"]["Timestamp"] / 1000
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = {name: document[name] for name in names}
            if not all(isinstance(value, str) for value in dimensions.values()):
                raise TypeError
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                yield Metric(
                    namespace=directive["Namespace"],
                    name=metric["Name"],
                    unit=metric.get("Unit", "None"),
                    dimensions=dimensions,
                    values=tuple(map(float, value if isinstance(value, list) else [value])),
                    at=at,
                )


def extract_embedded_metrics() -> None:
    """Lines in the embedded metric format remained lines, so no metric of a function reached an alarm."""
    inner = cloudwatch_logs._append_log_events
    loop = asyncio.get_running_loop()

    def append(stream: dict[str, Any], events: list[dict[str, Any]]) -> None:
        inner(stream, events)
        found = [metric for event in events for metric in embedded_metrics(event["message"])]
        if found:
            # Functions log from threads of their own, while the loop reads metrics.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_store, get_account_id(), get_region(), found)

    cloudwatch_logs._append_log_events = append


def _store(account: str, region: str, found: list[Metric]) -> None:
    with request_scope(account, region):
        for metric in found:
            cloudwatch._store_datum(
                metric.namespace,
                metric.name,
                dict(metric.dimensions),
                metric.at,
                metric.unit,
                None,
                list(metric.values),
                None,
                None,
            )
