"""The sentinels of both regions on the deployed platform: signs of life, lag, and alarms that outlive a region.

Whatever a schedule does once a minute is asked for at once.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from healthcare_dr.emulator.conditions import DoorFault
from support.platform import REGIONS, Deployed, eventually

PARTITION = "$platform#heartbeat"
# An alarm is over with the first period after the fault.
OVER_SECONDS = 150
ROUND_SECONDS = 150


@pytest.fixture
def watched(deployed: Deployed) -> Iterator[Deployed]:
    """The platform, whose faults end with the test."""
    yield deployed
    deployed.emulator.set_time_scale(1)
    deployed.emulator.set_replication(tables=True, lag_seconds=0.5)
    for region in REGIONS:
        deployed.emulator.play(region, DoorFault(mode="open"))


@pytest.fixture
def told(deployed: Deployed) -> Iterator[dict[str, str]]:
    """A queue for each region that its topic delivers to, by its address."""
    queues, subscriptions = {}, []
    for region in REGIONS:
        sqs, sns = deployed.client("sqs", region), deployed.client("sns", region)
        topic = f"arn:aws:sns:{region}:{deployed.account()}:{deployed.names.of('operations')}"
        queues[region] = sqs.create_queue(QueueName=uuid4().hex)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queues[region], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        admitted = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [admitted]})
        sqs.set_queue_attributes(QueueUrl=queues[region], Attributes={"Policy": policy})
        subscriptions.append((sns, sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]))
    yield queues
    for sns, subscription in subscriptions:
        sns.unsubscribe(SubscriptionArn=subscription)
    for region, queue in queues.items():
        deployed.client("sqs", region).delete_queue(QueueUrl=queue)


def watch(deployed: Deployed, region: str) -> None:
    """One round of the region's sentinel."""
    answer = deployed.client("lambda", region).invoke(FunctionName=deployed.names.of("sentinel"))
    assert "FunctionError" not in answer, answer["Payload"].read()


def heartbeat(deployed: Deployed, of: str, *, at: str) -> dict[str, Any]:
    """The heartbeat of a region in the replica of a region; empty where there is none."""
    key = {"pk": {"S": PARTITION}, "sk": {"S": of}}
    table = deployed.names.records_table
    found: dict[str, Any] = deployed.client("dynamodb", at).get_item(TableName=table, Key=key).get("Item", {})
    return found


def newest(deployed: Deployed, region: str, metric: str, *, since: datetime) -> float | None:
    """The greatest value that CloudWatch of a region has of a sentinel's metric, in the newest minute that has any."""
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
    """What stands in ALARM in a region, without the names' common parts."""
    pages = (
        deployed.client("cloudwatch", region)
        .get_paginator("describe_alarms")
        .paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"], StateValue="ALARM")
    )
    found = [
        alarm["AlarmName"] for page in pages for kind in ("MetricAlarms", "CompositeAlarms") for alarm in page[kind]
    ]
    return {name.removeprefix("healthcare-dr-").removesuffix("-it") for name in found}


def unheard(deployed: Deployed, region: str) -> set[str]:
    """The alarms that silence would set off, and that are not OK."""
    pages = deployed.client("cloudwatch", region).get_paginator("describe_alarms").paginate()
    alarms = [alarm for page in pages for alarm in page["MetricAlarms"] if alarm["TreatMissingData"] == "breaching"]
    assert len(alarms) >= len(("endpoint-unhealthy", "documents-pending", "peer-unhealthy", "sentinel-silent"))
    return {alarm["AlarmName"] for alarm in alarms if alarm["StateValue"] != "OK"}


def published(deployed: Deployed, region: str, metric: str, *, since: datetime) -> bool:
    return newest(deployed, region, metric, since=since) is not None


def seen_by_a_round(deployed: Deployed, region: str, alarms: set[str]) -> bool:
    """Whether these stand in ALARM some time after one more round of the region's sentinel."""
    watch(deployed, region)
    time.sleep(3)
    return alarms <= in_alarm(deployed, region)


class Messages:
    """What the topic of a region delivered so far: which alarm went into which state."""

    def __init__(self, deployed: Deployed, region: str, queue: str) -> None:
        self._sqs = deployed.client("sqs", region)
        self._queue = queue
        self._seen: set[tuple[str, str]] = set()

    def tell(self, alarm: str, state: str) -> bool:
        found = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10, VisibilityTimeout=600)
        for message in found.get("Messages", []):
            said = json.loads(json.loads(message["Body"])["Message"])
            name = said["AlarmName"].removeprefix("healthcare-dr-").removesuffix("-it")
            self._seen.add((name, said["NewStateValue"]))
        return (alarm, state) in self._seen


