"""Tests of alarms: they move by the data of their own dimensions, and by missing data."""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from unit.emulator.replicas import EAST, WEST, wait_for

Clients = Callable[..., Any]
Probe = Callable[[Clients], bool]

NAMESPACE = "Alarms"
# Missing data count after three periods of the shortest length, on a busy machine.
WITHIN_SECONDS = 90.0
SHORT = 10


def dimension(value: str) -> list[dict[str, str]]:
    return [{"Name": "ReceivingRegion", "Value": value}]


def alarm_on(client: Clients, value: str, *, region: str = EAST, **options: Any) -> str:
    """Create an alarm on values above 60 of a metric and dimension with its own name."""
    name = uuid.uuid4().hex
    rule = {
        "MetricName": name,
        "Namespace": NAMESPACE,
        "Dimensions": dimension(value),
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 60.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "ignore",
    }
    client("cloudwatch", region).put_metric_alarm(AlarmName=name, **(rule | options))
    return name


def put(client: Clients, metric: str, value: float, dimensions: list[dict[str, str]], region: str = EAST) -> None:
    data = [{"MetricName": metric, "Dimensions": dimensions, "Value": value}]
    client("cloudwatch", region).put_metric_data(Namespace=NAMESPACE, MetricData=data)


def described(client: Clients, alarm: str, region: str = EAST) -> dict[str, Any]:
    (found,) = client("cloudwatch", region).describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return dict(found)


def state(client: Clients, alarm: str, region: str = EAST) -> str:
    return str(described(client, alarm, region)["StateValue"])


def becomes(client: Clients, alarm: str, expected: str, region: str = EAST) -> None:
    wait_for(lambda: state(client, alarm, region) == expected, within=WITHIN_SECONDS)


def first_state(client: Clients, alarm: str) -> str:
    """Wait until an alarm has data, and return its state."""
    wait_for(lambda: state(client, alarm) != "INSUFFICIENT_DATA", within=WITHIN_SECONDS)
    return state(client, alarm)


def queue_of(client: Clients, region: str = EAST) -> tuple[str, str]:
    """Create a topic that delivers to a queue; return the topic's ARN and the queue's URL."""
    name = uuid.uuid4().hex
    topic = client("sns", region).create_topic(Name=name)["TopicArn"]
    queue = client("sqs", region).create_queue(QueueName=name)["QueueUrl"]
    arn = client("sqs", region).get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client("sqs", region).set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    client("sns", region).subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return str(topic), str(queue)


def delivered(client: Clients, queue: str, region: str = EAST) -> list[dict[str, Any]]:
    """Return the notifications of alarms in the queue, oldest first, without duplicates."""
    found = client("sqs", region).receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600)
    return [json.loads(json.loads(message["Body"])["Message"]) for message in found.get("Messages", [])]


@pytest.mark.parametrize("others", [dimension("b"), [], [*dimension("a"), {"Name": "TableName", "Value": "t"}]])
def test_data_of_other_dimensions_do_not_move_an_alarm(
    holds_only_when_patched: Callable[[Probe], None], others: list[dict[str, str]]
) -> None:
    def probe(client: Clients) -> bool:
        alarm, later = alarm_on(client, "a"), alarm_on(client, "a")
        put(client, alarm, 100, others)
        put(client, later, 100, dimension("a"))
        # Alarms are evaluated in rounds: when a later datum has moved its alarm, the round of the earlier one is over.
        becomes(client, later, "ALARM")
        return state(client, alarm) == "INSUFFICIENT_DATA"

    holds_only_when_patched(probe)


