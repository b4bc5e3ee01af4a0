"""The alarms of a region, each defined once: metric, threshold, and the meaning of missing data; and their SNS topic.

Alarms on the other region watch metrics that this region's sentinel publishes here: the signal of a region's loss must
not be lost with the region (trap 22).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktn import TerraformStack
from cdktn_provider_aws.cloudwatch_composite_alarm import CloudwatchCompositeAlarm
from cdktn_provider_aws.cloudwatch_metric_alarm import CloudwatchMetricAlarm
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.sns_topic import SnsTopic
from cdktn_provider_aws.sns_topic_policy import SnsTopicPolicy
from cdktn_provider_aws.sns_topic_subscription import SnsTopicSubscription

from healthcare_dr.infra import policy
from healthcare_dr.infra.dns import Health
from healthcare_dr.infra.documents import RULE_ID
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

STUCK_MINUTES = 5
PENDING_SECONDS = 60
ITERATOR_AGE_MS = 60_000

INDEXES = (UPDATE_INDEX, RECORD_INDEX)
ABOVE, BELOW = "GreaterThanThreshold", "LessThanThreshold"
CALM, ALARMING = "notBreaching", "breaching"


@dataclass(frozen=True, kw_only=True)
class AlarmRule:
    """One alarm: what it watches, when it fires, and what silence means."""

    name: str
    why: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    threshold: float
    statistic: str = "Sum"
    comparison: str = ABOVE
    periods: int = 1
    silence: str = CALM


@dataclass(frozen=True, kw_only=True)
class MonitoredApi:
    """The resources that a region's alarms monitor: its HTTP API and the names of its functions."""

    api_id: str
    api: str
    confirmation: str
    reconciliation: str
    sentinel: str


def service(spec: FunctionSpec) -> dict[str, str]:
    """Under which dimension a function publishes its own metrics."""
    return {DIMENSION: spec.name}


def serving(site: RegionContext, watched: MonitoredApi) -> list[AlarmRule]:
    """Return the alarms on the availability and latency of a region."""
    lambda_of = {"FunctionName": watched.api, "Resource": f"{watched.api}:{API_ALIAS}"}
    api = {"ApiId": watched.api_id}
    return [
        AlarmRule(
            name="endpoint-unhealthy",
            why="The region's own health endpoint is unhealthy or does not respond",
            namespace=NAMESPACE,
            metric=Metric.HEALTHY,
            dimensions=service(API),
            statistic="Minimum",
            comparison=BELOW,
            threshold=1,
            periods=2,
            silence=ALARMING,
        ),
        AlarmRule(
            name="api-errors",
            why="The share of requests answered with 5xx is too high",
            namespace="AWS/ApiGateway",
            metric="5xx",
            dimensions=api,
            statistic="Average",
            threshold=site.settings.api_error_percent / 100,
        ),
        AlarmRule(
            name="api-latency",
            why="One request in a hundred is too slow",
            namespace="AWS/ApiGateway",
            metric="Latency",
            dimensions=api,
            statistic="p99",
            threshold=site.settings.latency_p99_ms,
            periods=3,
        ),
        AlarmRule(
            name="function-errors",
            why="The function ends in errors of its own",
            namespace="AWS/Lambda",
            metric="Errors",
            dimensions=lambda_of,
            threshold=0,
        ),
        AlarmRule(
            name="function-throttles",
            why="Lambda refuses calls: concurrency does not carry the load, perhaps that of both regions",
            namespace="AWS/Lambda",
            metric="Throttles",
            dimensions=lambda_of,
            threshold=0,
        ),
        AlarmRule(
            name="key-failures",
            why="The customer managed key refuses to encrypt or decrypt",
            namespace=NAMESPACE,
            metric=Metric.KEY_FAILURES,
            dimensions=service(API),
            threshold=0,
        ),
        *(
            AlarmRule(
                name=f"{table}-{direction.lower()}-throttles",
                why=f"DynamoDB throttles {direction.lower()}s of the {table} table",
                namespace="AWS/DynamoDB",
                metric=f"{direction}ThrottleEvents",
                dimensions={"TableName": name},
                threshold=0,
            )
            for table, name in _tables(site).items()
            for direction in ("Read", "Write")
        ),
        *(
            AlarmRule(
                name=f"{table}-index-throttles",
                why=f"DynamoDB throttles writes to the index of the {table} table, and with it the table's",
                namespace="AWS/DynamoDB",
                metric="WriteThrottleEvents",
                dimensions={"TableName": name, "GlobalSecondaryIndexName": index},
                threshold=0,
            )
            for (table, name), index in zip(_tables(site).items(), INDEXES, strict=True)
        ),
    ]