@contextmanager
def lost(deployed: Deployed, region: str) -> Iterator[None]:
    """The region answers nobody and its replication stands still, for ten minutes already by its last heartbeat."""
    survivor = REGIONS[1 - REGIONS.index(region)]
    deployed.settle()
    deployed.emulator.play(region, DoorFault(mode="refused"))
    deployed.emulator.set_replication(tables=False)
    stale = heartbeat(deployed, region, at=survivor) | {"at": {"N": str(int((time.time() - 600) * 1000))}}
    deployed.client("dynamodb", survivor).put_item(TableName=deployed.names.records_table, Item=stale)
    try:
        yield
    finally:
        deployed.emulator.play(region, DoorFault(mode="open"))
        deployed.emulator.set_replication(tables=True)
        deployed.settle()
        watch(deployed, region)


@pytest.mark.trap(7)
@pytest.mark.requirement("R6.1")
def test_each_region_gives_a_sign_of_life_that_tells_the_lag(watched: Deployed, region: str, other_region: str) -> None:
    before = time.time()
    watched.emulator.set_replication(lag_seconds=4)
    watch(watched, region)
    written = heartbeat(watched, region, at=region)
    assert written == {
        "pk": {"S": PARTITION},
        "sk": {"S": region},
        "at": written["at"],
        "endpoint": {"S": f"https://{watched.api_id(region)}.execute-api.{region}.amazonaws.com"},
    }
    assert before <= int(written["at"]["N"]) / 1000 <= time.time()
    since = datetime.fromtimestamp(before, UTC)
    eventually(lambda: (newest(watched, other_region, "ReplicationLag", since=since) or 0) >= 4)
    # Its schedule may have written another one meanwhile.
    eventually(lambda: heartbeat(watched, region, at=other_region) == heartbeat(watched, region, at=region))
    assert int(heartbeat(watched, region, at=other_region)["at"]["N"]) >= int(written["at"]["N"])
    assert (newest(watched, other_region, "ReplicationLag", since=since) or 0) < 8


@pytest.mark.requirement("R6.1")
def test_each_region_publishes_what_it_sees_of_the_other(watched: Deployed, region: str, other_region: str) -> None:
    watch(watched, other_region)
    watched.settle()
    since = datetime.now(UTC) - timedelta(seconds=1)
    watch(watched, region)
    for metric, expected in (("HeartbeatWritten", 1), ("PeerHealthy", 1)):
        eventually(partial(published, watched, region, metric, since=since))
        assert newest(watched, region, metric, since=since) == expected
    age = newest(watched, region, "HeartbeatAge", since=since)
    assert age is not None
    assert 0 < age < 60


@pytest.mark.requirement("R6.2")
def test_no_alarm_stands_on_a_healthy_platform_that_nobody_uses(watched: Deployed) -> None:
    for region in REGIONS:
        watch(watched, region)
    eventually(lambda: not any(in_alarm(watched, region) for region in REGIONS), seconds=ROUND_SECONDS)
    # What takes silence for the worst has been told that all is well.
    eventually(lambda: not any(unheard(watched, region) for region in REGIONS), seconds=ROUND_SECONDS)


def test_heartbeats_that_are_overwritten_are_no_tampering(watched: Deployed, region: str, other_region: str) -> None:
    for _ in range(2):
        watch(watched, region)
    watched.settle()
    for place in (region, other_region):
        group = watched.names.lambda_log_group(watched.names.of("reconciliation"))
        pages = watched.client("logs", place).get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event["message"] for page in pages for event in page["events"]]
        assert not [line for line in lines if "must not change" in line and PARTITION in line]


@pytest.mark.trap(22)
@pytest.mark.requirement("R6.2", "R7.1", "C1")
def test_each_region_tells_of_the_loss_and_of_the_return_of_the_other(watched: Deployed, told: dict[str, str]) -> None:
    heard = {region: Messages(watched, region, queue) for region, queue in told.items()}
    watched.emulator.set_time_scale(10)
    for gone, survivor in (REGIONS, REGIONS[::-1]):
        with lost(watched, gone):
            expected = {"peer-unhealthy", "peer-heartbeat-age", "peer-at-risk"}
            eventually(partial(seen_by_a_round, watched, survivor, expected), seconds=ROUND_SECONDS)
            for alarm in sorted(expected):
                eventually(partial(heard[survivor].tell, alarm, "ALARM"))
            # Route 53's own are in us-east-1, whichever region they are about.
            for alarm in (f"endpoint-check-{gone}", f"health-check-{gone}"):
                eventually(partial(heard["us-east-1"].tell, alarm, "ALARM"), seconds=60)
    for region in REGIONS:
        watch(watched, region)
    eventually(lambda: not any(in_alarm(watched, region) for region in REGIONS), seconds=OVER_SECONDS)
    for region in REGIONS:
        eventually(partial(heard[region].tell, "peer-unhealthy", "OK"))
        eventually(partial(heard["us-east-1"].tell, f"health-check-{region}", "OK"))
