"""Rules on alarms and dashboards."""

import json
from collections.abc import Iterator
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, rule
from healthcare_dr.naming import GLOBAL
from healthcare_dr.settings import ROUTE53_METRICS_REGION
from patient_api.contract.functions import (
    API,
    API_ALIAS,
    CONFIRM_DOCUMENTS,
    RECONCILE,
    RELAY,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
)
from patient_api.contract.metrics import DIMENSION, NAMESPACE, Metric

METRIC_ALARM, COMPOSITE_ALARM = "aws_cloudwatch_metric_alarm", "aws_cloudwatch_composite_alarm"
ON_EVERY_DASHBOARD = (
    "ReplicationLatency", "OperationsPendingReplication", "OperationsFailedReplication", "HealthCheckStatus",
    "HealthCheckPercentageHealthy", "Count", "4xx", "5xx", "Latency", "Throttles", "ConcurrentExecutions",
    "IteratorAge", Metric.CONFLICTS, Metric.TAMPERED_ITEMS, Metric.DOCUMENTS_CONFIRMED, Metric.DOCUMENTS_COPIED,
    Metric.DOCUMENTS_QUARANTINED, Metric.DOCUMENTS_PENDING, Metric.PENDING_SECONDS, Metric.PEER_HEALTHY,
    Metric.HEARTBEAT_WRITTEN, Metric.HEARTBEAT_AGE, Metric.REPLICATION_LAG, Metric.WRONG_CLOCK, Metric.FUTURE_VERSIONS,
)  # fmt: skip
OWN_METRICS = {
    API.name: (Metric.HEALTHY, Metric.KEY_FAILURES, Metric.WRONG_CLOCK, Metric.FUTURE_VERSIONS),
    CONFIRM_DOCUMENTS.name: (Metric.DOCUMENTS_QUARANTINED, Metric.PENDING_SECONDS),
    RECONCILE.name: (Metric.CONFLICTS, Metric.TAMPERED_ITEMS),
    SENTINEL.name: (Metric.PEER_HEALTHY, Metric.HEARTBEAT_WRITTEN, Metric.HEARTBEAT_AGE, Metric.REPLICATION_LAG),
}
# Statistic and threshold. The recovery point is 60 s; a conflict, a quarantined document, a tampered item or a wrong
# clock must fire the alarm at once.
THRESHOLDS = {
    Metric.PENDING_SECONDS: ("Maximum", 60),
    "IteratorAge": ("Maximum", 60_000),
    Metric.CONFLICTS: ("Sum", 0),
    Metric.DOCUMENTS_QUARANTINED: ("Sum", 0),
    Metric.TAMPERED_ITEMS: ("Sum", 0),
    Metric.WRONG_CLOCK: ("Sum", 0),
    Metric.FUTURE_VERSIONS: ("Sum", 0),
    "ApproximateNumberOfMessagesVisible": ("Maximum", 0),
}


@rule("R6.2", "C3")
def alarm_coverage(platform: Platform) -> Problems:
    """A failure without an alarm in its region goes unnoticed there."""
    for region in platform.settings.regions:
        alarms = list(platform.resources(METRIC_ALARM, region=region))
        monitored = [(alarm.get("namespace"), alarm.get("metric_name"), alarm.get("dimensions")) for alarm in alarms]
        for needed in _needed(platform, region):
            if needed not in monitored:
                namespace, metric, dimensions = needed
                yield region, f"no alarm on {namespace} {metric} of {dimensions}"
        for alarm in alarms:
            found = alarm.get("statistic"), alarm.get("threshold")
            statistic, threshold = THRESHOLDS.get(alarm.get("metric_name"), found)
            if (statistic, threshold) != found:
                yield alarm.address, f"must fire when the {statistic.lower()} is above {threshold}"
        composites = list(platform.resources(COMPOSITE_ALARM, region=region))
        if not any("region-impaired" in str(composite.get("alarm_name")) for composite in composites):
            yield region, "no composite alarm for the region as a whole"
        terms = {term for composite in composites for term in str(composite.get("alarm_rule")).split(" OR ")}
        for alarm in alarms:
            if alarm.stack != GLOBAL and f'ALARM("{alarm.get("alarm_name")}")' not in terms:
                yield alarm.address, f"no composite alarm of {region} fires with it"


