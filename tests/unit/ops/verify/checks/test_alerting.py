"""Checks of alarms and topics."""

import json
from typing import Any

import pytest

from healthcare_dr.ops.terraform.state import DeployedResources
from unit.ops.verify.fakes import EAST, Answers, Aws, deployed, found, live, problems, refusal, resource

TOPIC = deployed().output(EAST, "topic_arn")


ALARM = {
    "AlarmName": "lag", "ActionsEnabled": True, "AlarmActions": [TOPIC], "Namespace": "AWS/DynamoDB",
    "MetricName": "ReplicationLatency", "Dimensions": [{"Name": "TableName", "Value": "t"}], "Statistic": "Maximum",
    "Period": 60, "EvaluationPeriods": 2, "DatapointsToAlarm": 2, "Threshold": 60_000.0,
    "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
}  # fmt: skip


STATED: dict[str, Any] = {
    "alarm_name": "lag", "namespace": "AWS/DynamoDB", "metric_name": "ReplicationLatency",
    "dimensions": {"TableName": "t"}, "statistic": "Maximum", "extended_statistic": "", "period": 60,
    "evaluation_periods": 2, "datapoints_to_alarm": 2, "threshold": 60_000, "unit": "",
    "comparison_operator": "GreaterThanThreshold", "treat_missing_data": "notBreaching",
    "evaluate_low_sample_count_percentiles": "",
}  # fmt: skip


WATCHING = deployed(
    primary=[
        resource("aws_cloudwatch_metric_alarm", "lag", **STATED),
        resource("aws_cloudwatch_composite_alarm", "any", alarm_name="any", alarm_rule="ALARM(lag)",
                 actions_suppressor=[]),
    ]
)  # fmt: skip


ANY = {"AlarmName": "any", "ActionsEnabled": True, "AlarmActions": [TOPIC], "AlarmRule": "ALARM(lag)"}


def alarms(metric: dict[str, Any], composite: dict[str, Any], held: DeployedResources = WATCHING) -> list[str]:
    answer = {"MetricAlarms": [metric], "CompositeAlarms": [composite]}
    return problems("alarms", live({("cloudwatch", EAST, "describe_alarms"): answer}, held=held))


def test_deployed_alarms_are_no_finding() -> None:
    assert alarms(ALARM, ANY) == []


@pytest.mark.requirement("R7.1")
@pytest.mark.trap(32)
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"Statistic": "Minimum"}, "Statistic is Minimum, not Maximum"),
        ({"ExtendedStatistic": "p10"}, "Statistic is p10, not Maximum"),
        ({"Period": 300}, "Period is 300, not 60"),
        ({"EvaluationPeriods": 5}, "EvaluationPeriods is 5, not 2"),
        ({"DatapointsToAlarm": 1}, "DatapointsToAlarm is 1, not 2"),
        ({"Threshold": 900_000.0}, "Threshold is 900000.0, not 60000"),
        ({"ComparisonOperator": "LessThanThreshold"}, "ComparisonOperator is LessThanThreshold, not"),
        ({"TreatMissingData": "ignore"}, "TreatMissingData is ignore, not notBreaching"),
        ({"Unit": "Bytes"}, "Unit is Bytes, not "),
        ({"EvaluateLowSampleCountPercentile": "ignore"}, "EvaluateLowSampleCountPercentile is ignore, not "),
        ({"MetricName": "Latency"}, "MetricName is Latency, not ReplicationLatency"),
        ({"Namespace": "Other"}, "Namespace is Other, not AWS/DynamoDB"),
        ({"Dimensions": []}, "its dimensions are not those deployed"),
        ({"AlarmActions": []}, "it does not notify the region's topic"),
        ({"ActionsEnabled": False}, "its actions are disabled"),
    ],
)
def test_alarm_settings_are_compared(changed: dict[str, Any], expected: str) -> None:
    (problem,) = alarms(ALARM | changed, ANY)
    assert problem.startswith(f"lag: {expected}")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"AlarmRule": "FALSE"}, "any: its rule is not the one deployed"),
        ({"ActionsSuppressor": "quiet", "ActionsSuppressorWaitPeriod": 600}, "any: quiet suppresses its actions"),
    ],
)
def test_composite_alarm_settings_are_compared(changed: dict[str, Any], expected: str) -> None:
    assert alarms(ALARM, ANY | changed) == [expected]


