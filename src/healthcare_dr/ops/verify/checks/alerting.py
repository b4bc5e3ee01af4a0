"""Checks of alarms, topics and dashboards."""

import json
from collections.abc import Iterator
from typing import Any

from healthcare_dr.ops.notifications import shown
from healthcare_dr.ops.terraform.state import Resource
from healthcare_dr.ops.verify.check import REDEPLOY, Problem, each_region
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.policies import allows, differences
from patient_api.contract.functions import RELAY

# The attributes of an alarm that decide when it fires, and their names in Terraform's state.
RULE = {
    "Namespace": "namespace",
    "MetricName": "metric_name",
    "Unit": "unit",
    "EvaluateLowSampleCountPercentile": "evaluate_low_sample_count_percentiles",
    "Period": "period",
    "EvaluationPeriods": "evaluation_periods",
    "DatapointsToAlarm": "datapoints_to_alarm",
    "Threshold": "threshold",
    "ComparisonOperator": "comparison_operator",
    "TreatMissingData": "treat_missing_data",
}
MISSING_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
# The defaults of AWS. Where the state contains "" or 0, the response may not contain the attribute.
DEFAULTS = {"EvaluateLowSampleCountPercentile": "evaluate"}


@each_region(
    "alarms", "R6.2", "R7.1", "trap 22", "trap 32",
    expects="Every alarm exists as deployed, with its actions enabled, and notifies the region's own topic",
    why="Failover is automatic, but operators have to reconcile data and restore the region afterwards.",
    fix="`aws cloudwatch enable-alarm-actions --alarm-names ALARM --region REGION`, or `hdr deploy`",
)  # fmt: skip
def alarms(live: LiveTarget, region: str) -> Iterator[str]:
    answer = live.request("cloudwatch", region, "describe_alarms", AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    found = {
        alarm["AlarmName"]: alarm for kind in ("MetricAlarms", "CompositeAlarms") for alarm in answer.get(kind) or ()
    }
    topic = live.deployed.output(region, "topic_arn")
    for kind in ("aws_cloudwatch_metric_alarm", "aws_cloudwatch_composite_alarm"):
        for deployed in live.deployed.of(kind, region):
            alarm = found.get(deployed["alarm_name"])
            if alarm is None:
                yield f"{deployed['alarm_name']} does not exist"
                continue
            yield from (f"{deployed['alarm_name']}: {text}" for text in _lacking(alarm, deployed, topic))


@each_region(
    "topic", "R7.1", "R7.2", "trap 17",
    expects="The operations topic exists, is encrypted with the region's key, and has the deployed policy, which lets "
    "CloudWatch and S3 publish. Every recipient of the settings has a confirmed subscription; on AWS there is at "
    "least one",
    why="An alarm on a topic without a confirmed subscription reaches no operator, in either region.",
    fix="confirm the subscription in the e-mail from AWS; set HDR_OPERATIONS_EMAILS, _ENDPOINTS or _WEBHOOKS and "
    "run `hdr deploy`, which also restores the rest",
)  # fmt: skip
def topic(live: LiveTarget, region: str) -> Iterator[str | Problem]:
    arn = live.deployed.output(region, "topic_arn")
    found = live.request_optional(
        "sns", region, "get_topic_attributes", ("NotFound", "NotFoundException"), TopicArn=arn
    )
    if found is None:
        yield f"{arn} does not exist"
        return
    attributes, key = found["Attributes"], live.deployed.output(region, "key_arn")
    if attributes.get("KmsMasterKeyId") != key:
        yield f"the topic is not encrypted with {key}"
    policy = attributes["Policy"]
    closed = [name for name in ("cloudwatch", "s3") if not allows(policy, f"{name}.amazonaws.com", ["sns:Publish"])]
    if closed:
        yield f"the topic's policy does not let {' and '.join(closed)} publish"
    else:
        for deployed in live.deployed.of("aws_sns_topic_policy", region):
            yield from (f"policy of the topic: {text}" for text in differences(deployed["policy"], policy))
    yield from _subscriptions(live, region, arn)


@each_region(
    "undelivered", "R7.2", "C5",
    expects="The subscription of every HTTPS endpoint keeps what cannot be delivered in the region's encrypted queue, "
    "and the queue is empty",
    why="A pager that does not receive an alarm notifies no operator, and without the queue the loss goes unnoticed.",
    fix="`hdr notify` tests the delivery; docs/runbooks/undelivered-notifications.md empties the queue; "
    "`hdr deploy` restores queue and subscriptions",
)  # fmt: skip
def undelivered(live: LiveTarget, region: str) -> Iterator[str]:
    queues = {}
    for deployed in live.deployed.of("aws_sqs_queue", region):
        found = live.request_optional(
            "sqs", region, "get_queue_attributes", MISSING_QUEUE, QueueUrl=deployed["url"], AttributeNames=["All"]
        )
        if found is None:
            yield f"{deployed['name']} does not exist"
            continue
        attributes = queues[deployed["arn"]] = found["Attributes"]
        if attributes.get("KmsMasterKeyId") != (key := live.deployed.output(region, "key_arn")):
            yield f"{deployed['name']} is not encrypted with {key}"
        for policy in live.deployed.of("aws_sqs_queue_policy", region):
            for text in differences(policy["policy"], attributes.get("Policy") or "{}"):
                yield f"policy of {deployed['name']}: {text}"
        if waiting := int(attributes.get("ApproximateNumberOfMessages") or 0):
            yield f"{deployed['name']} holds {waiting} notifications that were not delivered"
    topic = live.deployed.output(region, "topic_arn")
    subscribed = _subscribed(live, region, topic)
    for address in live.target.operations_endpoints():
        arn = subscribed.get(address, "")
        if not arn.startswith("arn:"):
            continue  # the check of the topic finds it
        attributes = live.request("sns", region, "get_subscription_attributes", SubscriptionArn=arn)["Attributes"]
        kept_in = json.loads(attributes.get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
        if kept_in not in queues:
            yield f"the subscription of {shown(address)} does not keep what cannot be delivered"


@each_region(
    "webhooks", "R7.2", "C4",
    expects="With webhooks in the settings, the region's encrypted parameter contains exactly these, and the relay is "
    "subscribed to the topic and keeps what it cannot deliver",
    why="Chat services cannot subscribe to a topic: without the relay and its addresses they receive no alarm.",
    fix="`hdr deploy`: it writes the parameter and the subscription",
)  # fmt: skip
def webhooks(live: LiveTarget, region: str) -> Iterator[str]:
    wanted = live.target.operations_webhooks()
    if not wanted:
        return
    name = live.names.of("webhooks")
    found = live.request_optional(
        "ssm", region, "get_parameter", ("ParameterNotFound",), Name=name, WithDecryption=True
    )
    if found is None:
        yield f"the parameter {name} does not exist"
    elif tuple(str(found["Parameter"]["Value"]).split("\n")) != wanted:
        yield f"the parameter {name} does not contain the {len(wanted)} webhooks of the settings"
    function = live.arn("lambda", region, f"function:{live.names.of(RELAY.name)}")
    arn = _subscribed(live, region, live.deployed.output(region, "topic_arn")).get(function, "")
    if not arn.startswith("arn:"):
        yield f"{live.names.of(RELAY.name)} is not subscribed"
        return
    attributes = live.request("sns", region, "get_subscription_attributes", SubscriptionArn=arn)["Attributes"]
    if not attributes.get("RedrivePolicy"):
        yield f"the subscription of {live.names.of(RELAY.name)} does not keep what cannot be delivered"


@each_region(
    "dashboard", "R6.1",
    expects="The region's dashboard exists, with every deployed chart",
    why="During a failover operators need one page in the surviving region.",
    fix=REDEPLOY,
)  # fmt: skip
def dashboard(live: LiveTarget, region: str) -> Iterator[str]:
    for deployed in live.deployed.of("aws_cloudwatch_dashboard", region):
        name = deployed["dashboard_name"]
        missing = ("ResourceNotFound", "DashboardNotFoundError")
        found = live.request_optional("cloudwatch", region, "get_dashboard", missing, DashboardName=name)
        if found is None:
            yield f"{name} does not exist"
            continue
        shown = {_title(widget) for widget in json.loads(found["DashboardBody"]).get("widgets") or ()}
        for widget in json.loads(deployed["dashboard_body"])["widgets"]:
            if _title(widget) not in shown:
                yield f"{name} does not show: {_title(widget)}"


def _lacking(alarm: Any, deployed: Resource, topic: str) -> Iterator[str]:
    if not alarm.get("ActionsEnabled"):
        yield "its actions are disabled"
    if topic not in (alarm.get("AlarmActions") or ()):
        yield "it does not notify the region's topic"
    if deployed.kind == "aws_cloudwatch_composite_alarm":
        if alarm.get("AlarmRule") != deployed["alarm_rule"]:
            yield "its rule is not the one deployed"
        if alarm.get("ActionsSuppressor") and not deployed["actions_suppressor"]:
            yield f"{alarm['ActionsSuppressor']} suppresses its actions"
        return
    for name, attribute in RULE.items():
        if (alarm.get(name) or DEFAULTS.get(name)) != (deployed[attribute] or DEFAULTS.get(name)):
            yield f"{name} is {alarm.get(name)}, not {deployed[attribute]}"
    # The alarm of a percentile has an extended statistic.
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic")
    if statistic != (wanted := deployed["extended_statistic"] or deployed["statistic"]):
        yield f"Statistic is {statistic}, not {wanted}"
    if {part["Name"]: part["Value"] for part in alarm.get("Dimensions") or ()} != (deployed["dimensions"] or {}):
        yield "its dimensions are not those deployed"


def _subscriptions(live: LiveTarget, region: str, topic: str) -> Iterator[str | Problem]:
    found = _subscribed(live, region, topic)
    recipients = {email: email for email in live.settings.operations_emails}
    recipients |= {address: shown(address) for address in live.target.operations_endpoints()}
    for address, name in recipients.items():
        if address not in found:
            yield f"{name} is not subscribed"
        elif not found[address].startswith("arn:"):
            yield f"{name} has not confirmed the subscription"
    recipients |= dict.fromkeys(live.target.operations_webhooks(), "")  # the check of the webhooks examines them
    if not any(arn.startswith("arn:") for arn in found.values()) and not recipients:
        text = "the topic has no subscription: HDR_OPERATIONS_EMAILS, _ENDPOINTS and _WEBHOOKS are empty"
        yield Problem(text, "failure" if live.target.name == "aws" else "note")


def _subscribed(live: LiveTarget, region: str, topic: str) -> dict[str, str]:
    """Return the ARNs of the topic's subscriptions by address; `PendingConfirmation` for unconfirmed ones."""
    answer = live.request("sns", region, "list_subscriptions_by_topic", TopicArn=topic)
    return {each["Endpoint"]: each["SubscriptionArn"] for each in answer["Subscriptions"]}


def _title(widget: Any) -> str:
    return str(widget.get("properties", {}).get("title", ""))
