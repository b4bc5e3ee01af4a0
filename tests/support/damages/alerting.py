"""Damages to alarms, topics, dashboards and tags."""

import json
from functools import partial
from typing import Any

from support.damages.registry import EAST, WEST, Undo, damage, without_statement
from support.platform import SUFFIX, Deployed, eventually

SUBSCRIBER = "operations@healthcare-dr.example.org"


@damage("alarms", WEST, f"healthcare-dr-endpoint-unhealthy-{SUFFIX}: its actions are disabled")
def alarm_with_disabled_actions(deployed: Deployed) -> Undo:
    client, name = deployed.client("cloudwatch", WEST), deployed.names.of("endpoint-unhealthy")
    client.disable_alarm_actions(AlarmNames=[name])
    return lambda: client.enable_alarm_actions(AlarmNames=[name])


def lag_alarm(deployed: Deployed, **changed: Any) -> Undo:
    """Change settings of the alarm on the records' replication lag."""
    client, alarm = deployed.client("cloudwatch"), deployed.names.of("records-replication-lag")
    (found,) = client.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    settings = (
        "AlarmName", "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "MetricName", "Namespace",
        "Statistic", "Dimensions", "Period", "EvaluationPeriods", "DatapointsToAlarm", "Threshold",
        "ComparisonOperator", "TreatMissingData",
    )  # fmt: skip
    before = {setting: found[setting] for setting in settings}
    client.put_metric_alarm(**before | changed)
    return lambda: client.put_metric_alarm(**before)


for _name, _problem, _changed in (
    ("alarm-threshold", "Threshold is 900000.0, not 60000", {"Threshold": 900_000.0}),
    ("alarm-statistic", "Statistic is Minimum, not Maximum", {"Statistic": "Minimum"}),
):
    _problem = f"healthcare-dr-records-replication-lag-{SUFFIX}: {_problem}"
    damage("alarms", EAST, _problem, name=_name)(partial(lag_alarm, **_changed))


@damage("topic", EAST, "the topic's policy does not let cloudwatch publish")
def topic_closed_to_alarms(deployed: Deployed) -> Undo:
    client = deployed.client("sns")
    topic = {"TopicArn": deployed.outputs()["PrimaryTopicArn"]}
    before = client.get_topic_attributes(**topic)["Attributes"]["Policy"]
    changed = without_statement(before, "PublishCloudwatch")
    client.set_topic_attributes(**topic, AttributeName="Policy", AttributeValue=changed)
    return lambda: client.set_topic_attributes(**topic, AttributeName="Policy", AttributeValue=before)


@damage("topic", WEST, f"{SUBSCRIBER} is not subscribed", settings={"operations_emails": (SUBSCRIBER,)})
def unconfirmed_subscription(deployed: Deployed) -> Undo:
    client = deployed.client("sns")
    topic = deployed.outputs()["PrimaryTopicArn"]
    made = client.subscribe(TopicArn=topic, Protocol="email", Endpoint=SUBSCRIBER, ReturnSubscriptionArn=True)
    return lambda: client.unsubscribe(SubscriptionArn=made["SubscriptionArn"])


@damage(
    "undelivered",
    EAST,
    "the subscription of https://127.0.0.1:",
    settings={"operations_endpoints": "https://pager.example.com/integration-key"},
)
def endpoint_without_queue(deployed: Deployed) -> Undo:
    client = deployed.client("sns")
    topic, address = deployed.outputs()["PrimaryTopicArn"], deployed.emulator.receiver("endpoint-0")
    client.subscribe(TopicArn=topic, Protocol="https", Endpoint=address)
    eventually(lambda: int(client.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"]) == 1)
    (found,) = client.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    return lambda: client.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


@damage("dashboard", WEST, f"healthcare-dr-recovery-us-west-2-{SUFFIX} does not exist")
def missing_dashboard(deployed: Deployed) -> Undo:
    client, name = deployed.client("cloudwatch", WEST), deployed.names.of("recovery", WEST)
    body = client.get_dashboard(DashboardName=name)["DashboardBody"]
    client.delete_dashboards(DashboardNames=[name])
    return lambda: client.put_dashboard(DashboardName=name, DashboardBody=body)


@damage("dashboard", EAST, "does not show: Region in DNS")
def dashboard_without_its_first_chart(deployed: Deployed) -> Undo:
    client, name = deployed.client("cloudwatch"), deployed.names.of("recovery", EAST)
    body = client.get_dashboard(DashboardName=name)["DashboardBody"]
    kept = json.dumps({"widgets": json.loads(body)["widgets"][1:]})
    client.put_dashboard(DashboardName=name, DashboardBody=kept)
    return lambda: client.put_dashboard(DashboardName=name, DashboardBody=body)


@damage("tags", WEST, f"table/audit_logs-{SUFFIX} does not have Environment=Production and DisasterRecovery=Enabled")
def replica_without_a_tag(deployed: Deployed) -> Undo:
    client = deployed.client("dynamodb", WEST)
    arn = f"arn:aws:dynamodb:{WEST}:{deployed.account()}:table/{deployed.names.audit_table}"
    client.untag_resource(ResourceArn=arn, TagKeys=["DisasterRecovery"])
    return lambda: client.tag_resource(ResourceArn=arn, Tags=[{"Key": "DisasterRecovery", "Value": "Enabled"}])
