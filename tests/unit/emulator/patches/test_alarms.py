"""Tests of alarms: they move by the data of their own dimensions, and by missing data."""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import create_parser

from unit.emulator.aws import ACCOUNT, EAST, WEST, Aws, eventually, only_when_patched

NAMESPACE = "Alarms"
# Missing data count after three periods of the shortest length, on a busy machine.
WITHIN_SECONDS = 90.0
SHORT = 10


def dimension(value: str) -> list[dict[str, str]]:
    return [{"Name": "ReceivingRegion", "Value": value}]


def alarm_on(aws: Aws, value: str, *, region: str = EAST, **options: Any) -> str:
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
    aws("cloudwatch", region).put_metric_alarm(AlarmName=name, **(rule | options))
    return name


def put(aws: Aws, metric: str, value: float, dimensions: list[dict[str, str]], region: str = EAST) -> None:
    data = [{"MetricName": metric, "Dimensions": dimensions, "Value": value}]
    aws("cloudwatch", region).put_metric_data(Namespace=NAMESPACE, MetricData=data)


def described(aws: Aws, alarm: str, region: str = EAST) -> dict[str, Any]:
    (found,) = aws("cloudwatch", region).describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return dict(found)


def state(aws: Aws, alarm: str, region: str = EAST) -> str:
    return str(described(aws, alarm, region)["StateValue"])


def becomes(aws: Aws, alarm: str, expected: str, region: str = EAST) -> None:
    assert eventually(lambda: state(aws, alarm, region) == expected, within=WITHIN_SECONDS)


def first_state(aws: Aws, alarm: str) -> str:
    """Wait until an alarm has data, and return its state."""
    assert eventually(lambda: state(aws, alarm) != "INSUFFICIENT_DATA", within=WITHIN_SECONDS)
    return state(aws, alarm)


def queue_of(aws: Aws, region: str = EAST) -> tuple[str, str]:
    """Create a topic that delivers to a queue; return the topic's ARN and the queue's URL."""
    name = uuid.uuid4().hex
    topic = aws("sns", region).create_topic(Name=name)["TopicArn"]
    queue = aws("sqs", region).create_queue(QueueName=name)["QueueUrl"]
    arn = aws("sqs", region).get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws("sqs", region).set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    aws("sns", region).subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return str(topic), str(queue)


def delivered(aws: Aws, queue: str, region: str = EAST) -> list[dict[str, Any]]:
    """Return the notifications of alarms in the queue, oldest first, without duplicates."""
    found = aws("sqs", region).receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600)
    return [json.loads(json.loads(message["Body"])["Message"]) for message in found.get("Messages", [])]


ALARM = {
    "AlarmName": "lag",
    "AlarmDescription": "a < b & c",
    "MetricName": "ReplicationLatency",
    "Namespace": "AWS/DynamoDB",
    "Statistic": "Maximum",
    "Dimensions": [{"Name": "TableName", "Value": "records"}],
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 60.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "breaching",
    "AlarmActions": [f"arn:aws:sns:us-east-1:{ACCOUNT}:operations"],
    "OKActions": [f"arn:aws:sns:us-east-1:{ACCOUNT}:operations"],
    "ActionsEnabled": True,
}


def describe_alarms_by_query(aws: Aws, alarm: str) -> dict[str, Any]:
    """Return the response of the Query protocol, which the AWS provider uses and boto3 does not."""
    boto = aws("cloudwatch")
    body = f"Action=DescribeAlarms&Version=2010-08-01&AlarmNames.member.1={alarm}"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", boto.meta.endpoint_url, headers, body)
    signer = boto._request_signer._credentials
    SigV4Auth(Credentials(signer.access_key, signer.secret_key), "monitoring", "us-east-1").add_auth(request)
    answer = boto._endpoint.http_session.send(request.prepare())
    shape = boto.meta.service_model.operation_model("DescribeAlarms").output_shape
    parsed = create_parser("query").parse(
        {"body": answer.content, "headers": answer.headers, "status_code": answer.status_code}, shape
    )
    (found,) = parsed["MetricAlarms"]
    return dict(found)


@only_when_patched
def test_describe_alarms_returns_all_members(aws: Aws) -> bool:
    aws("cloudwatch").put_metric_alarm(**ALARM)
    found = describe_alarms_by_query(aws, "lag")
    return {name: found.get(name) for name in ALARM} == ALARM


@pytest.mark.parametrize("others", [dimension("b"), [], [*dimension("a"), {"Name": "TableName", "Value": "t"}]])
@only_when_patched
def test_data_of_other_dimensions_do_not_move_an_alarm(aws: Aws, others: list[dict[str, str]]) -> bool:
    alarm, later = alarm_on(aws, "a"), alarm_on(aws, "a")
    put(aws, alarm, 100, others)
    put(aws, later, 100, dimension("a"))
    # Alarms are evaluated in rounds: when a later datum has moved its alarm, the round of the earlier one is over.
    becomes(aws, later, "ALARM")
    return state(aws, alarm) == "INSUFFICIENT_DATA"


@only_when_patched
def test_other_dimensions_do_not_hide_an_alarms_own_data(aws: Aws) -> bool:
    alarm = alarm_on(aws, "a", Statistic="Average")
    put(aws, alarm, 0, dimension("b"))
    put(aws, alarm, 100, dimension("a"))
    return first_state(aws, alarm) == "ALARM"


