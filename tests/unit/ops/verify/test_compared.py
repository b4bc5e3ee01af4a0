"""What is compared with what was deployed: each attribute that decides, changed by itself."""

from typing import Any

import pytest

from healthcare_dr.ops.verify.terraform_state import TerraformState
from unit.ops.verify.fakes import EAST, WEST, deployed, live, problems, resource

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


def alarms(metric: dict[str, Any], composite: dict[str, Any], held: TerraformState = WATCHING) -> list[str]:
    answer = {"MetricAlarms": [metric], "CompositeAlarms": [composite]}
    return problems("alarms", live({("cloudwatch", EAST, "describe_alarms"): answer}, held=held))


def test_alarms_as_they_were_deployed_are_fine() -> None:
    assert alarms(ALARM, ANY) == []


@pytest.mark.requirement("R7.1")
@pytest.mark.trap(32)
@pytest.mark.parametrize(
    ("changed", "says"),
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
def test_alarm_settings_are_compared(changed: dict[str, Any], says: str) -> None:
    (told,) = alarms(ALARM | changed, ANY)
    assert told.startswith(f"lag: {says}")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"AlarmRule": "FALSE"}, "any: its rule is not the one deployed"),
        ({"ActionsSuppressor": "quiet", "ActionsSuppressorWaitPeriod": 600}, "any: quiet suppresses its actions"),
    ],
)
def test_composite_alarm_settings_are_compared(changed: dict[str, Any], says: str) -> None:
    assert alarms(ALARM, ANY | changed) == [says]


def test_omitted_settings_equal_the_defaults_of_aws() -> None:
    quiet = {name: value for name, value in ALARM.items() if name != "Statistic"} | {
        "ExtendedStatistic": "p99", "EvaluateLowSampleCountPercentile": "evaluate", "Threshold": 0.0,
    }  # fmt: skip
    percentile = STATED | {"statistic": None, "extended_statistic": "p99", "threshold": 0, "unit": None}
    held = deployed(primary=[resource("aws_cloudwatch_metric_alarm", "lag", **percentile)])
    assert alarms(quiet, ANY, held) == []


BUCKET, PEER = (f"hdr-documents-123456789012-{region}-dev" for region in (EAST, WEST))
REPLICATED = deployed(
    common=[
        resource("aws_s3_bucket_replication_configuration", "one", bucket=BUCKET, role="arn:role/replication"),
        resource("aws_s3_bucket_replication_configuration", "other", alias="secondary", bucket=PEER, role="arn:other"),
    ]
)
ON = {"Status": "Enabled"}
RULE = {
    "Status": "Enabled", "Filter": {"Prefix": ""}, "DeleteMarkerReplication": ON,
    "SourceSelectionCriteria": {"SseKmsEncryptedObjects": ON, "ReplicaModifications": ON},
    "Destination": {
        "Bucket": f"arn:aws:s3:::{PEER}", "Metrics": ON,
        "EncryptionConfiguration": {"ReplicaKmsKeyID": deployed().output(WEST, "key_arn")},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "says"),
    [
        ("arn:role/replication", []),
        ("arn:role/else", [f"{BUCKET}: replication goes by the role arn:role/else, not arn:role/replication"]),
    ],
)
def test_replication_by_another_role_is_found(role: str, says: list[str]) -> None:
    answer = {"ReplicationConfiguration": {"Role": role, "Rules": [RULE]}}
    assert problems("document-replication", live({("s3", "get_bucket_replication"): answer}, held=REPLICATED)) == says


SERVED = deployed(
    primary=[
        resource("aws_lambda_function", "api", function_name="api"),
        resource("aws_lambda_alias", "live", function_name="api", name="live", function_version="7", routing_config=[]),
    ]
)


@pytest.mark.requirement("R2.1")
@pytest.mark.parametrize(
    ("alias", "says"),
    [
        ({}, []),
        ({"RoutingConfig": {"AdditionalVersionWeights": {}}}, []),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"6": 0.5}}},
            ["api: live shares its calls with other versions: {'6': 0.5}"],
        ),
        ({"FunctionVersion": "6"}, ["api: live calls version 6, not 7"]),
    ],
)
def test_an_alias_calls_the_deployed_version_alone(alias: dict[str, Any], says: list[str]) -> None:
    answers: dict[tuple[str, ...], Any] = {
        ("lambda", "get_function_configuration"): {},
        ("lambda", "get_alias"): {"FunctionVersion": "7"} | alias,
    }
    assert problems("functions", live(answers, held=SERVED)) == says
