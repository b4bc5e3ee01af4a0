"""A dashboard for each region: is it healthy, is it fast, does it carry the load, what would be lost right now."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cdktn import TerraformStack
from cdktn_provider_aws.cloudwatch_dashboard import CloudwatchDashboard

from healthcare_dr.infra.alarms import ITERATOR_AGE_MS, PENDING_SECONDS, service
from healthcare_dr.infra.dns import Health
from healthcare_dr.infra.documents import RULE_ID
from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.functions import (
    API,
    CONFIRM_DOCUMENTS,
    RECONCILE,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    FunctionSpec,
)
from patient_api.contract.metrics import NAMESPACE, Metric

ROUTE53_METRICS_REGION = "us-east-1"
WIDTH, HEIGHT, COLUMNS = 8, 6, 3

MetricRow = Sequence[Any]
Widget = dict[str, Any]


def dashboard(
    stack: TerraformStack,
    site: RegionContext,
    *,
    api_id: str,
    health: Health,
) -> str:
    """The dashboard of one region; returns its name."""
    name = site.names.of("recovery", site.region)
    widgets = [
        *_failover(health),
        *_recovery_point(site),
        *_peer(site),
        *_integrity(site),
        *_load(site, api_id),
    ]
    placed = [
        {
            **widget,
            "x": WIDTH * (number % COLUMNS),
            "y": HEIGHT * (number // COLUMNS),
            "width": WIDTH,
            "height": HEIGHT,
        }
        for number, widget in enumerate(widgets)
    ]
    CloudwatchDashboard(
        stack,
        f"dashboard_{site.role}",
        dashboard_name=name,
        dashboard_body=json.dumps({"widgets": placed}, sort_keys=True),
        provider=site.provider,
    )
    return name


def _failover(health: Health) -> list[Widget]:
    return [
        _chart(
            "Region in DNS (1) or withdrawn (0)",
            ROUTE53_METRICS_REGION,
            [
                ["AWS/Route53", "HealthCheckStatus", "HealthCheckId", check.id, {"label": role}]
                for role, check in health.verdicts.items()
            ],
            stat="Minimum",
        ),
        _chart(
            "Health checkers that reach the endpoint (%)",
            ROUTE53_METRICS_REGION,
            [
                ["AWS/Route53", "HealthCheckPercentageHealthy", "HealthCheckId", check.id, {"label": role}]
                # Only a probe has a share of checkers; a calculated check has none.
                for role, check in health.endpoints.items()
            ],
            stat="Average",
        ),
    ]


def _recovery_point(site: RegionContext) -> list[Widget]:
    names = site.names
    outward = ["SourceBucket", site.documents_bucket, "DestinationBucket", site.peer_documents_bucket]
    inward = ["SourceBucket", site.peer_documents_bucket, "DestinationBucket", site.documents_bucket]
    limit = site.settings.replication_lag_seconds
    return [
        {
            "type": "alarm",
            "properties": {
                "title": "Recovery point, region and peer",
                "alarms": [
                    site.regional_arn("cloudwatch", f"alarm:{names.of(alarm)}")
                    for alarm in ("recovery-point-at-risk", "region-impaired", "integrity-at-risk", "peer-at-risk")
                ],
            },
        },
        _chart(
            f"Table replication to {site.peer_region} (ms)",
            site.region,
            [
                ["AWS/DynamoDB", "ReplicationLatency", "TableName", table, "ReceivingRegion", site.peer_region]
                for table in (names.records_table, names.audit_table)
            ],
            stat="Maximum",
            limit=("Recovery point", limit * 1000),
        ),
        _chart(
            f"Document replication from {site.peer_region} (s)",
            site.region,
            [["AWS/S3", "ReplicationLatency", *inward, "RuleId", RULE_ID]],
            stat="Maximum",
            limit=("Recovery point", limit),
        ),
        _chart(
            "Replication of documents: pending and failed",
            site.region,
            [
                ["AWS/S3", "OperationsPendingReplication", *inward, "RuleId", RULE_ID, {"label": "pending here"}],
                ["AWS/S3", "OperationsFailedReplication", *outward, "RuleId", RULE_ID, {"label": "failed from here"}],
            ],
            stat="Maximum",
        ),
    ]  # fmt: skip


def _peer(site: RegionContext) -> list[Widget]:
    limit = site.settings.replication_lag_seconds
    return [
        _chart(
            f"{site.peer_region} as seen from here (1: healthy), and own heartbeat written",
            site.region,
            [_own(SENTINEL, metric) for metric in (Metric.PEER_HEALTHY, Metric.HEARTBEAT_WRITTEN)],
            stat="Minimum",
        ),
        _chart(
            f"Replication of heartbeats from {site.peer_region} (s)",
            site.region,
            [_own(SENTINEL, Metric.REPLICATION_LAG)],
            stat="Maximum",
            limit=("Recovery point", limit),
        ),
        _chart(
            f"Age of the newest heartbeat of {site.peer_region} (s)",
            site.region,
            [_own(SENTINEL, Metric.HEARTBEAT_AGE)],
            stat="Maximum",
            limit=("Alarm", SENTINEL_INTERVAL_SECONDS + limit),
        ),
    ]


def _integrity(site: RegionContext) -> list[Widget]:
    return [
        _chart(
            "Documents confirmed, copied and quarantined",
            site.region,
            [
                _own(CONFIRM_DOCUMENTS, metric, {"label": metric.removeprefix("Documents").lower()})
                for metric in (Metric.DOCUMENTS_CONFIRMED, Metric.DOCUMENTS_COPIED, Metric.DOCUMENTS_QUARANTINED)
            ],
            stat="Sum",
        ),
        _chart(
            "Documents not final yet", site.region, [_own(CONFIRM_DOCUMENTS, Metric.DOCUMENTS_PENDING)], stat="Maximum"
        ),
        _chart(
            "Oldest document not final yet (s)",
            site.region,
            [_own(CONFIRM_DOCUMENTS, Metric.PENDING_SECONDS)],
            stat="Maximum",
            limit=("Alarm", PENDING_SECONDS),
        ),
        _chart(
            "Conflicts between the regions, and tampered items",
            site.region,
            [_own(RECONCILE, metric) for metric in (Metric.CONFLICTS, Metric.TAMPERED_ITEMS)],
            stat="Sum",
        ),
        _chart(
            "Age of what waits for reconciliation (ms)",
            site.region,
            [["AWS/Lambda", "IteratorAge", "FunctionName", site.names.of(RECONCILE.name)]],
            stat="Maximum",
            limit=("Alarm", ITERATOR_AGE_MS),
        ),
        _chart(
            "Errors of the functions behind the API",
            site.region,
            [
                ["AWS/Lambda", "Errors", "FunctionName", site.names.of(spec.name), {"label": spec.name}]
                for spec in (CONFIRM_DOCUMENTS, RECONCILE, SENTINEL)
            ],
            stat="Sum",
        ),
    ]


def _load(site: RegionContext, api_id: str) -> list[Widget]:
    function = ["FunctionName", site.names.of(API.name)]
    api = ["ApiId", api_id]
    return [
        _chart("Requests", site.region, [["AWS/ApiGateway", "Count", *api]], stat="Sum"),
        _chart(
            "Errors", site.region, [["AWS/ApiGateway", code, *api] for code in ("4xx", "5xx")], stat="Sum"
        ),
        _chart(
            "Latency (ms)",
            site.region,
            [["AWS/ApiGateway", "Latency", *api, {"stat": stat, "label": stat}] for stat in ("p50", "p99")],
            stat="p99",
            limit=("Alarm", site.settings.latency_p99_ms),
        ),
        _chart(
            "Throttles and errors of the function",
            site.region,
            [["AWS/Lambda", metric, *function] for metric in ("Throttles", "Errors")],
            stat="Sum",
        ),
        _chart(
            "Concurrency against the account's quota",
            site.region,
            [
                ["AWS/Lambda", "ConcurrentExecutions", *function, {"label": "this function"}],
                [
                    "AWS/Usage", "ResourceCount", "Type", "Resource", "Resource", "ConcurrentExecutions",
                    "Service", "Lambda", "Class", "None", {"id": "used", "visible": False},
                ],
                [{"expression": "SERVICE_QUOTA(used)", "label": "quota"}],
            ],
            stat="Maximum",
        ),
        _chart(
            "Health verdicts and key failures",
            site.region,
            [_own(API, metric) for metric in (Metric.HEALTHY, Metric.KEY_FAILURES)],
            stat="Minimum",
        ),
    ]  # fmt: skip


def _own(spec: FunctionSpec, metric: str, *options: Mapping[str, str]) -> MetricRow:
    return [NAMESPACE, metric, *(part for dimension in service(spec).items() for part in dimension), *options]


def _chart(
    title: str,
    region: str,
    metrics: Sequence[MetricRow],
    *,
    stat: str,
    limit: tuple[str, float] | None = None,
) -> Widget:
    properties: dict[str, Any] = {
        "title": title,
        "region": region,
        "metrics": list(metrics),
        "stat": stat,
        "period": 60,
        "view": "timeSeries",
    }
    if limit:
        properties["annotations"] = {"horizontal": [{"label": limit[0], "value": limit[1]}]}
    return {"type": "metric", "properties": properties}
