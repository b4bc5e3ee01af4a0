"""The sentinels of the deployed platform: their rounds, heartbeats, metrics, alarms and messages."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from support.platform import REGIONS, SUFFIX, Deployed, eventually

PARTITION = "$platform#heartbeat"


@contextmanager
def subscribed(deployed: Deployed) -> Iterator[dict[str, "Messages"]]:
    """Subscribe a queue to the topic of each region.

    Waits first until no alarm is in ALARM, because an alarm of an earlier test would not be raised again.
    """
    eventually(lambda: quiet(deployed), seconds=300)
    messages, subscriptions = {}, []
    for region in REGIONS:
        sqs, sns = deployed.client("sqs", region), deployed.client("sns", region)
        topic = f"arn:aws:sns:{region}:{deployed.account()}:{deployed.names.of('operations')}"
        queue = sqs.create_queue(QueueName=uuid4().hex)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        admitted = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [admitted]})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        subscriptions.append((sns, sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]))
        messages[region] = Messages(deployed, region, queue)
    try:
        yield messages
    finally:
        for sns, subscription in subscriptions:
            sns.unsubscribe(SubscriptionArn=subscription)
        for region, received in messages.items():
            deployed.client("sqs", region).delete_queue(QueueUrl=received.queue)


class Messages:
    """The alarm states that the topic of a region has delivered so far."""

    def __init__(self, deployed: Deployed, region: str, queue: str) -> None:
        self._sqs = deployed.client("sqs", region)
        self.queue = queue
        self._seen: set[tuple[str, str]] = set()

    def seen(self) -> set[tuple[str, str]]:
        """Return the short names of alarms with their delivered states.

        The topic also delivers the reports of other publishers, such as a function that failed on a busy machine.
        """
        found = self._sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, VisibilityTimeout=600)
        for message in found.get("Messages", []):
            content = json.loads(json.loads(message["Body"])["Message"])
            if "AlarmName" in content:
                self._seen.add((short(content["AlarmName"]), content["NewStateValue"]))
        return set(self._seen)


def short(alarm: str) -> str:
    """Return an alarm's name without the prefix and suffix of all names."""
    return alarm.removeprefix("healthcare-dr-").removesuffix(f"-{SUFFIX}")


def watch(deployed: Deployed, region: str) -> None:
    """Run one round of the region's sentinel, which its schedule runs once a minute."""
    answer = deployed.client("lambda", region).invoke(FunctionName=deployed.names.of("sentinel"))
    assert "FunctionError" not in answer, answer["Payload"].read()


def heartbeat(deployed: Deployed, of: str, *, at: str) -> dict[str, Any]:
    """Return a region's heartbeat in the replica `at`; empty without one."""
    key = {"pk": {"S": PARTITION}, "sk": {"S": of}}
    table = deployed.names.records_table
    found: dict[str, Any] = deployed.client("dynamodb", at).get_item(TableName=table, Key=key).get("Item", {})
    return found


def write_heartbeat(deployed: Deployed, region: str, *, age_seconds: float = 0) -> None:
    """Write a region's heartbeat as its sentinel does."""
    at = round((datetime.now(UTC).timestamp() - age_seconds) * 1000)
    item = {"pk": {"S": PARTITION}, "sk": {"S": region}, "at": {"N": str(at)}, "endpoint": {"S": "x"}}
    deployed.client("dynamodb", region).put_item(TableName=deployed.names.records_table, Item=item)


def age_heartbeat(deployed: Deployed, of: str, *, at: str, seconds: float) -> None:
    """Set the age of a region's last heartbeat in the replica `at`."""
    then = datetime.now(UTC).timestamp() - seconds
    stale = heartbeat(deployed, of, at=at) | {"at": {"N": str(int(then * 1000))}}
    deployed.client("dynamodb", at).put_item(TableName=deployed.names.records_table, Item=stale)


def newest(deployed: Deployed, region: str, metric: str, *, since: datetime) -> float | None:
    """Return the maximum of a sentinel's metric in the newest minute with data; None without data."""
    found = deployed.client("cloudwatch", region).get_metric_statistics(
        Namespace="HealthcareDR",
        MetricName=metric,
        Dimensions=[{"Name": "service", "Value": "sentinel"}],
        StartTime=since,
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )
    points = sorted(found["Datapoints"], key=lambda point: point["Timestamp"])
    return float(points[-1]["Maximum"]) if points else None


def in_alarm(deployed: Deployed, region: str) -> set[str]:
    """Return the alarms of a region that are in ALARM."""
    pages = (
        deployed.client("cloudwatch", region)
        .get_paginator("describe_alarms")
        .paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"], StateValue="ALARM")
    )
    return {
        short(alarm["AlarmName"])
        for page in pages
        for kind in ("MetricAlarms", "CompositeAlarms")
        for alarm in page[kind]
    }


def quiet(deployed: Deployed) -> bool:
    """Return whether no alarm of either region is in ALARM after a round of both sentinels."""
    for region in REGIONS:
        watch(deployed, region)
    return not any(in_alarm(deployed, region) for region in REGIONS)


def without_data(deployed: Deployed, region: str) -> set[str]:
    """Return the alarms that are not OK among those for which missing data are breaching."""
    pages = deployed.client("cloudwatch", region).get_paginator("describe_alarms").paginate()
    alarms = [alarm for page in pages for alarm in page["MetricAlarms"] if alarm["TreatMissingData"] == "breaching"]
    assert len(alarms) >= len(("endpoint-unhealthy", "documents-pending", "peer-unhealthy", "sentinel-silent"))
    return {short(alarm["AlarmName"]) for alarm in alarms if alarm["StateValue"] != "OK"}
