"""Tests of alarms: their description, and their state by the data of their own dimensions and by missing data."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import create_parser

from unit.emulator.aws import ACCOUNT, EAST, WEST, Aws, allow, document, eventually, only_when_patched

NAMESPACE = "Alarms"
WITHIN_SECONDS = 90.0


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
    condition = {"ArnEquals": {"aws:SourceArn": topic}}
    statement = allow("sqs:SendMessage", resource=arn, Principal={"Service": "sns.amazonaws.com"}, Condition=condition)
    aws("sqs", region).set_queue_attributes(QueueUrl=queue, Attributes={"Policy": document(statement)})
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
    changed = tuple(message[name] for name in ("AlarmName", "OldStateValue", "NewStateValue"))
    assert changed == (alarm, "INSUFFICIENT_DATA", "ALARM")
    after = described(patched, alarm)
    assert after["StateValue"] == "ALARM"
    may_change = {"StateValue", "StateReason", "StateUpdatedTimestamp"}
    assert {name for name in before | after if before.get(name) != after.get(name)} <= may_change


def test_dimensions_match_in_any_order(patched: Aws) -> None:
    both = [*dimension("a"), {"Name": "TableName", "Value": "t"}]
    alarm = alarm_on(patched, "a", Dimensions=both)
    put(patched, alarm, 100, both[::-1])
    becomes(patched, alarm, "ALARM")


@pytest.fixture
def fast(patched: Aws) -> Iterator[Aws]:
    """The embedded AWS with alarm periods of a twentieth."""
    patched.emulator.set_time_scale(20)
    yield patched
    patched.emulator.set_time_scale(1)


@pytest.mark.parametrize(("treatment", "expected"), [("breaching", "ALARM"), ("notBreaching", "OK")])
def test_missing_data_are_treated_as_configured(fast: Aws, unpatched: Aws, treatment: str, expected: str) -> None:
    topic, queue = queue_of(fast)
    actions: dict[str, Any] = {"AlarmActions": [topic], "OKActions": [topic]}
    alarm = alarm_on(fast, "a", TreatMissingData=treatment, **actions)
    unpatched_alarm = alarm_on(unpatched, "a", TreatMissingData=treatment)
    assert state(fast, alarm) == "INSUFFICIENT_DATA"
    put(fast, alarm, 0 if expected == "ALARM" else 100, dimension("b"))
    becomes(fast, alarm, expected)
    assert state(unpatched, unpatched_alarm) == "INSUFFICIENT_DATA"
    assert treatment in described(fast, alarm)["StateReason"]
    (message,) = eventually(lambda: delivered(fast, queue))
    assert message["NewStateValue"] == expected


def test_missing_data_change_the_state_unless_ignored(fast: Aws) -> None:
    missing, ignored = (alarm_on(fast, "a", TreatMissingData=treatment) for treatment in ("missing", "ignore"))
    for alarm in (missing, ignored):
        fast("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="by hand")
    becomes(fast, missing, "INSUFFICIENT_DATA")
    assert described(fast, ignored)["StateReason"] == "by hand"


@pytest.mark.parametrize("region", [EAST, WEST])
def test_alarm_is_evaluated_by_the_data_of_its_region(fast: Aws, region: str) -> None:
    topic, queue = queue_of(fast, region)
    served = alarm_on(fast, "a", region=region, TreatMissingData="breaching", Period=3600)
    put(fast, served, 0, dimension("a"), region)
    silent = alarm_on(fast, "a", region=region, TreatMissingData="breaching", AlarmActions=[topic])
    put(fast, silent, 0, dimension("a"), WEST if region == EAST else EAST)
    becomes(fast, silent, "ALARM", region)
    assert state(fast, served, region) == "OK"
    (message,) = eventually(lambda: delivered(fast, queue, region))
    assert message["AlarmName"] == silent
    history = fast("cloudwatch", region).describe_alarm_history(AlarmName=silent)["AlarmHistoryItems"]
    assert "Alarm updated from INSUFFICIENT_DATA to ALARM" in {item["HistorySummary"] for item in history}