@rule("R6.2", "C2", "trap 32")
def alarm_period(platform: Platform) -> Problems:
    """A period of 300 s uses up the whole recovery time."""
    for alarm in platform.resources(METRIC_ALARM):
        if int(alarm.get("period") or 0) not in range(1, 61):
            yield alarm.address, f"period must be at most 60 s; it is {alarm.get('period')}"
        if alarm.get("treat_missing_data") not in ("breaching", "notBreaching", "ignore"):
            yield alarm.address, "treat_missing_data must define the meaning of missing data"


@rule("R7.1", "C1", "trap 22")
def alarm_actions(platform: Platform) -> Problems:
    """An alarm must notify operators when it fires and when it recovers."""
    for alarm in platform.resources(METRIC_ALARM, COMPOSITE_ALARM):
        for attribute in ("alarm_actions", "ok_actions"):
            topics = [_topic_region(platform, alarm, action) for action in alarm.get(attribute) or ()]
            if topics != [alarm.region]:
                yield alarm.address, f"{attribute} must be the topic of {alarm.region}"


@rule("R6.2", "trap 22")
def alarm_route53_region(platform: Platform) -> Problems:
    """Route 53 publishes HealthCheckStatus in us-east-1 only; elsewhere the alarm never fires."""
    alarms = [alarm for alarm in platform.resources(METRIC_ALARM) if alarm.get("namespace") == "AWS/Route53"]
    monitored = [platform.referred(alarm.stack, alarm.get("dimensions", "HealthCheckId")) for alarm in alarms]
    for check in platform.resources("aws_route53_health_check"):
        is_drain = check.get("invert_healthcheck") is True
        if not is_drain and check not in monitored:
            yield check.address, "has no alarm"
    for alarm in alarms:
        if alarm.region != ROUTE53_METRICS_REGION:
            yield alarm.address, f"must be in {ROUTE53_METRICS_REGION}, not {alarm.region}"


@rule("R6.2", "C3", "trap 7")
def alarm_replication_series(platform: Platform) -> Problems:
    """DynamoDB publishes replication latency where the write happened, one series for each receiving region."""
    for alarm in platform.resources(METRIC_ALARM):
        if (alarm.get("namespace"), alarm.get("metric_name")) == ("AWS/DynamoDB", "ReplicationLatency"):
            receiving = (alarm.get("dimensions") or {}).get("ReceivingRegion")
            if receiving != platform.other(alarm.region):
                yield alarm.address, f"must monitor ReceivingRegion {platform.other(alarm.region)}, not {receiving}"


@rule("R6.2", "R7.1", "C3", "trap 7", "trap 22")
def alarm_on_peer(platform: Platform) -> Problems:
    """The signal of a region's loss must not be lost with the region, and missing data must fire the alarm."""
    limit = platform.settings.replication_lag_seconds
    needed = {
        Metric.PEER_HEALTHY: (1, "Minimum", "LessThanThreshold", 1, "breaching"),
        Metric.HEARTBEAT_WRITTEN: (1, "Minimum", "LessThanThreshold", 1, "breaching"),
        Metric.HEARTBEAT_AGE: (1, "Maximum", "GreaterThanThreshold", SENTINEL_INTERVAL_SECONDS + limit, "breaching"),
        Metric.REPLICATION_LAG: (1, "Maximum", "GreaterThanThreshold", limit, "notBreaching"),
    }
    attributes = ("evaluation_periods", "statistic", "comparison_operator", "threshold", "treat_missing_data")
    for region in platform.settings.regions:
        alarms = list(platform.resources(METRIC_ALARM, region=region))
        of_sentinel = [alarm for alarm in alarms if alarm.get("dimensions") == {DIMENSION: SENTINEL.name}]
        for metric, values in needed.items():
            found = [
                tuple(alarm.get(attribute) for attribute in attributes)
                for alarm in of_sentinel
                if alarm.get("metric_name") == metric
            ]
            if found != [values]:
                expected = ", ".join(f"{name} {value}" for name, value in zip(attributes, values, strict=True))
                yield region, f"one alarm must monitor {metric} with {expected}"