def test_omitted_settings_equal_the_defaults_of_aws() -> None:
    quiet = {name: value for name, value in ALARM.items() if name != "Statistic"} | {
        "ExtendedStatistic": "p99", "EvaluateLowSampleCountPercentile": "evaluate", "Threshold": 0.0,
    }  # fmt: skip
    percentile = STATED | {"statistic": None, "extended_statistic": "p99", "threshold": 0, "unit": None}
    held = deployed(primary=[resource("aws_cloudwatch_metric_alarm", "lag", **percentile)])
    assert alarms(quiet, ANY, held) == []


def subscribed(**arns: str) -> Answers:
    """Return a correct topic with these subscriptions, by the user name of the e-mail address."""
    allowed = {"Effect": "Allow", "Action": "sns:Publish", "Principal": {"Service": ["cloudwatch.amazonaws.com",
               "s3.amazonaws.com"]}}  # fmt: skip
    attributes = {
        "KmsMasterKeyId": deployed().output(EAST, "key_arn"),
        "Policy": json.dumps({"Statement": [allowed]}),
    }
    return {
        ("sns", "get_topic_attributes"): {"Attributes": attributes},
        ("sns", "list_subscriptions_by_topic"): {
            "Subscriptions": [{"Endpoint": f"{user}@clinic.org", "SubscriptionArn": arn} for user, arn in arns.items()]
        },
    }


@pytest.mark.requirement("R7.2")
def test_unconfirmed_subscription_is_a_finding() -> None:
    settings = {"operations_emails": ("ops@clinic.org",)}
    assert problems("topic", live(subscribed(ops="arn:aws:sns:x"), settings=settings)) == []
    assert problems("topic", live(subscribed(ops="PendingConfirmation"), settings=settings)) == [
        "ops@clinic.org has not confirmed the subscription"
    ]


@pytest.mark.requirement("R7.2")
@pytest.mark.parametrize(("target", "severity"), [("aws", "failure"), ("embedded", "note")])
def test_topic_without_subscription_is_a_note_on_the_embedded_aws(target: str, severity: str) -> None:
    for answers in (subscribed(), subscribed(other="PendingConfirmation")):
        (finding,) = found("topic", live(answers, name=target))
        assert (finding.severity, "_WEBHOOKS are empty" in finding.problem) == (severity, True)
    assert found("topic", live(subscribed(pager="arn:aws:sns:x"), name=target)) == []


PAGER = "https://events.example.com/integration/KEY/enqueue"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:undelivered"
POLICY = json.dumps({"Statement": [{"Sid": "UndeliveredOfTopic", "Effect": "Allow"}]})
KEEPING = deployed(
    primary=[
        resource("aws_sqs_queue", "undelivered_queue", name="undelivered", arn=QUEUE, url="https://queue"),
        resource("aws_sqs_queue_policy", "undelivered_queue_policy", policy=POLICY),
    ]
)


class Paging(Aws):
    """A target with an endpoint."""

    def operations_endpoints(self) -> tuple[str, ...]:
        return (PAGER,)


def paged(arn: str | None, *, redrive: str = QUEUE, **queue: Any) -> list[str]:
    """Return the problems of both checks with an endpoint whose subscription has this ARN."""
    attributes = {"KmsMasterKeyId": deployed().output(EAST, "key_arn"), "ApproximateNumberOfMessages": "0",
                  "Policy": POLICY} | queue  # fmt: skip
    listed = [{"Endpoint": PAGER, "SubscriptionArn": arn}] if arn else []
    answers = {
        **subscribed(),
        ("sns", "list_subscriptions_by_topic"): {"Subscriptions": listed},
        ("sns", "get_subscription_attributes"): {
            "Attributes": {"RedrivePolicy": json.dumps({"deadLetterTargetArn": redrive})}
        },
        ("sqs", "get_queue_attributes"): {"Attributes": attributes},
    }
    there = live(answers, held=KEEPING, target=Paging)
    return [*problems("topic", there), *problems("undelivered", there)]


