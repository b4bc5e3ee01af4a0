"""A dashboard for each region: health, recovery point, the peer, integrity, and load.

Charts of metrics that have an alarm take the metric and the threshold from the alarm's rule.
"""

import json
from functools import partial
from typing import Any

from cdktn_provider_aws.cloudwatch_dashboard import CloudwatchDashboard

from healthcare_dr.infra.alarms import PERIOD_SECONDS, AlarmRule, MonitoredApi, Series, alarm_groups, own
from healthcare_dr.infra.dns import Health
from healthcare_dr.infra.region_context import RegionContext
from healthcare_dr.settings import ROUTE53_METRICS_REGION
from patient_api.contract.functions import API, CONFIRM_DOCUMENTS, FUNCTIONS, RECONCILE, SENTINEL
from patient_api.contract.metrics import Metric

WIDTH, HEIGHT, COLUMNS = 8, 6, 3
RECOVERY_POINT = "Recovery point"

Row = list[Any]
Widget = dict[str, Any]


def dashboard(site: RegionContext, *, api_id: str, health: Health) -> str:
    """Create the dashboard of one region and return its name."""
    name = site.names.of("recovery", site.region)
    groups = alarm_groups(site, MonitoredApi(api_id, {spec.name: site.names.of(spec.name) for spec in FUNCTIONS}))
    rules = {rule.name: rule for _, group in groups.values() for rule in group}
    widgets = [
        *_failover(health),
        *_recovery_point(site, rules),
        *_integrity(site, rules),
        *_load(site, api_id, rules),
    ]
    for number, widget in enumerate(widgets):
        row, column = divmod(number, COLUMNS)
        widget |= {"x": WIDTH * column, "y": HEIGHT * row, "width": WIDTH, "height": HEIGHT}
    CloudwatchDashboard(
        site.stack,
        f"dashboard_{site.role}",
        dashboard_name=name,
        dashboard_body=json.dumps({"widgets": widgets}, sort_keys=True),
        provider=site.provider,
    )
    return name


def _failover(health: Health) -> list[Widget]:
    chart = partial(_chart, ROUTE53_METRICS_REGION)
    # A calculated check has no share of checkers.
    status, share = (
        [_row(Series("AWS/Route53", metric, {"HealthCheckId": check.id}), label=role) for role, check in checks.items()]
        for metric, checks in (
            ("HealthCheckStatus", health.calculated),
            ("HealthCheckPercentageHealthy", health.endpoints),
        )
    )
    return [
        chart("Region in DNS (1) or withdrawn (0)", "Minimum", *status),
        chart("Health checkers that reach the endpoint (%)", "Average", *share),
    ]


def _recovery_point(site: RegionContext, rules: dict[str, AlarmRule]) -> list[Widget]:
    chart, peer = partial(_chart, site.region), site.peer_region
    alarms = [
        site.regional_arn("cloudwatch", f"alarm:{site.names.of(alarm)}")
        for alarm in ("recovery-point-at-risk", "region-impaired", "integrity-at-risk", "peer-at-risk")
    ]
    records, audit = rules["records-replication-lag"], rules["audit-replication-lag"]
    documents, heartbeats = rules["documents-replication-lag"], rules["heartbeat-replication-lag"]
    return [
        {"type": "alarm", "properties": {"title": "Recovery point, region and peer", "alarms": alarms}},
        chart(f"Table replication to {peer} (ms)", "Maximum", records, audit, limit=(RECOVERY_POINT, records)),
        chart(f"Document replication from {peer} (s)", "Maximum", documents, limit=(RECOVERY_POINT, documents)),
        chart(
            "Replication of documents: pending and failed",
            "Maximum",
            _row(rules["documents-stuck"].series, label="pending here"),
            _row(rules["documents-failed"].series, label="failed from here"),
        ),
        chart(
            f"{peer} as seen from here (1: healthy), and own heartbeat written",
            "Minimum",
            rules["peer-unhealthy"],
            rules["sentinel-silent"],
        ),
        chart(f"Replication of heartbeats from {peer} (s)", "Maximum", heartbeats, limit=(RECOVERY_POINT, heartbeats)),
        chart(
            f"Age of the newest heartbeat of {peer} (s)",
            "Maximum",
            rules["peer-heartbeat-age"],
            limit=("Alarm", rules["peer-heartbeat-age"]),
        ),
    ]