@only_when_patched
def test_alarm_waits_for_all_evaluation_periods(aws: Aws) -> bool:
    alarm = alarm_on(aws, "a", EvaluationPeriods=2)
    for seconds, value in ((60, 0), (0, 100)):
        at = datetime.now(UTC) - timedelta(seconds=seconds)
        data = [{"MetricName": alarm, "Dimensions": dimension("a"), "Value": value, "Timestamp": at}]
        aws("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=data)
    return first_state(aws, alarm) == "OK"


def test_alarm_moves_by_its_own_data_and_notifies_its_topic(patched: Aws) -> None:
    topic, queue = queue_of(patched)
    alarm = alarm_on(patched, "a", AlarmActions=[topic])
    put(patched, alarm, 100, dimension("b"))
    assert delivered(patched, queue) == []
    before = described(patched, alarm)
    put(patched, alarm, 100, dimension("a"))
    (message,) = eventually(lambda: delivered(patched, queue))
    assert (message["AlarmName"], message["OldStateValue"], message["NewStateValue"]) == (
        alarm,
        "INSUFFICIENT_DATA",
        "ALARM",
    )
    after = described(patched, alarm)
    assert after["StateValue"] == "ALARM"
    may_change = {"StateValue", "StateReason", "StateUpdatedTimestamp"}
    assert {name for name in before | after if before.get(name) != after.get(name)} <= may_change


def test_dimensions_match_in_any_order(patched: Aws) -> None:
    both = [*dimension("a"), {"Name": "TableName", "Value": "t"}]
    alarm = alarm_on(patched, "a", Dimensions=both)
    put(patched, alarm, 100, both[::-1])
    becomes(patched, alarm, "ALARM")


def missing_data_are_treated_as_configured(treatment: str, expected: str, patched: Aws, unpatched: Aws) -> None:
    topic, queue = queue_of(patched)
    actions: dict[str, Any] = {"AlarmActions": [topic], "OKActions": [topic]}
    alarm = alarm_on(patched, "a", TreatMissingData=treatment, Period=SHORT, **actions)
    unpatched_alarm = alarm_on(unpatched, "a", TreatMissingData=treatment, Period=SHORT)
    assert state(patched, alarm) == "INSUFFICIENT_DATA"
    put(patched, alarm, 0 if expected == "ALARM" else 100, dimension("b"))
    becomes(patched, alarm, expected)
    assert state(unpatched, unpatched_alarm) == "INSUFFICIENT_DATA"
    assert treatment in described(patched, alarm)["StateReason"]
    (message,) = eventually(lambda: delivered(patched, queue))
    assert message["NewStateValue"] == expected


def missing_data_change_the_state_unless_ignored(patched: Aws, unpatched: Aws) -> None:
    missing, ignored = (alarm_on(patched, "a", TreatMissingData=how, Period=SHORT) for how in ("missing", "ignore"))
    for alarm in (missing, ignored):
        patched("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="by hand")
    becomes(patched, missing, "INSUFFICIENT_DATA")
    assert described(patched, ignored)["StateReason"] == "by hand"


def alarms_are_evaluated_in_their_region(patched: Aws, unpatched: Aws) -> None:
    topic, queue = queue_of(patched, WEST)
    served = alarm_on(patched, "a", region=WEST, TreatMissingData="breaching")
    put(patched, served, 0, dimension("a"), WEST)
    silent = alarm_on(patched, "a", region=WEST, TreatMissingData="breaching", Period=SHORT, AlarmActions=[topic])
    put(patched, silent, 0, dimension("a"), EAST)
    becomes(patched, silent, "ALARM", WEST)
    assert state(patched, served, WEST) == "OK"
    (message,) = eventually(lambda: delivered(patched, queue, WEST))
    assert message["AlarmName"] == silent
    history = patched("cloudwatch", WEST).describe_alarm_history(AlarmName=silent)["AlarmHistoryItems"]
    assert "Alarm updated from INSUFFICIENT_DATA to ALARM" in {item["HistorySummary"] for item in history}


def data_within_the_evaluation_range_are_not_missing(patched: Aws, unpatched: Aws) -> None:
    alarm = alarm_on(patched, "a", TreatMissingData="breaching")
    put(patched, alarm, 0, dimension("a"))
    silent = alarm_on(patched, "a", TreatMissingData="breaching", Period=SHORT)
    becomes(patched, silent, "ALARM")
    assert state(patched, alarm) == "OK"


# Each case waits for periods without data, so all run at the same time.
WAITING: dict[str, Callable[[Aws, Aws], None]] = {
    "missing data are breaching": partial(missing_data_are_treated_as_configured, "breaching", "ALARM"),
    "missing data are not breaching": partial(missing_data_are_treated_as_configured, "notBreaching", "OK"),
    "missing data are missing or ignored": missing_data_change_the_state_unless_ignored,
    "each region has its own alarms": alarms_are_evaluated_in_their_region,
    "data within the evaluation range": data_within_the_evaluation_range_are_not_missing,
}


@pytest.fixture(scope="module")
def begun(patched: Aws, unpatched: Aws) -> Iterator[dict[str, Future[None]]]:
    """Run all of `WAITING`, each in its own thread."""
    with ThreadPoolExecutor(len(WAITING)) as pool:
        yield {name: pool.submit(waits, patched, unpatched) for name, waits in WAITING.items()}


@pytest.mark.parametrize("name", WAITING)
def test_missing_data_move_an_alarm(begun: dict[str, Future[None]], name: str) -> None:
    begun[name].result()