@pytest.mark.requirement("R7.2")
def test_confirmed_endpoint_is_a_recipient() -> None:
    assert paged("arn:aws:sns:x") == []


@pytest.mark.requirement("R7.2", "C5")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (paged(None), "https://events.example.com/… is not subscribed"),
        (paged("PendingConfirmation"), "https://events.example.com/… has not confirmed the subscription"),
        (paged("arn:x", redrive="arn:aws:sqs:us-east-1:123456789012:other"),
         "the subscription of https://events.example.com/… does not keep what cannot be delivered"),
        (paged("arn:x", ApproximateNumberOfMessages="2"), "undelivered holds 2 notifications that were not delivered"),
        (paged("arn:x", KmsMasterKeyId="alias/aws/sqs"),
         f"undelivered is not encrypted with {deployed().output(EAST, 'key_arn')}"),
        (paged("arn:x", Policy='{"Statement": []}'),
         "policy of undelivered: the statement UndeliveredOfTopic is missing"),
    ],
)  # fmt: skip
def test_endpoint_that_may_miss_a_notification_is_a_finding(found: list[str], expected: str) -> None:
    assert found == [expected]


def test_missing_queue_is_a_finding() -> None:
    there = live({("sqs", "get_queue_attributes"): refusal("AWS.SimpleQueueService.NonExistentQueue"),
                  ("sns", "list_subscriptions_by_topic"): {"Subscriptions": []}},
                 held=KEEPING, target=Paging)  # fmt: skip
    assert problems("undelivered", there) == ["undelivered does not exist"]


HOOK = "https://hooks.example.org/services/KEY"
RELAY_ARN = "arn:aws:lambda:us-east-1:123456789012:function:healthcare-dr-notification-relay-dev"


class Chatting(Aws):
    """A target with a webhook."""

    def operations_webhooks(self) -> tuple[str, ...]:
        return (HOOK,)


def relayed(value: str | None, *, subscribed_to: str = RELAY_ARN, redrive: str = "{}") -> list[str]:
    """Return the problems of both checks with a webhook, where the parameter has this value."""
    parameter = refusal("ParameterNotFound") if value is None else {"Parameter": {"Value": value}}
    listed = [{"Endpoint": subscribed_to, "SubscriptionArn": "arn:aws:sns:x"}]
    answers = {
        **subscribed(),
        ("ssm", "get_parameter"): parameter,
        ("sns", "list_subscriptions_by_topic"): {"Subscriptions": listed},
        ("sns", "get_subscription_attributes"): {"Attributes": {"RedrivePolicy": redrive} if redrive else {}},
    }
    there = live(answers, target=Chatting)
    return [*problems("topic", there), *problems("webhooks", there)]


@pytest.mark.requirement("R7.2")
def test_webhooks_of_the_settings_are_in_the_parameter() -> None:
    assert relayed(HOOK) == []
    assert problems("webhooks", live({})) == []


@pytest.mark.requirement("R7.2", "C4")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (relayed(None), "the parameter healthcare-dr-webhooks-dev does not exist"),
        (relayed(f"{HOOK}\nhttps://other.example"),
         "the parameter healthcare-dr-webhooks-dev does not contain the 1 webhooks of the settings"),
        (relayed(HOOK, subscribed_to="arn:aws:lambda:other"), "healthcare-dr-notification-relay-dev is not subscribed"),
        (relayed(HOOK, redrive=""),
         "the subscription of healthcare-dr-notification-relay-dev does not keep what cannot be delivered"),
    ],
)  # fmt: skip
def test_webhook_that_may_miss_a_notification_is_a_finding(found: list[str], expected: str) -> None:
    assert found == [expected]
