"""CloudWatch."""

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

Response = tuple[int, dict[str, str], bytes]

# Members AWS leaves out of the answer when they are unset; ministack keeps them empty.
OMITTED_WHEN_EMPTY = ("AlarmDescription", "ExtendedStatistic", "Statistic", "TreatMissingData", "Unit")


def describe_all_alarm_members() -> None:
    """DescribeAlarms over the Query protocol left out actions, dimensions, period, statistic, missing data and
    more, so that every alarm differed in the next plan and composite alarms were replaced."""
    inner = cloudwatch._describe_alarms

    def describe(params: dict[str, Any], data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
        if is_cbor or is_json:
            response: Response = inner(params, data, is_cbor, is_json)
            return response
        # The JSON protocol's answer is complete: ask for that one and write it as XML.
        status, headers, body = inner({}, _query_arguments(params), False, True)
        if status != 200:
            return status, headers, body
        result = _xml_members(json.loads(body))
        answer: Response = cloudwatch._xml(
            200, "DescribeAlarmsResponse", f"<DescribeAlarmsResult>{result}</DescribeAlarmsResult>"
        )
        return answer

    cloudwatch._describe_alarms = describe


def _query_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a Query request in the shape of a JSON request."""
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


Alarm = dict[str, Any]
Point = Mapping[str, Any]
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


def evaluate_alarm_periods() -> None:
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


MARK = '"_aws"'


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's values in one line; `at` is in seconds since 1970."""

    namespace: str
    name: str
    unit: str
    dimensions: Mapping[str, str]
    values: Sequence[float]
    at: float


def metrics(line: str) -> Iterator[Metric]:
    """The metrics of a line, one for each set of dimensions; none of a line that does not follow the format."""
    if MARK not in line:
        return
    try:
        found = list(_metrics(json.loads(line)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    yield from found


def _metrics(document: Mapping[str, Any]) -> Iterator[Metric]:
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
    """Lines in the embedded metric format stayed lines: no metric that a function reports reached an alarm."""
    inner = cloudwatch_logs._append_log_events
    loop = asyncio.get_running_loop()

    def append(stream: dict[str, Any], events: list[dict[str, Any]]) -> None:
        inner(stream, events)
        found = [metric for event in events for metric in metrics(event["message"])]
        if found:
            # Functions log from threads of their own, and what is stored is read on the loop.
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