def _integrity(site: RegionContext, rules: dict[str, AlarmRule]) -> list[Widget]:
    chart = partial(_chart, site.region)
    outcomes = (Metric.DOCUMENTS_CONFIRMED, Metric.DOCUMENTS_COPIED, Metric.DOCUMENTS_QUARANTINED)
    workers = (CONFIRM_DOCUMENTS, RECONCILE, SENTINEL)
    pending, lag = rules["documents-pending"], rules["reconciliation-lag"]
    return [
        chart(
            "Documents confirmed, copied and quarantined",
            "Sum",
            *(
                _row(own(CONFIRM_DOCUMENTS, metric), label=metric.removeprefix("Documents").lower())
                for metric in outcomes
            ),
        ),
        chart("Documents not final yet", "Maximum", _row(own(CONFIRM_DOCUMENTS, Metric.DOCUMENTS_PENDING))),
        chart("Oldest document not final yet (s)", "Maximum", pending, limit=("Alarm", pending)),
        chart("Conflicts between the regions, and tampered items", "Sum", rules["conflicts"], rules["tampered-items"]),
        chart("Wrong clocks, and versions from the future", "Sum", rules["wrong-clock"], rules["future-versions"]),
        chart("Age of changes to reconcile (ms)", "Maximum", lag, limit=("Alarm", lag)),
        chart(
            "Errors of the functions behind the API",
            "Sum",
            *(_row(rules[f"{spec.name}-errors"].series, label=spec.name) for spec in workers),
        ),
    ]


def _load(site: RegionContext, api_id: str, rules: dict[str, AlarmRule]) -> list[Widget]:
    chart = partial(_chart, site.region)
    api, function = {"ApiId": api_id}, {"FunctionName": site.names.of(API.name)}
    quota = {"Type": "Resource", "Resource": "ConcurrentExecutions", "Service": "Lambda", "Class": "None"}
    latency = rules["api-latency"]
    return [
        chart("Requests", "Sum", _row(Series("AWS/ApiGateway", "Count", api))),
        chart("Errors", "Sum", *(_row(Series("AWS/ApiGateway", code, api)) for code in ("4xx", "5xx"))),
        chart(
            "Latency (ms)",
            "p99",
            *(_row(latency.series, stat=stat, label=stat) for stat in ("p50", "p99")),
            limit=("Alarm", latency),
        ),
        chart(
            "Throttles and errors of the function",
            "Sum",
            *(_row(Series("AWS/Lambda", metric, function)) for metric in ("Throttles", "Errors")),
        ),
        chart(
            "Concurrency against the account's quota",
            "Maximum",
            _row(Series("AWS/Lambda", "ConcurrentExecutions", function), label="this function"),
            _row(Series("AWS/Usage", "ResourceCount", quota), id="used", visible=False),
            [{"expression": "SERVICE_QUOTA(used)", "label": "quota"}],
        ),
        chart("Health of the region and key failures", "Minimum", rules["endpoint-unhealthy"], rules["key-failures"]),
    ]


def _row(series: Series, **options: object) -> Row:
    dimensions = (part for dimension in series.dimensions.items() for part in dimension)
    return [series.namespace, series.metric, *dimensions, *([options] if options else ())]


def _chart(
    region: str, title: str, stat: str, *shown: AlarmRule | Row, limit: tuple[str, AlarmRule] | None = None
) -> Widget:
    """Return a chart of metrics. `limit` is the label of a line at the threshold of an alarm."""
    properties: dict[str, Any] = {
        "title": title,
        "region": region,
        "metrics": [_row(each.series) if isinstance(each, AlarmRule) else each for each in shown],
        "stat": stat,
        "period": PERIOD_SECONDS,
        "view": "timeSeries",
    }
    if limit:
        label, rule = limit
        properties["annotations"] = {"horizontal": [{"label": label, "value": rule.condition.threshold}]}
    return {"type": "metric", "properties": properties}
