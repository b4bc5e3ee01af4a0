"""The alarms of a region, each defined once: metric, threshold, and the meaning of missing data.

Alarms on the other region monitor metrics that this region's sentinel publishes here: the signal of a region's loss
must not be lost with the region (trap 22).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktn_provider_aws.cloudwatch_composite_alarm import CloudwatchCompositeAlarm
from cdktn_provider_aws.cloudwatch_metric_alarm import CloudwatchMetricAlarm
from cdktn_provider_aws.sns_topic import SnsTopic

from healthcare_dr.infra.dns import Health
from healthcare_dr.infra.documents import RULE_ID
from healthcare_dr.infra.notifications import keeps_undelivered
from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.functions import (
    API,
    API_ALIAS,
    CONFIRM_DOCUMENTS,
    RECONCILE,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    FunctionSpec,
)
from patient_api.contract.keys import RECORD_INDEX, UPDATE_INDEX
from patient_api.contract.metrics import DIMENSION, NAMESPACE, Metric

PERIOD_SECONDS = 60
STUCK_MINUTES = 5
BREACHING = "breaching"


@dataclass(frozen=True)
class Series:
    """One metric with its dimensions."""

    namespace: str
    metric: str
    dimensions: Mapping[str, str]


@dataclass(frozen=True)
class Condition:
    """When an alarm fires: the statistic of each period compared with a threshold, and the meaning of missing data."""

    threshold: float = 0
    statistic: str = "Sum"
    comparison: str = "GreaterThanThreshold"
    periods: int = 1
    missing_data: str = "notBreaching"


ANY = Condition()
NOT_ONE = Condition(1, "Minimum", "LessThanThreshold", missing_data=BREACHING)


@dataclass(frozen=True)
class AlarmRule:
    """One alarm: the metric that it monitors, and when it fires."""

    name: str
    why: str
    series: Series
    condition: Condition = ANY


@dataclass(frozen=True)
class MonitoredApi:
    """The identifier of a region's HTTP API, and the names of its functions by the names of their specs."""

    api_id: str
    functions: Mapping[str, str]


def own(spec: FunctionSpec, metric: Metric) -> Series:
    """Return a metric that a function publishes itself."""
    return Series(NAMESPACE, metric, {DIMENSION: spec.name})


def alarm_groups(site: RegionContext, monitored: MonitoredApi) -> dict[str, tuple[str, list[AlarmRule]]]:
    """Return the alarms of a region, by the name of their composite alarm, each group with its description."""
    groups = {
        "region-impaired": (f"{site.region} does not serve as it should", _serving(site, monitored)),
        "recovery-point-at-risk": (f"{site.region} has data that its peer does not have yet", _recovery_point(site)),
        "integrity-at-risk": (f"{site.region} has data that operators must examine", _integrity(monitored)),
        "peer-at-risk": (
            f"{site.peer_region} is unhealthy, or {site.region} does not monitor it",
            _peer(site, monitored),
        ),
    }
    if keeps_undelivered(site.settings):
        why = f"A recipient does not receive the notifications of {site.region}"
        groups["notifications-at-risk"] = (why, [_undelivered(site)])
    return groups


def _serving(site: RegionContext, monitored: MonitoredApi) -> list[AlarmRule]:
    """Return the alarms on the availability and latency of a region."""
    name = monitored.functions[API.name]
    function = {"FunctionName": name, "Resource": f"{name}:{API_ALIAS}"}
    api = {"ApiId": monitored.api_id}
    errors = Condition(site.settings.api_error_percent / 100, "Average")
    return [
        AlarmRule(
            "endpoint-unhealthy",
            "The region's own health endpoint is unhealthy or does not respond",
            own(API, Metric.HEALTHY),
            Condition(1, "Minimum", "LessThanThreshold", periods=2, missing_data=BREACHING),
        ),
        AlarmRule(
            "api-errors",
            "The share of requests answered with 5xx is too high",
            Series("AWS/ApiGateway", "5xx", api),
            errors,
        ),
        AlarmRule(
            "api-latency",
            "One request in a hundred is too slow",
            Series("AWS/ApiGateway", "Latency", api),
            Condition(site.settings.latency_p99_ms, "p99", periods=3),
        ),
        AlarmRule("function-errors", "The function ends in errors", Series("AWS/Lambda", "Errors", function)),
        AlarmRule(
            "function-throttles",
            "Lambda refuses calls: the concurrency is too low for the load, perhaps that of both regions",
            Series("AWS/Lambda", "Throttles", function),
        ),
        AlarmRule(
            "key-failures",
            "The customer managed key refuses to encrypt or decrypt",
            own(API, Metric.KEY_FAILURES),
        ),
        AlarmRule(
            "wrong-clock",
            "The clock of a function differs from DynamoDB's: it refuses writes, and its health check fails",
            own(API, Metric.WRONG_CLOCK),
        ),
        *(
            AlarmRule(
                f"{table}-{direction.lower()}-throttles",
                f"DynamoDB throttles {direction.lower()}s of the {table} table",
                Series("AWS/DynamoDB", f"{direction}ThrottleEvents", {"TableName": name}),
            )
            for table, name in _tables(site).items()
            for direction in ("Read", "Write")
        ),
        *(
            AlarmRule(
                f"{table}-index-throttles",
                f"DynamoDB throttles writes to the index of the {table} table, and with it the table's",
                Series("AWS/DynamoDB", "WriteThrottleEvents", {"TableName": name, "GlobalSecondaryIndexName": index}),
            )
            for (table, name), index in zip(_tables(site).items(), (UPDATE_INDEX, RECORD_INDEX), strict=True)
        ),
    ]