def recovery_point(site: RegionContext) -> list[AlarmRule]:
    """Return the alarms on data of a region that its peer does not have yet (RPO)."""
    outward = _documents(site.documents_bucket, site.peer_documents_bucket)
    inward = _documents(site.peer_documents_bucket, site.documents_bucket)
    return [
        *(
            AlarmRule(
                name=f"{table}-replication-lag",
                why=f"Writes to the {table} table reach {site.peer_region} later than the recovery point allows",
                namespace="AWS/DynamoDB",
                metric="ReplicationLatency",
                # Published where the write happened, one series for each receiving region (trap 7).
                dimensions={"TableName": name, "ReceivingRegion": site.peer_region},
                statistic="Maximum",
                threshold=site.settings.replication_lag_seconds * 1000,
            )
            for table, name in _tables(site).items()
        ),
        # Measured here, every minute; DynamoDB's own metric is silent while nothing is written, and with its region.
        # When nothing arrives at all, the alarm on the heartbeat's age fires.
        AlarmRule(
            name="heartbeat-replication-lag",
            why=f"Heartbeats of {site.peer_region} arrive later than the recovery point allows, and so do its records",
            namespace=NAMESPACE,
            metric=Metric.REPLICATION_LAG,
            dimensions=service(SENTINEL),
            statistic="Maximum",
            threshold=site.settings.replication_lag_seconds,
        ),
        AlarmRule(
            name="documents-failed",
            why=f"A document could not be replicated to {site.peer_region}",
            namespace="AWS/S3",
            metric="OperationsFailedReplication",
            dimensions=outward,
            threshold=0,
        ),
        # S3 publishes latency and backlog where the copies arrive, so each region watches what comes to it.
        AlarmRule(
            name="documents-replication-lag",
            why=f"Documents of {site.peer_region} arrive later than the recovery point allows",
            namespace="AWS/S3",
            metric="ReplicationLatency",
            dimensions=inward,
            statistic="Maximum",
            threshold=site.settings.replication_lag_seconds,
        ),
        AlarmRule(
            name="documents-stuck",
            why=f"Documents of {site.peer_region} have been waiting for {STUCK_MINUTES} minutes",
            namespace="AWS/S3",
            metric="OperationsPendingReplication",
            dimensions=inward,
            statistic="Minimum",
            threshold=0,
            periods=STUCK_MINUTES,
        ),
        AlarmRule(
            name="documents-pending",
            why="A document is not final a minute after its upload, or the sweep does not run",
            namespace=NAMESPACE,
            metric=Metric.PENDING_SECONDS,
            dimensions=service(CONFIRM_DOCUMENTS),
            statistic="Maximum",
            threshold=PENDING_SECONDS,
            periods=2,
            # The sweep reports every minute, 0 when nothing waits.
            silence=ALARMING,
        ),
    ]