def test_other_dimensions_do_not_hide_an_alarms_own_data(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        alarm = alarm_on(client, "a", Statistic="Average")
        put(client, alarm, 0, dimension("b"))
        put(client, alarm, 100, dimension("a"))
        return first_state(client, alarm) == "ALARM"

    holds_only_when_patched(probe)


def test_alarm_waits_for_all_evaluation_periods(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        alarm = alarm_on(client, "a", EvaluationPeriods=2)
        for seconds, value in ((60, 0), (0, 100)):
            at = datetime.now(UTC) - timedelta(seconds=seconds)
            data = [{"MetricName": alarm, "Dimensions": dimension("a"), "Value": value, "Timestamp": at}]
            client("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=data)
        return first_state(client, alarm) == "OK"

    holds_only_when_patched(probe)


def test_alarm_moves_by_its_own_data_and_notifies_its_topic(patched: Clients) -> None:
    topic, queue = queue_of(patched)
    alarm = alarm_on(patched, "a", AlarmActions=[topic])
    put(patched, alarm, 100, dimension("b"))
    assert delivered(patched, queue) == []
    before = described(patched, alarm)
    put(patched, alarm, 100, dimension("a"))
    (message,) = wait_for(lambda: delivered(patched, queue))
    assert (message["AlarmName"], message["OldStateValue"], message["NewStateValue"]) == (
        alarm,
        "INSUFFICIENT_DATA",
        "ALARM",
    )
    after = described(patched, alarm)
    assert after["StateValue"] == "ALARM"
    may_change = {"StateValue", "StateReason", "StateUpdatedTimestamp"}
    assert {name for name in before | after if before.get(name) != after.get(name)} <= may_change


def test_dimensions_match_in_any_order(patched: Clients) -> None:
    both = [*dimension("a"), {"Name": "TableName", "Value": "t"}]
    alarm = alarm_on(patched, "a", Dimensions=both)
    put(patched, alarm, 100, both[::-1])
    becomes(patched, alarm, "ALARM")


def silence_means_what_the_alarm_says(treatment: str, expected: str, patched: Clients, unpatched: Clients) -> None:
    topic, queue = queue_of(patched)
    actions: dict[str, Any] = {"AlarmActions": [topic], "OKActions": [topic]}
    alarm = alarm_on(patched, "a", TreatMissingData=treatment, Period=SHORT, **actions)
    unmended = alarm_on(unpatched, "a", TreatMissingData=treatment, Period=SHORT)
    assert state(patched, alarm) == "INSUFFICIENT_DATA"
    put(patched, alarm, 0 if expected == "ALARM" else 100, dimension("b"))
    becomes(patched, alarm, expected)
    assert state(unpatched, unmended) == "INSUFFICIENT_DATA"
    assert treatment in described(patched, alarm)["StateReason"]
    (message,) = wait_for(lambda: delivered(patched, queue))
    assert message["NewStateValue"] == expected


def silence_is_no_data_or_leaves_an_alarm_alone(patched: Clients, unpatched: Clients) -> None:
    missing, ignored = (alarm_on(patched, "a", TreatMissingData=how, Period=SHORT) for how in ("missing", "ignore"))
    for alarm in (missing, ignored):
        patched("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="by hand")
    becomes(patched, missing, "INSUFFICIENT_DATA")
    assert described(patched, ignored)["StateReason"] == "by hand"


def alarms_of_every_region_are_evaluated_in_their_own(patched: Clients, unpatched: Clients) -> None:
    topic, queue = queue_of(patched, WEST)
    served = alarm_on(patched, "a", region=WEST, TreatMissingData="breaching")
    put(patched, served, 0, dimension("a"), WEST)
    silent = alarm_on(patched, "a", region=WEST, TreatMissingData="breaching", Period=SHORT, AlarmActions=[topic])
    put(patched, silent, 0, dimension("a"), EAST)
    becomes(patched, silent, "ALARM", WEST)
    assert state(patched, served, WEST) == "OK"
    (message,) = wait_for(lambda: delivered(patched, queue, WEST))
    assert message["AlarmName"] == silent
    history = patched("cloudwatch", WEST).describe_alarm_history(AlarmName=silent)["AlarmHistoryItems"]
    assert "Alarm updated from INSUFFICIENT_DATA to ALARM" in {item["HistorySummary"] for item in history}


def data_within_the_window_are_no_silence(patched: Clients, unpatched: Clients) -> None:
    alarm = alarm_on(patched, "a", TreatMissingData="breaching")
    put(patched, alarm, 0, dimension("a"))
    silent = alarm_on(patched, "a", TreatMissingData="breaching", Period=SHORT)
    becomes(patched, silent, "ALARM")
    assert state(patched, alarm) == "OK"


# Each case waits for periods without data, so all run at the same time.
WAITING: dict[str, Callable[[Clients, Clients], None]] = {
    "silence is breaching": partial(silence_means_what_the_alarm_says, "breaching", "ALARM"),
    "silence is not breaching": partial(silence_means_what_the_alarm_says, "notBreaching", "OK"),
    "silence is missing data or is ignored": silence_is_no_data_or_leaves_an_alarm_alone,
    "each region has its own alarms": alarms_of_every_region_are_evaluated_in_their_own,
    "data within the window": data_within_the_window_are_no_silence,
}


@pytest.fixture(scope="module")
def begun(patched: Clients, unpatched: Clients) -> Iterator[dict[str, Future[None]]]:
    """Run all of `WAITING`, each in its own thread."""
    with ThreadPoolExecutor(len(WAITING)) as pool:
        yield {name: pool.submit(waits, patched, unpatched) for name, waits in WAITING.items()}


@pytest.mark.parametrize("name", WAITING)
def test_missing_data_move_an_alarm(begun: dict[str, Future[None]], name: str) -> None:
    begun[name].result()