def _recovery_point(site: RegionContext) -> list[AlarmRule]:
    """Return the alarms on data of a region that its peer does not have yet (RPO)."""
    outward = _documents(site.documents_bucket, site.peer_documents_bucket)
    inward = _documents(site.peer_documents_bucket, site.documents_bucket)
    limit = site.settings.replication_lag_seconds
    return [
        *(
            AlarmRule(
                f"{table}-replication-lag",
                f"Writes to the {table} table reach {site.peer_region} later than the recovery point allows",
                # Published where the write happened, one series for each receiving region (trap 7).
                Series("AWS/DynamoDB", "ReplicationLatency", {"TableName": name, "ReceivingRegion": site.peer_region}),
                Condition(limit * 1000, "Maximum"),
            )
            for table, name in _tables(site).items()
        ),
        # Measured here, every minute. DynamoDB publishes its own metric only while items are written, in the peer.
        # When no heartbeat arrives, the alarm on the heartbeat's age fires.
        AlarmRule(
            "heartbeat-replication-lag",
            f"Heartbeats and records of {site.peer_region} arrive later than the recovery point allows",
            own(SENTINEL, Metric.REPLICATION_LAG),
            Condition(limit, "Maximum"),
        ),
        AlarmRule(
            "documents-failed",
            f"A document could not be replicated to {site.peer_region}",
            Series("AWS/S3", "OperationsFailedReplication", outward),
        ),
        # S3 publishes latency and backlog in the destination region.
        AlarmRule(
            "documents-replication-lag",
            f"Documents of {site.peer_region} arrive later than the recovery point allows",
            Series("AWS/S3", "ReplicationLatency", inward),
            Condition(limit, "Maximum"),
        ),
        AlarmRule(
            "documents-stuck",
            f"Documents of {site.peer_region} have been pending for {STUCK_MINUTES} minutes",
            Series("AWS/S3", "OperationsPendingReplication", inward),
            Condition(0, "Minimum", periods=STUCK_MINUTES),
        ),
        AlarmRule(
            "documents-pending",
            "A document is not final a minute after its upload, or the sweep does not run",
            own(CONFIRM_DOCUMENTS, Metric.PENDING_SECONDS),
            # The sweep publishes every minute, 0 when no document is pending.
            Condition(60, "Maximum", periods=2, missing_data=BREACHING),
        ),
    ]


def _integrity(monitored: MonitoredApi) -> list[AlarmRule]:
    """Return the alarms on data that is stored but inconsistent or quarantined."""
    return [
        AlarmRule(
            "conflicts",
            "Both regions wrote the same record at once: both versions are kept, the newest one is served",
            own(RECONCILE, Metric.CONFLICTS),
        ),
        AlarmRule(
            "tampered-items",
            "An append-only item was replaced or removed, by a caller without the API or by a defect of the API:"
            " the function's log contains its key, point-in-time recovery its former content",
            own(RECONCILE, Metric.TAMPERED_ITEMS),
        ),
        AlarmRule(
            "documents-quarantined",
            "A document's content differs from its declaration; it cannot be downloaded",
            own(CONFIRM_DOCUMENTS, Metric.DOCUMENTS_QUARANTINED),
        ),
        AlarmRule(
            "future-versions",
            "A version from the future was updated: a wrong clock has stamped it, and its record stays ahead",
            own(API, Metric.FUTURE_VERSIONS),
        ),
        *(_errors(spec, monitored) for spec in (CONFIRM_DOCUMENTS, RECONCILE)),
        AlarmRule(
            "reconciliation-lag",
            "Reconciliation reads writes later than the recovery point allows; after 24 hours it misses them",
            Series("AWS/Lambda", "IteratorAge", {"FunctionName": monitored.functions[RECONCILE.name]}),
            Condition(60_000, "Maximum"),
        ),
    ]


