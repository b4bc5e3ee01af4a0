"""Tests of metrics in the embedded metric format."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from healthcare_dr.emulator.patches.cloudwatch import Metric, embedded_metrics
from unit.emulator.aws import EAST, WEST, Aws, eventually, only_when_patched

LOGS = """
import json, time

def handler(event, context):
    print("called")
    print(json.dumps(event["document"] | {"_aws": event["_aws"] | {"Timestamp": int(time.time() * 1000)}}))
"""


def document(**changes: Any) -> dict[str, Any]:
    directive = {
        "Namespace": "Embedded",
        "Dimensions": [["service"], ["service", "region"], []],
        "Metrics": [{"Name": "Lag", "Unit": "Seconds"}, {"Name": "Count"}],
    }
    return {
        "_aws": {"Timestamp": 1_800_000_000_500, "CloudWatchMetrics": [directive]},
        "service": "sentinel",
        "region": EAST,
        "Lag": 1.5,
        "Count": [1, 2],
    } | changes


def test_each_metric_is_stored_per_set_of_dimensions() -> None:
    found = list(embedded_metrics(json.dumps(document())))
    assert [(metric.name, dict(metric.dimensions)) for metric in found] == [
        (name, dimensions)
        for dimensions in ({"service": "sentinel"}, {"service": "sentinel", "region": EAST}, {})
        for name in ("Lag", "Count")
    ]
    assert found[0] == Metric(
        namespace="Embedded",
        name="Lag",
        unit="Seconds",
        dimensions={"service": "sentinel"},
        values=(1.5,),
        at=1_800_000_000.5,
    )
    assert (found[1].unit, found[1].values) == ("None", (1.0, 2.0))


@pytest.mark.parametrize(
    "line",
    [
        "called",
        "",
        '{"message": "\\"_aws\\""}',
        '{"_aws": ',
        '{"_aws": 1}',
        '"_aws"',
        json.dumps(document(Lag="soon")),
        json.dumps(document(service=7)),
        json.dumps(document(_aws={"CloudWatchMetrics": []})),
        json.dumps({key: value for key, value in document().items() if key != "Count"}),
    ],
)
def test_invalid_line_has_no_metrics(line: str) -> None:
    assert list(embedded_metrics(line)) == []


def values(aws: Aws, name: str, region: str) -> list[float]:
    """Return the sums of a metric in a region, which has no other dimensions."""
    now = datetime.now(UTC)
    found = aws("cloudwatch", region).get_metric_statistics(
        Namespace="Embedded",
        MetricName=name,
        Dimensions=[{"Name": "service", "Value": "sentinel"}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=10),
        Period=60,
        Statistics=["Sum"],
        Unit="Seconds",
    )
    assert {point["Unit"] for point in found["Datapoints"]} <= {"Seconds"}
    return [point["Sum"] for point in found["Datapoints"]]


@pytest.mark.parametrize("region", [EAST, WEST])
@only_when_patched
def test_logged_metric_is_stored_in_the_functions_region(aws: Aws, region: str) -> bool:
    name = uuid.uuid4().hex
    arn = aws.function(name, LOGS, region=region)
    directive = {
        "Namespace": "Embedded",
        "Dimensions": [["service"]],
        "Metrics": [{"Name": name, "Unit": "Seconds"}],
    }
    event = {"_aws": {"CloudWatchMetrics": [directive]}, "document": {"service": "sentinel", name: [1.5, 2]}}
    aws.invoke(arn, event, region=region)
    found = eventually(lambda: values(aws, name, region), within=3)
    return bool(found == [3.5] and not values(aws, name, WEST if region == EAST else EAST))


def test_logged_metric_moves_an_alarm(patched: Aws) -> None:
    logs, name = patched("logs"), uuid.uuid4().hex
    patched("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="Embedded",
        MetricName=name,
        Dimensions=[{"Name": "service", "Value": "sentinel"}],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    now_ms = int(time.time() * 1000)
    directive = {"Namespace": "Embedded", "Dimensions": [["service"]], "Metrics": [{"Name": name}]}
    line = {"_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}, "service": "sentinel", name: 2}
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    logs.put_log_events(
        logGroupName=name, logStreamName="one", logEvents=[{"timestamp": now_ms, "message": json.dumps(line)}]
    )

    def fires() -> bool:
        (found,) = patched("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return bool(found["StateValue"] == "ALARM")

    assert eventually(fires)