@rule("R6.1")
def dashboards(platform: Platform) -> Problems:
    """During a failover operators need one page in the surviving region."""
    for region in platform.settings.regions:
        boards = list(platform.resources("aws_cloudwatch_dashboard", region=region))
        if not boards:
            yield region, "no dashboard"
        for board in boards:
            widgets = [widget["properties"] for widget in json.loads(board.get("dashboard_body"))["widgets"]]
            shown = {metric[1] for widget in widgets for metric in widget.get("metrics", ()) if len(metric) > 1}
            for metric in ON_EVERY_DASHBOARD:
                if metric not in shown:
                    yield region, f"the dashboard does not show {metric}"


def _needed(platform: Platform, region: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return the metrics of a region that need an alarm there: namespace, name and dimensions."""
    peer = platform.other(region)
    for function in platform.resources("aws_lambda_function", region=region):
        name = function.expression("function_name")
        if function.get("function_name") == platform.names.of(RELAY.name):
            # The alarm on undelivered notifications covers it. One on each error would notify the webhook that fails.
            continue
        if function.get("publish") is True:
            for metric in ("Errors", "Throttles"):
                yield "AWS/Lambda", metric, {"FunctionName": name, "Resource": f"{name}:{API_ALIAS}"}
        else:
            yield "AWS/Lambda", "Errors", {"FunctionName": name}
        if function.get("function_name") == platform.names.of(RECONCILE.name):
            yield "AWS/Lambda", "IteratorAge", {"FunctionName": name}
    for api in platform.resources("aws_apigatewayv2_api", region=region):
        for metric in ("5xx", "Latency"):
            yield "AWS/ApiGateway", metric, {"ApiId": api.expression("id")}
    for queue in platform.resources("aws_sqs_queue", region=region):
        yield "AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue.get("name")}
    for service, metrics in OWN_METRICS.items():
        for metric in metrics:
            yield NAMESPACE, metric, {DIMENSION: service}
    for table in platform.resources("aws_dynamodb_table"):
        of_table = {"TableName": table.get("name")}
        for metric in ("ReadThrottleEvents", "WriteThrottleEvents"):
            yield "AWS/DynamoDB", metric, of_table
        for index in table.blocks("global_secondary_index"):
            yield "AWS/DynamoDB", "WriteThrottleEvents", {**of_table, "GlobalSecondaryIndexName": index.get("name")}
        yield "AWS/DynamoDB", "ReplicationLatency", {**of_table, "ReceivingRegion": peer}
    # S3 publishes failures in the source region, latency and backlog in the destination region.
    yield "AWS/S3", "OperationsFailedReplication", _copies(platform, region, peer)
    for metric in ("OperationsPendingReplication", "ReplicationLatency"):
        yield "AWS/S3", metric, _copies(platform, peer, region)


def _copies(platform: Platform, source: str, target: str) -> dict[str, Any]:
    replications = platform.resources("aws_s3_bucket_replication_configuration", region=source)
    return {
        "SourceBucket": platform.names.documents_bucket(ACCOUNT, source),
        "DestinationBucket": platform.names.documents_bucket(ACCOUNT, target),
        "RuleId": next((replication.get("rule", "id") for replication in replications), None),
    }


def _topic_region(platform: Platform, alarm: Resource, action: str) -> str | None:
    topic = platform.referred(alarm.stack, action)
    if topic is not None:
        return topic.region if topic.kind == "aws_sns_topic" else None
    service, _, rest = action.removeprefix("arn:aws:").partition(":")
    return rest.partition(":")[0] if service == "sns" else None