def _peer(site: RegionContext, monitored: MonitoredApi) -> list[AlarmRule]:
    """Return the alarms on the peer region, and on the sentinel that monitors it."""
    # The sentinel of the peer may be about to write the next heartbeat.
    age = SENTINEL_INTERVAL_SECONDS + site.settings.replication_lag_seconds
    return [
        AlarmRule(
            "peer-unhealthy",
            f"The health endpoint of {site.peer_region} is unhealthy or does not respond to {site.region}",
            own(SENTINEL, Metric.PEER_HEALTHY),
            NOT_ONE,
        ),
        AlarmRule(
            "peer-heartbeat-age",
            f"{site.peer_region} sends no heartbeat, or replication does not deliver it",
            own(SENTINEL, Metric.HEARTBEAT_AGE),
            Condition(age, "Maximum", missing_data=BREACHING),
        ),
        AlarmRule(
            "sentinel-silent",
            f"The sentinel of {site.region} wrote no heartbeat or does not run: {site.peer_region} is not monitored",
            own(SENTINEL, Metric.HEARTBEAT_WRITTEN),
            NOT_ONE,
        ),
        _errors(SENTINEL, monitored),
    ]


def _undelivered(site: RegionContext) -> AlarmRule:
    """Return the alarm on kept notifications. It notifies the other recipients once, until the queue is emptied."""
    series = Series("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": site.names.of("undelivered")})
    why = "A notification could not be delivered to an endpoint, and is kept in the queue"
    return AlarmRule("notifications-undelivered", why, series, Condition(0, "Maximum"))


def _errors(spec: FunctionSpec, monitored: MonitoredApi) -> AlarmRule:
    series = Series("AWS/Lambda", "Errors", {"FunctionName": monitored.functions[spec.name]})
    return AlarmRule(f"{spec.name}-errors", f"The {spec.name} function ends in errors", series)


def _tables(site: RegionContext) -> dict[str, str]:
    return {"records": site.names.records_table, "audit": site.names.audit_table}


def _documents(source: str, target: str) -> dict[str, str]:
    return {"SourceBucket": source, "DestinationBucket": target, "RuleId": RULE_ID}


def regional_alarms(site: RegionContext, monitored: MonitoredApi, topic: SnsTopic) -> None:
    """Create every alarm of a region, and the composite alarm of each group."""
    for name, (why, rules) in alarm_groups(site, monitored).items():
        for rule in rules:
            _alarm(site, rule, topic.arn)
        CloudwatchCompositeAlarm(
            site.stack,
            _identifier(name),
            alarm_name=site.names.of(name),
            alarm_description=why,
            alarm_rule=" OR ".join(f'ALARM("{site.names.of(rule.name)}")' for rule in rules),
            alarm_actions=[topic.arn],
            ok_actions=[topic.arn],
        ).add_override("depends_on", [f"aws_cloudwatch_metric_alarm.{_identifier(rule.name)}" for rule in rules])


def health_check_alarms(metrics_site: RegionContext, sites: Sequence[RegionContext], health: Health) -> None:
    """Create the alarms on Route 53's health checks in the only region that has their metrics."""
    for site in sites:
        for name, why, check in (
            ("endpoint-check", f"Route 53 cannot reach {site.region}", health.endpoints[site.role]),
            ("health-check", f"Route 53 has withdrawn {site.region} from DNS", health.calculated[site.role]),
        ):
            series = Series("AWS/Route53", "HealthCheckStatus", {"HealthCheckId": check.id})
            rule = AlarmRule(f"{name}-{site.region}", why, series, NOT_ONE)
            _alarm(metrics_site, rule, metrics_site.topic_arn)


def _alarm(site: RegionContext, rule: AlarmRule, topic_arn: str) -> None:
    """Create one metric alarm that notifies the region's topic when it fires and when it recovers."""
    series, condition = rule.series, rule.condition
    percentile = condition.statistic.startswith("p")
    CloudwatchMetricAlarm(
        site.stack,
        _identifier(rule.name),
        alarm_name=site.names.of(rule.name),
        alarm_description=rule.why,
        namespace=series.namespace,
        metric_name=series.metric,
        dimensions=dict(series.dimensions),
        statistic=None if percentile else condition.statistic,
        extended_statistic=condition.statistic if percentile else None,
        comparison_operator=condition.comparison,
        threshold=condition.threshold,
        period=PERIOD_SECONDS,
        evaluation_periods=condition.periods,
        datapoints_to_alarm=condition.periods,
        treat_missing_data=condition.missing_data,
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        provider=site.provider,
    )


def _identifier(name: str) -> str:
    return name.replace("-", "_")