def integrity(watched: MonitoredApi) -> list[AlarmRule]:
    """Return the alarms on data that is stored but inconsistent or quarantined."""
    return [
        AlarmRule(
            name="conflicts",
            why="Both regions wrote the same record at once: both versions are kept, the newest one is served",
            namespace=NAMESPACE,
            metric=Metric.CONFLICTS,
            dimensions=service(RECONCILE),
            threshold=0,
        ),
        AlarmRule(
            name="tampered-items",
            why="An item that never changes was replaced or removed, around the API or by a faulty release of it:"
            " the function's log names it, point-in-time recovery holds what it was",
            namespace=NAMESPACE,
            metric=Metric.TAMPERED_ITEMS,
            dimensions=service(RECONCILE),
            threshold=0,
        ),
        AlarmRule(
            name="documents-quarantined",
            why="A document's bytes differ from its declaration; it cannot be downloaded",
            namespace=NAMESPACE,
            metric=Metric.DOCUMENTS_QUARANTINED,
            dimensions=service(CONFIRM_DOCUMENTS),
            threshold=0,
        ),
        *(
            AlarmRule(
                name=f"{spec.name}-errors",
                why=f"The {spec.name} function ends in errors of its own",
                namespace="AWS/Lambda",
                metric="Errors",
                dimensions={"FunctionName": function},
                threshold=0,
            )
            for spec, function in ((CONFIRM_DOCUMENTS, watched.confirmation), (RECONCILE, watched.reconciliation))
        ),
        AlarmRule(
            name="reconciliation-lag",
            why="Writes wait longer for reconciliation than the recovery point allows; after 24 hours it misses them",
            namespace="AWS/Lambda",
            metric="IteratorAge",
            dimensions={"FunctionName": watched.reconciliation},
            statistic="Maximum",
            threshold=ITERATOR_AGE_MS,
        ),
    ]


def _tables(site: RegionContext) -> dict[str, str]:
    return {"records": site.names.records_table, "audit": site.names.audit_table}


def _documents(source: str, target: str) -> dict[str, str]:
    return {"SourceBucket": source, "DestinationBucket": target, "RuleId": RULE_ID}


def peer(site: RegionContext, watched: MonitoredApi) -> list[AlarmRule]:
    """Return the alarms on the peer region, and on the sentinel that monitors it."""
    own = service(SENTINEL)
    return [
        AlarmRule(
            name="peer-unhealthy",
            why=f"The health endpoint of {site.peer_region} says no to {site.region}, or nothing at all",
            namespace=NAMESPACE,
            metric=Metric.PEER_HEALTHY,
            dimensions=own,
            statistic="Minimum",
            comparison=BELOW,
            threshold=1,
            silence=ALARMING,
        ),
        AlarmRule(
            name="peer-heartbeat-age",
            why=f"{site.peer_region} sends no heartbeat, or replication does not deliver it",
            namespace=NAMESPACE,
            metric=Metric.HEARTBEAT_AGE,
            dimensions=own,
            statistic="Maximum",
            # It may just be about to write the next one.
            threshold=SENTINEL_INTERVAL_SECONDS + site.settings.replication_lag_seconds,
            silence=ALARMING,
        ),
        AlarmRule(
            name="sentinel-silent",
            why=f"The sentinel of {site.region} wrote no heartbeat, or does not run: {site.peer_region} is not watched",
            namespace=NAMESPACE,
            metric=Metric.HEARTBEAT_WRITTEN,
            dimensions=own,
            statistic="Minimum",
            comparison=BELOW,
            threshold=1,
            silence=ALARMING,
        ),
        AlarmRule(
            name=f"{SENTINEL.name}-errors",
            why=f"The {SENTINEL.name} function ends in errors of its own",
            namespace="AWS/Lambda",
            metric="Errors",
            dimensions={"FunctionName": watched.sentinel},
            threshold=0,
        ),
    ]


PERIOD_SECONDS = 60


