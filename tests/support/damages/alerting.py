"""Damages to what tells people: alarms, topics, dashboards; and to tags."""

import json
from collections.abc import Iterator
from typing import Any

from support.damages.registry import EAST, WEST, damage
from support.platform import SUFFIX, Deployed

SOMEBODY = "operations@healthcare-dr.example.org"


@damage("alarms", WEST, f"healthcare-dr-endpoint-unhealthy-{SUFFIX}: its actions are disabled")
def a_silenced_alarm(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("cloudwatch", WEST), deployed.names.of("endpoint-unhealthy")
    client.disable_alarm_actions(AlarmNames=[name])
    try:
        yield
    finally:
        client.enable_alarm_actions(AlarmNames=[name])


def _alarm(name: str, says: str, changed: dict[str, Any]) -> None:
    """The alarm on the records' replication lag, put anew with something changed."""

    def play(deployed: Deployed) -> Iterator[None]:
        client, alarm = deployed.client("cloudwatch"), deployed.names.of("records-replication-lag")
        (found,) = client.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
        taken = (
            "AlarmName", "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "MetricName", "Namespace",
            "Statistic", "Dimensions", "Period", "EvaluationPeriods", "DatapointsToAlarm", "Threshold",
            "ComparisonOperator", "TreatMissingData",
        )  # fmt: skip
        before = {member: found[member] for member in taken}
        client.put_metric_alarm(**before | changed)
        try:
            yield
        finally:
            client.put_metric_alarm(**before)

    play.__name__ = name
    damage("alarms", EAST, f"healthcare-dr-records-replication-lag-{SUFFIX}: {says}")(play)


_alarm("an_alarm_that_fires_too_late", "Threshold is 900000.0, not 60000", {"Threshold": 900_000.0})
_alarm("an_alarm_on_the_least", "Statistic is Minimum, not Maximum", {"Statistic": "Minimum"})


@damage("topic", EAST, "the topic's policy does not let cloudwatch publish")
def a_topic_closed_to_alarms(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("sns")
    topic = {"TopicArn": deployed.outputs()["PrimaryTopicArn"]}
    before = client.get_topic_attributes(**topic)["Attributes"]["Policy"]
    document = json.loads(before)
    kept = [statement for statement in document["Statement"] if statement["Sid"] != "PublishCloudwatch"]
    changed = json.dumps(document | {"Statement": kept})
    client.set_topic_attributes(**topic, AttributeName="Policy", AttributeValue=changed)
    try:
        yield
    finally:
        client.set_topic_attributes(**topic, AttributeName="Policy", AttributeValue=before)


@damage("topic", WEST, f"{SOMEBODY} is not subscribed", settings={"operations_emails": (SOMEBODY,)})
def somebody_who_hears_nothing(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("sns")
    topic = deployed.outputs()["PrimaryTopicArn"]
    told = client.subscribe(TopicArn=topic, Protocol="email", Endpoint=SOMEBODY, ReturnSubscriptionArn=True)
    try:
        yield
    finally:
        client.unsubscribe(SubscriptionArn=told["SubscriptionArn"])


@damage("dashboard", WEST, f"healthcare-dr-recovery-us-west-2-{SUFFIX} does not exist")
def no_dashboard(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("cloudwatch", WEST), deployed.names.of("recovery", WEST)
    body = client.get_dashboard(DashboardName=name)["DashboardBody"]
    client.delete_dashboards(DashboardNames=[name])
    try:
        yield
    finally:
        client.put_dashboard(DashboardName=name, DashboardBody=body)


@damage("dashboard", EAST, "does not show: Region in DNS")
def a_dashboard_without_its_first_chart(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("cloudwatch"), deployed.names.of("recovery", EAST)
    body = client.get_dashboard(DashboardName=name)["DashboardBody"]
    kept = json.dumps({"widgets": json.loads(body)["widgets"][1:]})
    client.put_dashboard(DashboardName=name, DashboardBody=kept)
    try:
        yield
    finally:
        client.put_dashboard(DashboardName=name, DashboardBody=body)


@damage("tags", WEST, f"table/audit_logs-{SUFFIX} does not carry Environment=Production and DisasterRecovery=Enabled")
def a_replica_without_a_tag(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("dynamodb", WEST)
    arn = f"arn:aws:dynamodb:{WEST}:{deployed.account()}:table/{deployed.names.audit_table}"
    client.untag_resource(ResourceArn=arn, TagKeys=["DisasterRecovery"])
    try:
        yield
    finally:
        client.tag_resource(ResourceArn=arn, Tags=[{"Key": "DisasterRecovery", "Value": "Enabled"}])
