"""Rules on alarms, dashboards and notification topics."""

import json
from collections.abc import Iterator
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, allows, principals, rule
from healthcare_dr.naming import GLOBAL, Names
from patient_api.contract.functions import API, API_ALIAS, CONFIRM_DOCUMENTS, RECONCILE, SENTINEL
from patient_api.contract.metrics import DIMENSION, NAMESPACE, Metric

Problems = Iterator[tuple[str, str]]
ROUTE53_METRICS_REGION = "us-east-1"
ON_EVERY_DASHBOARD = (
    "ReplicationLatency", "OperationsPendingReplication", "OperationsFailedReplication", "HealthCheckStatus",
    "HealthCheckPercentageHealthy", "Count", "4xx", "5xx", "Latency", "Throttles", "ConcurrentExecutions",
    "IteratorAge", Metric.CONFLICTS, Metric.TAMPERED_ITEMS, Metric.DOCUMENTS_CONFIRMED, Metric.DOCUMENTS_COPIED,
    Metric.DOCUMENTS_QUARANTINED, Metric.DOCUMENTS_PENDING, Metric.PENDING_SECONDS, Metric.PEER_HEALTHY,
    Metric.HEARTBEAT_WRITTEN, Metric.HEARTBEAT_AGE, Metric.REPLICATION_LAG,
)  # fmt: skip
OWN_METRICS = {
    API.name: (Metric.HEALTHY, Metric.KEY_FAILURES),
    CONFIRM_DOCUMENTS.name: (Metric.DOCUMENTS_QUARANTINED, Metric.PENDING_SECONDS),
    RECONCILE.name: (Metric.CONFLICTS, Metric.TAMPERED_ITEMS),
    SENTINEL.name: (Metric.PEER_HEALTHY, Metric.HEARTBEAT_WRITTEN, Metric.HEARTBEAT_AGE, Metric.REPLICATION_LAG),
}
# Seconds and milliseconds of the recovery point.
LIMITS = {Metric.PENDING_SECONDS: 60, "IteratorAge": 60_000}
# Of these, one is too many.
NEVER = (Metric.CONFLICTS, Metric.DOCUMENTS_QUARANTINED, Metric.TAMPERED_ITEMS)