def regional_alarms(stack: TerraformStack, site: RegionContext, *, watched: MonitoredApi, topic_arn: str) -> None:
    """Every alarm of a region, and the verdicts made of them."""
    for name, why, rules in (
        ("region-impaired", f"{site.region} does not serve as it should", serving(site, watched)),
        (
            "recovery-point-at-risk",
            f"{site.region} holds data that its peer does not have yet",
            recovery_point(site),
        ),
        ("integrity-at-risk", f"{site.region} holds data that needs a look", integrity(watched)),
        ("peer-at-risk", f"{site.peer_region} is in trouble, or {site.region} does not watch it", peer(site, watched)),
    ):
        for rule in rules:
            alarm(stack, site, rule, topic_arn)
        any_of = " OR ".join(f'ALARM("{site.names.of(rule.name)}")' for rule in rules)
        CloudwatchCompositeAlarm(
            stack,
            _identifier(name),
            alarm_name=site.names.of(name),
            alarm_description=why,
            alarm_rule=any_of,
            alarm_actions=[topic_arn],
            ok_actions=[topic_arn],
        ).add_override("depends_on", [f"aws_cloudwatch_metric_alarm.{_identifier(rule.name)}" for rule in rules])


def health_check_alarms(
    stack: TerraformStack, watcher: RegionContext, sites: Sequence[RegionContext], health: Health
) -> None:
    """Alarms on Route 53's verdicts, in us-east-1: the metric exists nowhere else."""
    for site in sites:
        for name, why, check in (
            ("endpoint-check", f"Route 53 cannot reach {site.region}", health.endpoints[site.role]),
            ("health-check", f"Route 53 has withdrawn {site.region} from DNS", health.verdicts[site.role]),
        ):
            rule = AlarmRule(
                name=f"{name}-{site.region}",
                why=why,
                namespace="AWS/Route53",
                metric="HealthCheckStatus",
                dimensions={"HealthCheckId": check.id},
                statistic="Minimum",
                comparison=BELOW,
                threshold=1,
                silence=ALARMING,
            )
            alarm(stack, watcher, rule, watcher.topic_arn)


def alarm(stack: TerraformStack, site: RegionContext, rule: AlarmRule, topic_arn: str) -> None:
    """Create one metric alarm that notifies the region's topic when it fires and when it recovers."""
    percentile = rule.statistic.startswith("p")
    CloudwatchMetricAlarm(
        stack,
        _identifier(rule.name),
        alarm_name=site.names.of(rule.name),
        alarm_description=rule.why,
        namespace=rule.namespace,
        metric_name=rule.metric,
        dimensions=dict(rule.dimensions),
        statistic=None if percentile else rule.statistic,
        extended_statistic=rule.statistic if percentile else None,
        comparison_operator=rule.comparison,
        threshold=rule.threshold,
        period=PERIOD_SECONDS,
        evaluation_periods=rule.periods,
        datapoints_to_alarm=rule.periods,
        treat_missing_data=rule.silence,
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        provider=site.provider,
    )


def _identifier(name: str) -> str:
    return name.replace("-", "_")


PUBLISHERS = ("cloudwatch", "s3")


def operations_topic(stack: TerraformStack, site: RegionContext, key: KmsKey) -> SnsTopic:
    """An encrypted topic that CloudWatch and S3 of this account may publish to, with the operations e-mails."""
    topic = SnsTopic(stack, "operations_topic", name=site.names.of("operations"), kms_master_key_id=key.arn)
    SnsTopicPolicy(
        stack,
        "operations_topic_policy",
        arn=topic.arn,
        policy=policy.document(
            *(
                policy.allow(
                    f"Publish{service.title()}",
                    ["sns:Publish"],
                    topic.arn,
                    principal={"Service": f"{service}.amazonaws.com"},
                    condition={"StringEquals": {"aws:SourceAccount": site.account}},
                )
                for service in PUBLISHERS
            ),
            policy.deny_plaintext(["sns:Publish"], [topic.arn]),
        ),
    )
    for number, address in enumerate(site.settings.operations_emails):
        SnsTopicSubscription(
            stack, f"operations_email_{number}", topic_arn=topic.arn, protocol="email", endpoint=address
        )
    return topic
