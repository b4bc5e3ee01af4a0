"""Rules on alarms, dashboards and the audit trail."""

import json
from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import Platform, Resource

Problems = Iterator[tuple[str, str]]
ROUTE53_METRICS_REGION = "us-east-1"
ON_EVERY_DASHBOARD = (
    "ReplicationLatency", "OperationsPendingReplication", "OperationsFailedReplication", "HealthCheckStatus",
    "HealthCheckPercentageHealthy", "Count", "4xx", "5xx", "Latency", "Throttles", "ConcurrentExecutions",
)  # fmt: skip
NEEDED = {
    ("AWS/DynamoDB", "ReplicationLatency"), ("AWS/S3", "OperationsFailedReplication"), ("AWS/S3", "ReplicationLatency"),
    ("AWS/S3", "OperationsPendingReplication"), ("AWS/Lambda", "Errors"), ("AWS/Lambda", "Throttles"),
    ("AWS/ApiGateway", "Latency"), ("AWS/ApiGateway", "5xx"), ("AWS/DynamoDB", "ReadThrottleEvents"),
    ("AWS/DynamoDB", "WriteThrottleEvents"), ("HealthcareDR", "Healthy"), ("HealthcareDR", "KeyFailures"),
}  # fmt: skip


@rule("alarm-coverage", "R6.2", "C3", why="What is not watched in a region is not noticed in it.")
def coverage(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        watched = {
            (alarm.get("namespace"), alarm.get("metric_name"))
            for alarm in platform.resources("aws_cloudwatch_metric_alarm", region=region)
        }
        for namespace, metric in sorted(NEEDED - watched):
            yield region, f"no alarm on {namespace} {metric}"
        composites = [str(alarm.get("alarm_name")) for alarm in platform.resources(
            "aws_cloudwatch_composite_alarm", region=region
        )]  # fmt: skip
        if not any("region-impaired" in name for name in composites):
            yield region, "no composite alarm for the region as a whole"


@rule("alarm-period", "R6.2", "C2", "trap 32", why="A period of 300 s uses up the whole recovery time.")
def period(platform: Platform) -> Problems:
    for alarm in platform.resources("aws_cloudwatch_metric_alarm"):
        if int(alarm.get("period") or 0) not in range(1, 61):
            yield alarm.address, f"period must be at most 60 s; it is {alarm.get('period')}"
        if alarm.get("treat_missing_data") not in ("breaching", "notBreaching", "ignore"):
            yield alarm.address, "treat_missing_data must say what silence means"


@rule(
    "alarm-actions", "R7.1", "C1", why="An alarm that tells nobody, or does not tell when it is over, is half an alarm."
)
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
    if len(alarms) < len(platform.settings.regions):
        yield "aws_cloudwatch_metric_alarm", "each region's health check needs an alarm"
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


@rule("dashboards", "R6.1", why="Whoever decides during a failover needs one page in the region that is alive.")
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


@rule("topics", "R7.1", "R7.2", why="Operations must hear of a failover from either region.")
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


@rule("data-event-trail", "C6", "R1.3", why="Access that does not come through the API is audited too (164.312(b)).")
def trail(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        trails = list(platform.resources("aws_cloudtrail", region=region))
        kinds = {
            value
            for found in trails
            for selector in found.blocks("advanced_event_selector")
            for field in selector["field_selector"]
            if field["field"] == "resources.type"
            for value in field["equals"]
        }
        if kinds != {"AWS::S3::Object", "AWS::DynamoDB::Table"}:
            yield region, "data events of documents and tables must be recorded"
        for found in trails:
            if found.get("enable_log_file_validation") is not True:
                yield found.address, "enable_log_file_validation must be true"


def _topic_region(platform: Platform, alarm: Resource, action: str) -> str | None:
    topic = platform.referred(alarm.stack, action)
    if topic is not None:
        return topic.region if topic.kind == "aws_sns_topic" else None
    service, _, rest = action.removeprefix("arn:aws:").partition(":")
    return rest.partition(":")[0] if service == "sns" else None