@rule("alarm-coverage", "R6.2", "C3", why="A failure without an alarm in its region goes unnoticed there.")
def coverage(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        alarms = list(platform.resources("aws_cloudwatch_metric_alarm", region=region))
        watched = [(alarm.get("namespace"), alarm.get("metric_name"), alarm.get("dimensions")) for alarm in alarms]
        for namespace, metric, dimensions in _needed(platform, region):
            if (namespace, metric, dimensions) not in watched:
                yield region, f"no alarm on {namespace} {metric} of {dimensions}"
        for alarm in alarms:
            limit = LIMITS.get(alarm.get("metric_name"))
            if limit is not None and (alarm.get("statistic"), alarm.get("threshold")) != ("Maximum", limit):
                yield alarm.address, f"must fire when the maximum is above {limit}"
            if alarm.get("metric_name") in NEVER and (alarm.get("statistic"), alarm.get("threshold")) != ("Sum", 0):
                yield alarm.address, "must fire with the first"
        composites = list(platform.resources("aws_cloudwatch_composite_alarm", region=region))
        if not any("region-impaired" in str(composite.get("alarm_name")) for composite in composites):
            yield region, "no composite alarm for the region as a whole"
        terms = {term for composite in composites for term in str(composite.get("alarm_rule")).split(" OR ")}
        for alarm in alarms:
            if alarm.stack != GLOBAL and f'ALARM("{alarm.get("alarm_name")}")' not in terms:
                yield alarm.address, f"no composite alarm of {region} fires with it"


@rule("alarm-period", "R6.2", "C2", "trap 32", why="A period of 300 s uses up the whole recovery time.")
def period(platform: Platform) -> Problems:
    for alarm in platform.resources("aws_cloudwatch_metric_alarm"):
        if int(alarm.get("period") or 0) not in range(1, 61):
            yield alarm.address, f"period must be at most 60 s; it is {alarm.get('period')}"
        if alarm.get("treat_missing_data") not in ("breaching", "notBreaching", "ignore"):
            yield alarm.address, "treat_missing_data must define the meaning of missing data"


@rule("alarm-actions", "R7.1", "C1", why="An alarm must notify operators when it fires and when it recovers.")
def actions(platform: Platform) -> Problems:
    for alarm in platform.resources("aws_cloudwatch_metric_alarm", "aws_cloudwatch_composite_alarm"):
        for attribute in ("alarm_actions", "ok_actions"):
            topics = [_topic_region(platform, alarm, action) for action in alarm.get(attribute) or ()]
            if topics != [alarm.region]:
                yield alarm.address, f"{attribute} must be the topic of {alarm.region}"


@rule(
    "alarm-route53-region", "R6.2", "trap 22",
    why="Route 53 publishes HealthCheckStatus in us-east-1 only; elsewhere the alarm never fires.",
)  # fmt: skip
def route53_region(platform: Platform) -> Problems:
    alarms = [
        alarm for alarm in platform.resources("aws_cloudwatch_metric_alarm") if alarm.get("namespace") == "AWS/Route53"
    ]
    watched = [platform.referred(alarm.stack, alarm.get("dimensions", "HealthCheckId")) for alarm in alarms]
    for check in platform.resources("aws_route53_health_check"):
        is_drain = check.get("invert_healthcheck") is True
        if not is_drain and check not in watched:
            yield check.address, "has no alarm"
    for alarm in alarms:
        if alarm.region != ROUTE53_METRICS_REGION:
            yield alarm.address, f"must be in {ROUTE53_METRICS_REGION}, not {alarm.region}"


@rule(
    "alarm-replication-series", "R6.2", "C3", "trap 7",
    why="DynamoDB publishes replication latency where the write happened, one series for each receiving region.",
)  # fmt: skip
def replication_series(platform: Platform) -> Problems:
    for alarm in platform.resources("aws_cloudwatch_metric_alarm"):
        if (alarm.get("namespace"), alarm.get("metric_name")) == ("AWS/DynamoDB", "ReplicationLatency"):
            receiving = (alarm.get("dimensions") or {}).get("ReceivingRegion")
            if receiving != platform.other(alarm.region):
                yield alarm.address, f"must watch ReceivingRegion {platform.other(alarm.region)}, not {receiving}"


@rule("dashboards", "R6.1", why="During a failover operators need one page in the surviving region.")
def dashboards(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        bodies = [
            json.loads(board.get("dashboard_body"))
            for board in platform.resources("aws_cloudwatch_dashboard", region=region)
        ]
        if not bodies:
            yield region, "no dashboard"
        for body in bodies:
            shown = {metric[1] for widget in body["widgets"] for metric in widget["properties"].get("metrics", ())
                     if len(metric) > 1}  # fmt: skip
            for metric in ON_EVERY_DASHBOARD:
                if metric not in shown:
                    yield region, f"the dashboard does not show {metric}"


@rule("topics", "R7.1", "R7.2", why="Either region must notify operators of a failover.")
def topics(platform: Platform) -> Problems:
    emails = set(platform.settings.operations_emails)
    for region in platform.settings.regions:
        if len(list(platform.resources("aws_sns_topic", region=region))) != 1:
            yield region, "must have one topic for operations"
        subscribed = {
            subscription.get("endpoint")
            for subscription in platform.resources("aws_sns_topic_subscription", region=region)
            if subscription.get("protocol") == "email"
        }
        for email in sorted(emails - subscribed):
            yield region, f"{email} is not subscribed"


@rule("topic-admits", "R7.1", "C3", why="A topic silently drops messages that its policy does not allow.")
def topic_admits(platform: Platform) -> Problems:
    for topic in platform.resources("aws_sns_topic"):
        statements = [
            statement
            for holder in platform.of_parent(topic, "arn", "aws_sns_topic_policy")
            for statement in holder.statements("policy")
            if allows(statement, "sns:Publish", topic.expression("arn"))
        ]
        for service in ("cloudwatch.amazonaws.com", "s3.amazonaws.com"):
            if not any(service in principals(statement, "Service") for statement in statements):
                yield topic.address, f"its policy must let {service} publish"


def _needed(platform: Platform, region: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    peer, names = platform.other(region), Names(platform.settings.environment_suffix)
    for function in platform.resources("aws_lambda_function", region=region):
        name = function.expression("function_name")
        if function.get("publish") is True:
            for metric in ("Errors", "Throttles"):
                yield "AWS/Lambda", metric, {"FunctionName": name, "Resource": f"{name}:{API_ALIAS}"}
        else:
            yield "AWS/Lambda", "Errors", {"FunctionName": name}
        if function.get("function_name") == names.of(RECONCILE.name):
            yield "AWS/Lambda", "IteratorAge", {"FunctionName": name}
    for api in platform.resources("aws_apigatewayv2_api", region=region):
        for metric in ("5xx", "Latency"):
            yield "AWS/ApiGateway", metric, {"ApiId": api.expression("id")}
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
    # What leaves is known to fail where it is sent; how late and how many are known where they arrive.
    yield "AWS/S3", "OperationsFailedReplication", _copies(platform, region, peer)
    for metric in ("OperationsPendingReplication", "ReplicationLatency"):
        yield "AWS/S3", metric, _copies(platform, peer, region)


def _copies(platform: Platform, source: str, target: str) -> dict[str, Any]:
    names = Names(platform.settings.environment_suffix)
    replications = platform.resources("aws_s3_bucket_replication_configuration", region=source)
    return {
        "SourceBucket": names.documents_bucket(ACCOUNT, source),
        "DestinationBucket": names.documents_bucket(ACCOUNT, target),
        "RuleId": next((replication.get("rule", "id") for replication in replications), None),
    }


def _topic_region(platform: Platform, alarm: Resource, action: str) -> str | None:
    topic = platform.referred(alarm.stack, action)
    if topic is not None:
        return topic.region if topic.kind == "aws_sns_topic" else None
    service, _, rest = action.removeprefix("arn:aws:").partition(":")
    return rest.partition(":")[0] if service == "sns" else None
